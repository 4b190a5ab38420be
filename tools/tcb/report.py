"""Who a process has to trust, from the capability graph of a system's description.

A process trusts whoever serves what it holds, and whom that trusts in turn; init, which made it and
owns all endpoints; and the kernel.  This is the sum of integrity, confidentiality and availability:
what a process protects itself from, by encrypting its disk for instance, is not subtracted.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from servers.init.description import DescriptionError, Plan, ProcessPlan, plan
from tools.errors import UserError
from tools.system import ROOT, Source
from tools.tcb.code.lines import source_lines
from tools.tcb.modules import Code, follow

KERNEL: Final = "kernel"
INIT: Final = "init"
_KERNEL_ROOTS: Final = ("kernel.machine.host.main",)
_RUNTIME_ROOTS: Final = ("servers.runtime.start", "servers.runtime.host")
"""What every process loads on the host machine."""


@dataclass(frozen=True)
class Member:
    """One part of a trusted code base."""

    name: str
    program: str
    because: str
    """The path of capabilities that makes it trusted."""
    devices: tuple[str, ...]
    code: Code

    @property
    def lines(self) -> int:
        """Own source lines that it loads, the runtime's included."""
        return sum(source_lines(file) for file in self.code.modules.values())

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "program": self.program,
            "because": self.because,
            "devices": list(self.devices),
            "lines": self.lines,
            "modules": sorted(self.code.modules),
            "packages": sorted(self.code.packages),
        }


@dataclass(frozen=True)
class Report:
    """A trusted code base: the process itself is its first member."""

    system: str
    name: str
    members: tuple[Member, ...]

    @property
    def lines(self) -> int:
        """Own source lines of all members; what several of them load counts once."""
        files = {file for member in self.members for file in member.code.modules.values()}
        return sum(map(source_lines, files))

    @property
    def packages(self) -> list[str]:
        """Third parties' packages that any member imports."""
        return sorted({name for member in self.members for name in member.code.packages})

    @property
    def platform(self) -> list[str]:
        """What is below all of it and was not counted."""
        python = f"{platform.python_implementation()} {platform.python_version()}"
        return [python, f"{platform.system()} {platform.release()}"]

    def json(self) -> dict[str, Any]:
        return {
            "system": self.system,
            "for": self.name,
            "members": [member.json() for member in self.members],
            "lines": self.lines,
            "packages": self.packages,
            "platform": self.platform,
        }


def _trusted(planned: Plan, name: str) -> dict[str, tuple[ProcessPlan, str]]:
    """Process -> its plan and why it is trusted; nearest first."""
    by_name = {process.name: process for process in planned.processes}
    if name not in by_name:
        known = ", ".join(by_name) or "none"
        raise UserError(f"there is no process named {name!r} in {planned.name}; there are {known}")
    found = {name: (by_name[name], "the process itself")}
    paths, waiting = {name: name}, [by_name[name]]
    while waiting:
        holder = waiting.pop(0)
        for hold in holder.holds:
            server = planned.processes[hold.process]
            if hold.device or server.name in found:
                continue
            paths[server.name] = f"{paths[holder.name]} > {server.name}"
            offer = server.offers[hold.offer]
            found[server.name] = (server, f"{paths[holder.name]} holds {server.name}.{offer}")
            waiting.append(server)
    return found


def report(source: Source, name: str) -> Report:
    """The trusted code base of a process or guest; raises ``UserError`` if there is none such."""
    try:
        planned, _ = plan(source.description)
    except DescriptionError as error:
        raise UserError(f"system {source.description.name}: {error}") from None
    paths: list[Path] = [ROOT]
    members = []
    for process, why in _trusted(planned, name).values():
        main = f"{process.program}.main"
        code = follow((main, *_RUNTIME_ROOTS), paths)
        if main not in code.modules:
            raise UserError(f"the source of {main}, which {process.name} runs, is not in {ROOT}")
        devices = tuple(hold.device for hold in process.holds if hold.device)
        members.append(Member(process.name, process.program, why, devices, code))
    init = follow(("servers.init.main", *_RUNTIME_ROOTS), paths)
    members.append(Member(INIT, "servers.init", "made it, and owns every endpoint", (), init))
    kernel = follow(_KERNEL_ROOTS, paths)
    members.append(Member(KERNEL, KERNEL, "runs privileged", (), kernel))
    return Report(planned.name, name, tuple(members))
