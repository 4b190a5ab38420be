"""A session of the shell: the system that it talks to, and what commands need to know of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kernel.abi import DebugOp
from servers.init.description import (
    DeviceEntry,
    Plan,
)
from servers.init.interface import ProcessInfo
from servers.init.planning import plan
from servers.runtime import Interface
from tools import system as systems
from tools.errors import UserError
from tools.shell.shield import Shield
from tools.system import HostSystem, SimSystem, Source, System
from tools.trace.names import Cap, Names, Space, Thread

if TYPE_CHECKING:
    from tools.shell.replay import Timeline

S = TypeVar("S", bound=Interface)

ANSWER: Final = 10_000_000_000
"""Nanoseconds in which a service is expected to answer."""
_POLL: Final = 0.01


class Session:
    """What the commands work on."""

    def __init__(self, source: Source, machine: str, seed: int, weak: bool, terminal: bool) -> None:
        self.source = source
        self.machine = machine
        self.terminal = terminal  # whether a person sits in front of it
        self.ended = False
        self.shown: dict[str, int] = {}  # console -> bytes of its output that were expected already
        self.shield = Shield()
        self._timeline: Timeline | None = None
        self._weak = weak
        self._planned: tuple[Plan, list[DeviceEntry]] | None = None
        self._clients: dict[tuple[type[Interface], str], Any] = {}
        self._threads: dict[int, str] = {}  # every thread's name that was ever seen
        self.shield.install()
        self.system: System = self._boot(seed)

    def _boot(self, seed: int) -> System:
        system = systems.boot(self.source, self.machine, seed, self._weak, repeatable=True)
        if isinstance(system, SimSystem):
            from tools.shell.replay import ReplaySystem

            system = replayed = ReplaySystem(system, self.shield)
            self._timeline = replayed.timeline
        else:
            guarded: Any = self.shield.guard(system.calls.exchange)
            system.calls.exchange = guarded
        try:
            system.control.processes()  # init answers when all are started
        except BaseException:
            system.close()
            raise
        return system

    def close(self) -> None:
        """End the system, and give Control-C back."""
        self.system.close()
        self.shield.remove()

    def reboot(self, seed: int) -> None:
        """Begin again with another seed."""
        self.system.close()
        self.system = self._boot(seed)
        self.forget()

    def repeat(self, saved: dict[str, Any]) -> None:
        """Do again what a simulated run did; its seed is this session's."""
        self.timeline.repeat(saved)
        self.forget()
        machine = self.timeline.machine
        print(f"step {machine.steps}: the same run, bit for bit")

    def forget(self) -> None:
        """The system is not the one that it was."""
        self._clients.clear()
        self._threads.clear()
        self.shown.clear()

    def check(self) -> None:
        """Raise ``UserError`` if the system is no more."""
        if not isinstance(self.system, HostSystem):
            return
        try:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            over = os.waitid(os.P_PID, self.system.pid, flags) is not None
        except ChildProcessError:
            over = True
        if over:
            self.ended = True
            raise UserError("the system has ended")

    # The system

    @property
    def timeline(self) -> Timeline:
        """The simulator's time; raises ``UserError`` on other machines."""
        if self._timeline is None:
            raise UserError("this is possible only on the simulator: cloister shell --machine sim")
        return self._timeline

    @property
    def plan(self) -> Plan:
        """The system's description with all names resolved."""
        return self._resolved()[0]

    def _resolved(self) -> tuple[Plan, list[DeviceEntry]]:
        if self._planned is None:
            self._planned = plan(self.source.description)
        return self._planned

    def open(self, interface: type[S], offer: str) -> S:
        """A client of an offer; says so if this system has no such process."""
        found = self._clients.get((interface, offer))
        if found is None:
            found = self.system.open(interface, offer, ANSWER)
            self._clients[interface, offer] = found
        client: S = found
        return client

    def processes(self) -> list[ProcessInfo]:
        """What init knows of its processes; on the simulator, what can be seen of them."""
        if self.machine == "host":
            return self.system.control.processes()
        starts = self.timeline.run.starts
        alive = {row[1] for row in self.rows(DebugOp.SPACES)}
        return [
            ProcessInfo(
                name=p.name,
                program=p.program,
                state="running" if p.name in alive else "stopped",
                starts=starts[p.name],
                space=p.name,
                ended="",
                vm=p.vm,
            )
            for p in self.plan.processes
        ]

    def process(self, name: str) -> ProcessInfo:
        """A process by its name."""
        found = self.processes()
        for info in found:
            if info.name == name:
                return info
        known = ", ".join(info.name for info in found)
        raise UserError(f"there is no process named {name!r}; there are {known}")

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition, on the simulator in its own time; whether it came true."""
        if self.machine == "sim":
            limit = self.timeline.machine.now + int(seconds * 1e9)
            while not condition():
                if self.timeline.machine.now >= limit or not self.timeline.move():
                    return False
            return True
        limit_at = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= limit_at:
                return False
            time.sleep(_POLL)
        return True

    # Looking

    def rows(self, operation: DebugOp) -> list[list[Any]]:
        """A report of the kernel."""
        if self.machine == "host":
            return list(self.system.debug(operation))
        return list(self.timeline.rows(operation))

    def spaces(self) -> list[Space]:
        return [Space(*row) for row in self.rows(DebugOp.SPACES)]

    def space(self, name: str) -> Space | None:
        """The newest space of that name."""
        found = [space for space in self.spaces() if space.name == name]
        return found[-1] if found else None

    def threads(self) -> list[Thread]:
        return [Thread(*row) for row in self.rows(DebugOp.THREADS)]

    def names(self) -> Names:
        """Names for everything in the system now."""
        caps = [Cap(*row) for row in self.rows(DebugOp.CAPABILITIES)]
        planned, devices = self._resolved()
        known = [device.name for device in devices]
        names = Names(planned, known, self.spaces(), self.threads(), caps, self._threads)
        self._threads.update(names)
        return names
