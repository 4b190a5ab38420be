"""The graph of a system description: all its processes, as if all of them ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from servers.init.description import (
    FROM_INIT,
    INIT,
    INIT_OFFERS,
    Description,
    DescriptionError,
    Hold,
    Plan,
    ProcessPlan,
)
from servers.init.planning import (
    plan,
)
from tools.errors import UserError
from tools.tcb.graph.model import Graph
from tools.tcb.systems import rules
from tools.tcb.systems.authority import Held, Holder, system


def described(description: Description) -> Graph:
    """A description's graph; raises ``UserError`` for one that is wrong."""
    try:
        planned, _ = plan(description)
    except DescriptionError as error:
        raise UserError(f"system {description.name}: {error}") from None
    return system(planned.name, holders(planned))


def holders(planned: Plan) -> list[Holder]:
    """What each process of a plan holds."""
    return [
        Holder(
            name=process.name,
            program=process.program,
            holds=[_held(hold, planned) for hold in process.holds],
            process=_process(process, planned),
            executable=process.executable,
            priority=process.priority,
            limited=bool(process.budget),
            vm=process.vm,
            modules=_modules(process),
            wrapped=_wrapped(process),
        )
        for process in planned.processes
    ]


def _process(process: ProcessPlan, planned: Plan) -> str:
    """The process that a program is in; empty if that has its name."""
    host = planned.processes[process.within].name
    return "" if host == process.name else host


def _held(hold: Hold, planned: Plan) -> Held:
    if hold.device:
        return Held(hold.name, hold.device, writable=hold.writable)
    if hold.process == FROM_INIT:
        return Held(hold.name, INIT, INIT_OFFERS[hold.offer])
    server = planned.processes[hold.process]
    return Held(hold.name, server.name, server.offers[hold.offer])


def _modules(process: ProcessPlan) -> tuple[str, ...]:
    """What a VMM loads when its guest needs it, see ``vmm.main``."""
    if not process.vm:
        return ()
    config = _config(process)
    wanted = {name for name, uses in _LATE.items() if uses(config)}
    return tuple(sorted(wanted | {"capstone", "vmm.disassemble"}))


_LATE: Final[Mapping[str, Callable[[dict[str, Any]], bool]]] = {
    "vmm.tpm": lambda config: bool(config["tpm"]),
    "vmm.display": lambda config: config["display"],
    "vmm.screen": lambda config: config["display"],
    "vmm.apic": lambda config: config["apic"],
    "vmm.firmware": lambda config: config["bios"],
    "vmm.drives": lambda config: any(d["interface"] != "virtio" for d in config["disks"]),
    "vmm.protected.disk": lambda config: any(
        disk[key] for disk in config["disks"] for key in rules.WRAPPERS
    ),
}
"""Module -> whether a virtual machine's configuration has it loaded."""


def _config(process: ProcessPlan) -> dict[str, Any]:
    config: dict[str, Any] = msgspec.msgpack.decode(process.config)
    return config


def _wrapped(process: ProcessPlan) -> dict[str, frozenset[str]]:
    if not process.vm:
        return {}
    return {
        f"disk{number}": frozenset(key for key in rules.WRAPPERS if disk[key])
        for number, disk in enumerate(_config(process)["disks"])
    }
