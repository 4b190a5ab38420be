"""A session of the shell: the system that it talks to, and what commands need to know of it."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from kernel.abi import DebugOp
from servers.init.interface import ProcessInfo
from servers.runtime import Interface
from tools import system as systems
from tools.errors import UserError
from tools.system import SimSystem, Source, System

S = TypeVar("S", bound=Interface)


class Space(NamedTuple):
    """A row of ``DebugOp.SPACES``."""

    id: int
    name: str
    label: int
    flags: int
    used: int
    limit: int
    capabilities: int
    mappings: int
    threads: int
    pid: int
    cpu_ns: int
    resident: int


class Thread(NamedTuple):
    """A row of ``DebugOp.THREADS``."""

    id: int
    space: int
    name: str
    state: int
    priority: int
    blocked_on: int


class Session:
    """What the commands work on."""

    def __init__(self, source: Source, machine: str, seed: int, weak: bool, terminal: bool) -> None:
        self.source = source
        self.machine = machine
        self.terminal = terminal  # whether a person sits in front of it
        self._weak = weak
        self.system: System = self._boot(seed)
        self.ended = False

    def _boot(self, seed: int) -> System:
        return systems.boot(self.source, self.machine, seed, self._weak, repeatable=True)

    def reboot(self, seed: int) -> None:
        """Begin again with another seed."""
        self.system.close()
        self.system = self._boot(seed)

    @property
    def simulation(self) -> SimSystem:
        """The system, if it is simulated."""
        if not isinstance(self.system, SimSystem):
            raise UserError("this is possible only on the simulator: cloister shell --machine sim")
        return self.system

    def open(self, interface: type[S], offer: str) -> S:
        """A client of an offer; says so if this system has no such process."""
        return self.system.open(interface, offer)

    def processes(self) -> list[ProcessInfo]:
        return self.system.control.processes()

    def process(self, name: str) -> ProcessInfo:
        """A process by its name."""
        for info in self.processes():
            if info.name == name:
                return info
        known = ", ".join(info.name for info in self.processes())
        raise UserError(f"there is no process named {name!r}; there are {known}")

    def rows(self, operation: DebugOp, start: int = 0) -> list[list[Any]]:
        return list(self.system.debug(operation, start))

    def spaces(self) -> dict[int, Space]:
        return {row[0]: Space(*row) for row in self.rows(DebugOp.SPACES)}

    def space(self, name: str) -> Space:
        """The newest space of that name."""
        found = [space for space in self.spaces().values() if space.name == name]
        if not found:
            raise UserError(f"there is no address space named {name!r} now")
        return found[-1]

    def threads(self) -> list[Thread]:
        return [Thread(*row) for row in self.rows(DebugOp.THREADS)]

    def label(self, number: int) -> str:
        """A label's name in the description."""
        from servers.init.description import plan

        labels = plan(self.source.description)[0].labels
        return labels[number] if number < len(labels) else str(number)
