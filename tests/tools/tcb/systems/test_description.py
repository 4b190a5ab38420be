"""The authority in the systems that are shipped, and what changes it, exactly."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from servers.init.description import (
    Description,
    DeviceEntry,
    ProcessEntry,
    decode,
)
from tools.errors import UserError
from tools.system import load
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Graph, Kind, Property
from tools.tcb.systems.authority import Held, Holder, system
from tools.tcb.systems.description import described

ECHO = "tools.bench.programs.server"
BELOW = {"kernel", "init", "operator"}


def programs(graph: Graph, subject: str, wrappers: bool = True) -> dict[Property, set[str]]:
    """Who is trusted, but for what everybody trusts."""
    return {
        wanted: {name for name in found.members() if graph.components[name].kind is not Kind.ASSET}
        - BELOW
        for wanted, found in closures(graph, subject, wrappers).items()
    }


def simple(**holds: list[str]) -> Graph:
    """Processes that each offer ``service`` and hold what is said."""
    processes = [
        ProcessEntry(name=name, program=ECHO, offers=["service"], holds=held)
        for name, held in holds.items()
    ]
    return described(Description(name="sample", process=processes))


def test_the_default_system() -> None:
    graph = described(load("default").description)
    services = {"hello", "vm:hello", "console", "terminal", "entropy"}
    found = programs(graph, "vm:hello")
    assert found[Property.INTEGRITY] == services
    assert found[Property.CONFIDENTIALITY] == services
    # what runs before it whenever it wants to can keep it from running
    assert found[Property.AVAILABILITY] == services | {"scheduler", "audit", "block0"}


def test_guests_that_share_a_disk_trust_each_other() -> None:
    graph = described(load("default").description)
    found = programs(graph, "vm:linux")
    assert {"demo", "vm:demo", "block0"} <= found[Property.INTEGRITY]
    assert {"hello", "vm:hello", "audit"}.isdisjoint(found[Property.INTEGRITY])


def test_trust_follows_what_is_held() -> None:
    graph = simple(guest=["disk"], disk=["store"], store=[], other=["store"])
    assert programs(graph, "guest")[Property.INTEGRITY] == {"guest", "disk", "store"}
    assert programs(graph, "store")[Property.INTEGRITY] == {"store"}
    found = closures(graph, "guest")[Property.INTEGRITY]
    assert [step.why for step in found.path("store")] == [
        "disk holds store.service",
        "guest holds disk.service",
    ]
    assert set(found.steps) >= BELOW


def test_a_circle_of_trust_ends() -> None:
    graph = simple(a=["b"], b=["c"], c=["a"])
    assert programs(graph, "a")[Property.INTEGRITY] == {"a", "b", "c"}


def test_kernel_and_tool_trust_nobody_above() -> None:
    graph = described(load("default").description)
    for name in ("kernel", "operator"):
        assert programs(graph, name)[Property.INTEGRITY] <= BELOW
        assert "init" not in closures(graph, name)[Property.INTEGRITY]


def test_what_is_written_passes_to_who_reads_it() -> None:
    devices = [DeviceEntry(name="shared", file="state:shared", size="1MiB")]
    processes = [
        ProcessEntry(name="writer", program=ECHO, holds=["device:shared"]),
        ProcessEntry(name="reader", program=ECHO, holds=["device:shared"]),
        ProcessEntry(name="other", program=ECHO),
    ]
    graph = described(Description(name="sample", process=processes, device=devices))
    assert programs(graph, "reader")[Property.INTEGRITY] == {"reader", "writer"}
    assert programs(graph, "device:shared")[Property.INTEGRITY] == {"reader", "writer"}
    assert programs(graph, "other")[Property.INTEGRITY] == {"other"}
    devices = [DeviceEntry(name="shared", file="state:shared", size="1MiB", writable=False)]
    graph = described(Description(name="sample", process=processes, device=devices))
    assert programs(graph, "reader")[Property.INTEGRITY] == {"reader"}
    assert "writer" in programs(graph, "device:shared")[Property.CONFIDENTIALITY]


def test_priority_and_budget_decide_over_availability() -> None:
    for budget, expected in (("", {"low", "high"}), ("1ms/10ms", {"low"})):
        processes = [
            ProcessEntry(name="low", program=ECHO, priority=50),
            ProcessEntry(name="equal", program=ECHO, priority=50),
            ProcessEntry(name="high", program=ECHO, priority=60, budget=budget),
        ]
        graph = described(Description(name="sample", process=processes))
        found = programs(graph, "low")
        assert found[Property.AVAILABILITY] == expected
        assert found[Property.INTEGRITY] == {"low"}


def disks(*disk: dict[str, Any]) -> Graph:
    """Two virtual machines with such a disk each, on one driver."""
    block = Holder("block0", "drivers.block", [Held("disk", "disk0")], priority=120)
    wrapped = {
        f"disk{i}": frozenset(key for key, on in each.items() if on) for i, each in enumerate(disk)
    }
    vms = [
        Holder(name, "vmm", [Held("disk0", "block0", "block")], vm=True, priority=80, wrapped=own)
        for name, own in (("one", wrapped), ("two", {}))
    ]
    return system("disks", [block, *vms])


def test_a_protected_disk_takes_its_driver_out() -> None:
    plain, both = disks({}), disks({"encrypt": True, "integrity": True})
    others = {"block0", "two", "vm:two"}
    for subject in ("vm:one", "disk:one.disk0"):
        for wanted, found in programs(plain, subject).items():
            assert others <= found, wanted
        found = programs(both, subject)
        assert others.isdisjoint(found[Property.INTEGRITY])
        assert others.isdisjoint(found[Property.CONFIDENTIALITY])
        assert others <= found[Property.AVAILABILITY]
        assert programs(both, subject, wrappers=False) == programs(plain, subject)
    assert others | {"one", "vm:one"} == programs(both, "vm:two")[Property.INTEGRITY] | {"block0"}


def test_a_description_says_which_disks_are_protected() -> None:
    description = load("default").description
    for vm in description.vm:
        if vm.name == "linux":
            disk = msgspec.structs.replace(vm.disks[0], encrypt=True, integrity=True)
            description.vm[description.vm.index(vm)] = msgspec.structs.replace(vm, disks=[disk])
            break
    found = programs(described(description), "vm:linux")
    assert {"block0", "demo", "vm:demo"}.isdisjoint(found[Property.INTEGRITY])
    assert {"block0", "demo", "vm:demo"} <= found[Property.AVAILABILITY]
    stores = closures(described(description), "vm:linux")[Property.INTEGRITY]
    assert {"device:linux.disk0-store", "device:linux.disk0-key"} <= set(stores.steps)


def test_whoever_changes_what_is_read_can_have_it_told() -> None:
    """So encryption without authentication keeps no secret from a driver that lies."""
    encrypted = programs(disks({"encrypt": True}), "vm:one")
    assert "block0" in encrypted[Property.CONFIDENTIALITY]
    checked = programs(disks({"integrity": True}), "vm:one")
    assert "block0" not in checked[Property.INTEGRITY]
    assert "block0" in checked[Property.CONFIDENTIALITY]


def test_a_tpm_is_its_process_and_what_it_keeps() -> None:
    table = {"name": "t", "vm": [{"name": "g", "kernel": "guest:demo", "tpm": "2.0"}]}
    table["process"] = [
        {"name": "console", "program": ECHO, "offers": ["console"]},
        {"name": "entropy", "program": ECHO, "offers": ["entropy"]},
        {"name": "other", "program": ECHO},
    ]
    graph = described(decode(table))
    found = programs(graph, "tpm:g")
    assert {"g-tpm", "g"} <= found[Property.INTEGRITY]  # the monitor measures what starts
    assert "other" not in found[Property.INTEGRITY]
    assert "g-tpm" in programs(graph, "vm:g")[Property.INTEGRITY]
    assert "device:g.tpm-key" in closures(graph, "tpm:g")[Property.CONFIDENTIALITY]


def test_a_wrong_description_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"there is no .*named 'nobody'"):
        simple(a=["nobody"])
    with pytest.raises(UserError, match=r"there is no 'nobody' in sample; there are .*a"):
        closures(simple(a=[]), "nobody")
