"""Serves ``Vm``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import cast

from servers.runtime import Environment
from vmm.board import Board
from vmm.clock import GuestClock, TimerQueue
from vmm.config import VmConfig
from vmm.control import Control
from vmm.disassemble import report
from vmm.engine.interface import Registers
from vmm.gdb import session
from vmm.memory import PAGE, GuestMemory

__all__ = ["main", "session"]


class DarkEngine:
    """A processor that does nothing."""

    def __init__(self) -> None:
        self._registers = Registers()

    def get_registers(self) -> Registers:
        return self._registers

    def set_registers(self, registers: Registers) -> None:
        self._registers = registers

    def save(self) -> dict[str, int | bytes]:
        return {}

    def restore(self, registers: Registers, rest: Mapping[str, int | bytes]) -> None: ...

    def set_breakpoints(self, addresses: Collection[int]) -> None: ...

    def invalidate(self, gpa: int, length: int) -> None: ...


class Dark:
    """What the service asks of a board, which has no devices."""

    has_tpm = paused = False

    def __init__(self) -> None:
        self.exits = {"halted": 0, "stopped": 0}
        self.engine = DarkEngine()
        self.memory = GuestMemory(memoryview(bytearray(16 * PAGE)))
        self.config = VmConfig()
        self.clock = GuestClock(time.monotonic_ns)
        self.timers = TimerQueue(self.clock)

    def devices(self) -> dict[str, object]:
        return {}

    def post(self, action: Callable[[], None]) -> None:
        action()

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def hold(self) -> None: ...

    def go_on(self, step: bool = False) -> None: ...

    def reset(self) -> None: ...

    def stop(self) -> None: ...

    def debugged(self, on_stop: Callable[[], None] | None) -> None: ...


def main(env: Environment) -> None:
    dark = Dark()
    control = Control(cast(Board, dark), env, lambda found: report(found, dark.memory))
    env.serve(control, on="vm")
