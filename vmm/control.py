"""The guest as the tools control it: the ``vm`` offer of the VMM's process."""

from __future__ import annotations

import importlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from servers.runtime import Environment, Failed
from vmm.board import Board
from vmm.engine.interface import Registers
from vmm.interface import Vm, VmStatus
from vmm.snapshot import machine
from vmm.snapshot.state import SnapshotError
from vmm.snapshot.stream import Loading, Saving

if TYPE_CHECKING:
    from vmm.gdb.session import GdbSession

ANSWER = 5_000_000_000
"""Nanoseconds in which the vCPU thread is expected to answer."""
MOMENT = 1_000_000
MOST_WAIT = 100_000_000
"""Nanoseconds that a call waits for something to happen: other calls wait for it."""

T = TypeVar("T")


class LateImport:
    """Loads a module that few guests need, when it is needed.

    The thread that does it begins before the right to open files is given up, and keeps it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._load, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _load(self) -> None:
        self._wanted.wait()
        importlib.import_module(self._name)

    def load(self) -> None:
        """Return once it can be imported by anyone."""
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join()


gdb_support = LateImport("vmm.gdb.session")
snapshot_support = LateImport("zlib")


class Control(Vm):
    """One guest."""

    def __init__(
        self, board: Board, env: Environment, describe: Callable[[Registers], str]
    ) -> None:
        """``describe`` gives registers and code in words."""
        self._board, self._env, self._describe = board, env, describe
        self._started = time.monotonic_ns()
        self._paused = False
        self._debugger: GdbSession | None = None
        self._for_debugger: deque[bytes] = deque()
        self._said = env.event()
        self._saving: Saving | None = None
        self._loading: Loading | None = None

    def pause(self) -> None:
        self._paused = True
        self._board.pause()

    def resume(self) -> None:
        self._paused = False
        self._board.resume()

    def status(self) -> VmStatus:
        state = "paused" if self._paused else "running"
        return VmStatus(state, time.monotonic_ns() - self._started, dict(self._board.exits))

    def registers(self) -> str:
        return self._ask(lambda: self._describe(self._board.engine.get_registers()))

    def disassemble(self, address: int) -> str:
        def answer() -> str:
            registers = self._board.engine.get_registers()
            registers.rip = address - registers.cs.base
            return self._describe(registers).partition("idtr")[2].partition("\n")[2]

        return self._ask(answer)

    def gdb(self, data: bytes, wait_ns: int) -> bytes:
        gdb_support.load()
        self._ask(lambda: self._to_debugger(data))
        if not self._for_debugger:
            self._said.wait(min(wait_ns, MOST_WAIT))
        out = b""
        while self._for_debugger:
            out += self._for_debugger.popleft()
        return out

    def gdb_end(self) -> None:
        self._ask(self._end_debugger)

    def save_begin(self) -> None:
        snapshot_support.load()
        memory = self._board.memory.buffer
        self._saving = Saving(self._ask(lambda: machine.describe(self._board)), memory)

    def save_piece(self) -> bytes:
        if self._saving is None:
            raise Failed("nothing is being saved")
        return self._saving.piece()

    def save_stop(self) -> None:
        if self._saving is None:
            raise Failed("nothing is being saved")
        self._hold_when_quiet()
        try:
            self._saving.finish(self._ask(lambda: machine.save(self._board)))
        except Failed:
            self._ask(self._go_on)
            raise

    def save_end(self, go_on: bool) -> None:
        self._saving = None
        if go_on:
            self._ask(self._go_on)

    def load_begin(self) -> None:
        snapshot_support.load()
        self._hold_when_quiet()
        self._loading = Loading(self._board)

    def load_piece(self, data: bytes) -> None:
        if self._loading is None:
            raise Failed("nothing is being loaded")
        try:
            self._loading.piece(data)
        except SnapshotError as error:
            raise Failed(str(error)) from None

    def load_end(self, go_on: bool) -> None:
        if self._loading is None:
            raise Failed("nothing is being loaded")
        loading, self._loading = self._loading, None
        try:
            state = loading.state()
        except SnapshotError as error:
            raise Failed(str(error)) from None
        self._ask(lambda: machine.restore(self._board, state))
        if go_on:
            self._ask(self._go_on)

    def load_go(self) -> None:
        self._ask(self._go_on)

    def _go_on(self) -> None:
        if not self._paused:
            self._board.go_on()

    def _hold_when_quiet(self) -> None:
        """Stop the guest when no answer is on its way to one of its devices."""
        patience = self._env.clock() + ANSWER
        while not self._ask(self._held_quiet):
            if self._env.clock() > patience:
                self._ask(self._go_on)
                raise Failed("a device has been waiting for its answer for too long")
            self._env.event().wait(MOMENT)

    def _held_quiet(self) -> bool:
        self._board.hold()
        return machine.is_quiet(self._board)

    def _to_debugger(self, data: bytes) -> None:
        if self._debugger is None:
            from vmm.gdb.session import GdbSession

            self._for_debugger.clear()
            self._debugger = GdbSession(self._board, self._from_stub)
        self._debugger.feed(data)

    def _from_stub(self, data: bytes) -> None:
        self._for_debugger.append(data)
        self._said.set()

    def _end_debugger(self) -> None:
        if self._debugger is not None:
            self._debugger.close()
            self._debugger = None

    def _ask(self, question: Callable[[], T]) -> T:
        """Have something done on the vCPU thread, between two stretches of guest execution."""
        done = self._env.event()
        answers: list[T | Exception] = []

        def act() -> None:
            try:
                answers.append(question())
            except Exception as error:
                answers.append(error)
            done.set()

        self._board.post(act)
        if not done.wait(ANSWER):
            raise Failed("the guest does not answer: it has just ended")
        answer = answers[0]
        if isinstance(answer, SnapshotError):
            raise Failed(str(answer))
        if isinstance(answer, Exception):
            raise Failed(f"the guest's state cannot be read: {answer}")
        return answer
