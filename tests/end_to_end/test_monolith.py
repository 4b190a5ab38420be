"""The shipped system in which everything shares one process: it works, and protects nobody."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from kernel.abi import DebugOp
from servers.console.interface import ConsoleControl
from tests.end_to_end.rig import needs_linux, pids
from tools import system
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Property
from tools.tcb.systems.description import described
from tools.tcb.systems.source import load


def wait_for(running: system.System, text: bytes) -> None:
    console = running.open(ConsoleControl, "console.control")
    deadline = time.monotonic() + 60
    while text not in console.tail("linux", 8192):
        assert time.monotonic() < deadline, console.tail("linux", 2000)
        time.sleep(0.05)


def booted(tmp_path: Path, kernel: str = "", append: str = "") -> system.System:
    """The monolith, with another guest if ``kernel`` is given."""
    source = system.load("monolith")
    if kernel:
        (vm,) = source.description.vm
        guest = msgspec.structs.replace(
            vm, kernel=kernel, initrd="", append=append, memory="16MiB", engine="soft"
        )
        description = msgspec.structs.replace(source.description, vm=[guest])
        source = system.Source(description, tmp_path)
    return system.boot(source)


@needs_linux
def test_linux_runs_in_the_process_of_everybody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))
    with booted(tmp_path) as running:
        wait_for(running, b"cloister: init started")
        spaces = {row[1] for row in running.debug(DebugOp.SPACES)}
        assert spaces == {"operator", "init", "console"}
        found = {each.name: each for each in running.control.processes()}
        assert {each.state for each in found.values()} == {"running"}
        assert {each.space for each in found.values()} == {"console"}


def test_what_ends_one_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))
    with booted(tmp_path, "guest:demo", "auto") as running:
        wait_for(running, b"demo")
        before = pids(running)["console"]
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while pids(running).get("console", before) == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        wait_for(running, b"demo")
        assert {each.starts for each in running.control.processes()} == {2}
        running.control.kill("entropy")  # is in the same address space
        while not all(each.starts == 3 for each in running.control.processes()):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_the_tool_says_what_is_lost() -> None:
    whole, apart = load("monolith"), load("default")
    for subject in ("vm:linux", "disk:linux.disk0"):
        members = closures(whole, subject)[Property.INTEGRITY].members()
        assert "console" in members
    inside = set(whole.members["console"])
    assert {"audit", "scheduler", "block0", "linux", "entropy", "terminal"} <= inside
    # what is trusted for availability alone elsewhere is trusted with everything here
    assert "audit" not in closures(apart, "vm:linux")[Property.INTEGRITY]


def test_protection_is_no_use_against_ones_own_process() -> None:
    description = system.load("monolith").description
    (vm,) = description.vm
    disk = msgspec.structs.replace(vm.disks[0], encrypt=True, integrity=True)
    protected = msgspec.structs.replace(description, vm=[msgspec.structs.replace(vm, disks=[disk])])
    found = closures(described(protected), "vm:linux")
    for wanted in Property:
        assert "block0" in described(protected).members["console"]
        assert "console" in found[wanted]
