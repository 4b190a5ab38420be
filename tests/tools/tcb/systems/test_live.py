"""A running system's graph: the same as the description's, and what only it can know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kernel.abi import DebugOp
from servers.init.description import Description
from tools.system import Source, System, boot, load
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Graph, Property
from tools.tcb.systems.description import described
from tools.tcb.systems.live import live


def only(*vms: str, protect: str = "") -> Description:
    """The default system with some of its guests, the disks of one protected."""
    base = load("default").description
    kept = []
    for vm in base.vm:
        if vm.name in vms:
            disks = [
                msgspec.structs.replace(disk, encrypt=True, integrity=True)
                if vm.name == protect
                else disk
                for disk in vm.disks
            ]
            kept.append(msgspec.structs.replace(vm, disks=disks, autostart=True, engine="soft"))
    return msgspec.structs.replace(base, vm=kept)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))


def booted(description: Description) -> Iterator[tuple[System, Source]]:
    source = Source(description, Path())
    with boot(source) as running:
        running.control.processes()
        yield running, source


def members(graph: Graph, subject: str, wanted: Property) -> set[str]:
    return set(closures(graph, subject)[wanted].members())


def test_it_agrees_with_the_description(state: None) -> None:
    description = only("hello", "demo")
    for running, source in booted(description):
        found = live(running, source)
        planned = described(description)
        for subject in ("vm:hello", "vm:demo", "block0", "disk:demo.disk0", "kernel"):
            for wanted in Property:
                expected = members(planned, subject, wanted)
                assert members(found, subject, wanted) == expected, (subject, wanted)


def test_who_does_not_run_is_not_there(state: None) -> None:
    description = only("hello", "demo")
    for running, source in booted(description):
        running.control.stop("demo")
        found = live(running, source)
        assert "demo" not in found.components
        assert "vm:demo" not in found.components
        assert "block0" in found.components


def test_protection_counts_where_it_is_really_in_place(state: None) -> None:
    for running, source in booted(only("demo", protect="demo")):
        found = live(running, source)
        for wanted in (Property.INTEGRITY, Property.CONFIDENTIALITY):
            assert "block0" not in members(found, "vm:demo", wanted)
        assert "block0" in members(found, "vm:demo", Property.AVAILABILITY)
        # the same system, were the monitor without its store
        without: Any = Without(running, "demo")
        assert "block0" in members(live(without, source), "vm:demo", Property.INTEGRITY)


class Without:
    """A system that reports no devices of one process."""

    def __init__(self, running: System, name: str) -> None:
        self._running = running
        self._space = next(row[0] for row in running.debug(DebugOp.SPACES) if row[1] == name)

    def debug(self, operation: DebugOp) -> Iterator[list[Any]]:
        for row in self._running.debug(operation):
            if operation is not DebugOp.CAPABILITIES or row[0] != self._space or row[2] != "Device":
                yield row


def test_programs_that_share_a_process_are_there(state: None) -> None:
    description = load("monolith").description
    (vm,) = description.vm
    guest = msgspec.structs.replace(vm, kernel="guest:demo", initrd="", append="", engine="soft")
    description = msgspec.structs.replace(description, vm=[guest])
    for running, source in booted(description):
        found = live(running, source)
        assert set(found.members["console"]) == set(described(description).members["console"])
        assert "console" in members(found, "vm:linux", Property.INTEGRITY)
