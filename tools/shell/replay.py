"""The simulator's time, forwards and backwards.

A run is a function of the seed and of what the operator asks for and when.  The simulator moves
only while somebody waits for it, so *when* is a number of moves: a move lets one thread run to its
next call, which is a step, or lets time jump.  ``Timeline`` writes down every call of the operator
with the number of moves before it.  Going back is going forward again, to an earlier step, on a
fresh machine that gets the same calls at the same moves.

That it is the same run is proved, not hoped for: a digest of the kernel's trace is kept at regular
distances, and compared whenever a machine passes there again.

What was recorded beyond the present stays, and happens again when the run goes on: going back and
then forward gives the same trace.  It is given up when the operator asks for something else.

Looking is no part of the run: ``rows`` reads the kernel's tables without a system call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgpack

from kernel import debug
from kernel.abi import CALLS, DebugOp, ThreadState
from kernel.machine.sim import SimMachine
from kernel.trace import RING
from kernel.wire import pack
from servers.runtime.sim import operator_channel
from tools.errors import UserError
from tools.shell.shield import Shield
from tools.system import SimSystem, System

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.thread import Thread

MARK: Final = 256
"""Moves between two digests of the trace."""
_DIFFERS: Final = (
    "the run did not repeat itself; what a guest does is not among what the simulator repeats"
)
_CREATE: Final = next(spec.number for spec in CALLS if spec.name == "space_create")

Stop = Callable[["Thread", list[Any]], bool]
"""Whether to stop the run at a thread's system call."""


@dataclass
class History:
    """What was recorded of a run, perhaps beyond the present."""

    calls: list[tuple[int, bytes]] = field(default_factory=list)
    """The operator's calls: how many moves came before, and the frame."""
    marks: list[bytes] = field(default_factory=list)
    """Digests of the trace after each ``MARK`` moves."""
    steps: int = 0
    """The furthest that the run ever was."""

    def cut(self, calls: int, moves: int) -> None:
        """Give up what comes after so many calls and moves."""
        del self.calls[calls:]
        del self.marks[moves // MARK :]


class Run:
    """One machine on its way through a history."""

    def __init__(self, machine: SimMachine, history: History) -> None:
        self.machine = machine
        self.moves = 0
        self.given = 0
        """How many of the history's calls this machine was given."""
        self.starts: Counter[str] = Counter()
        """How often init created a space of each name."""
        self.stop: Stop | None = None
        self.stopped_by: tuple[Thread, int] | None = None
        """The thread and the call that ``stop`` was for."""
        self._history = history
        self._seen = 0  # the last event that is in the digest
        self._digest = b""
        machine.breakpoint = self._observe

    def _observe(self, thread: Thread, request: list[Any]) -> bool:
        if request[0] == _CREATE:
            self.starts[request[1]] += 1
        if self.stop is not None and self.stop(thread, request):
            self.stopped_by = thread, request[0]
        return False

    @property
    def busy(self) -> bool:
        """Whether a call of the operator is under way."""
        return self.machine.operator.thread.state is not ThreadState.RUNNING

    def move(self) -> bool:
        """One move; False if nobody can ever move."""
        calls = self._history.calls
        while self.given < len(calls) and calls[self.given][0] == self.moves:
            self.machine.submit(calls[self.given][1])
            self.given += 1
        if not self.machine.step():
            return False
        self.moves += 1
        self._history.steps = max(self._history.steps, self.machine.steps)
        if not self.moves % MARK:
            self._mark()
        return True

    def digest(self) -> bytes:
        """What stands for all that has happened: every event of the kernel, bit for bit."""
        events = self.machine.kernel.trace.since(self._seen + 1, RING)
        return blake2b(self._digest + msgpack.packb(events)).digest()

    def _mark(self) -> None:
        """Add to the digest what happened, and compare it with what happened before."""
        self._digest = self.digest()
        self._seen = self.machine.kernel.trace.sequence
        marks, index = self._history.marks, self.moves // MARK - 1
        if index < len(marks) and marks[index] != self._digest:
            raise UserError(_DIFFERS)
        if index == len(marks):
            marks.append(self._digest)


class Timeline:
    """The operator's side of a simulated system, and its time."""

    def __init__(self, make: Callable[[], SimMachine], shield: Shield) -> None:
        self._make = make
        self._move = shield.guard(Run.move)
        self.history = History()
        self.run = Run(make(), self.history)

    @property
    def machine(self) -> SimMachine:
        return self.run.machine

    @property
    def kernel(self) -> Kernel:
        return self.machine.kernel

    # The operator's calls

    def call(self, request: list[Any]) -> tuple[list[Any], Any]:
        """Make a system call as the operator; what was recorded beyond the present is given up."""
        while self.run.busy:
            self._move_on()  # to the end of a call that was under way at the step gone back to
        self.history.cut(self.run.given, self.run.moves)
        frame = pack(request)
        self.history.calls.append((self.run.moves, frame))
        self.run.given += 1
        self.machine.submit(frame)
        while self.run.busy:
            self._move_on()
        answer, resource = self.machine.settle()
        return msgpack.unpackb(answer), resource

    def _move_on(self) -> None:
        if not self.move():
            raise UserError("this call is never answered: nothing in the system can run")

    # Moving

    def move(self) -> bool:
        """One move, and then an interruption if there was one; False if nobody can ever move."""
        return self._move(self.run)

    def forward(self, steps: int | None) -> tuple[int, str]:
        """Go so many steps, or without end; how many were made, and why no more."""
        run, start = self.run, self.machine.steps
        run.stopped_by = None
        while steps is None or self.machine.steps - start < steps:
            if not self.move():
                return self.machine.steps - start, "nothing can run"
            if run.stopped_by is not None:
                return self.machine.steps - start, "the breakpoint"
        return self.machine.steps - start, ""

    def back(self, steps: int) -> int:
        """Go so many steps back; how many of the kernel's events were compared one by one."""
        before = self.run
        target = max(0, self.machine.steps - steps)
        now = Run(self._make(), self.history)
        while now.machine.steps < target:
            if not self._move(now):
                raise UserError(_DIFFERS)
        old, new = before.machine.kernel.trace, now.machine.kernel.trace
        first = max(1, old.sequence - RING + 1)
        events = new.since(first, RING)
        if events != old.since(first, RING)[: len(events)]:
            raise UserError(_DIFFERS)
        now.stop = before.stop
        self.run = now
        before.machine.close()
        return len(events)

    # Saved runs

    def saved(self) -> dict[str, Any]:
        """The run up to now: its seed, its input, and digests of what it did."""
        run = self.run
        return {
            "seed": run.machine.seed,
            "moves": run.moves,
            "calls": [[at, frame.hex()] for at, frame in self.history.calls[: run.given]],
            "marks": [mark.hex() for mark in self.history.marks[: run.moves // MARK]],
            "digest": run.digest().hex(),
        }

    def repeat(self, saved: dict[str, Any]) -> None:
        """Make a fresh machine do what was saved.

        Raises ``UserError`` if that is no run, or not the same one again.
        """
        try:
            calls = [(int(at), bytes.fromhex(frame)) for at, frame in saved["calls"]]
            marks = [bytes.fromhex(mark) for mark in saved["marks"]]
            moves, digest = int(saved["moves"]), bytes.fromhex(saved["digest"])
        except (KeyError, TypeError, ValueError):
            raise UserError("this is no run that `save` wrote") from None
        self.machine.close()
        self.history = History(calls, marks)
        self.run = Run(self._make(), self.history)
        while self.run.moves < moves:
            if not self.move():
                raise UserError(_DIFFERS)
        if self.run.digest() != digest:
            raise UserError(_DIFFERS)

    # Looking

    def rows(self, operation: DebugOp) -> Iterator[list[Any]]:
        """What ``debug`` would report, without a call."""
        if operation is DebugOp.TRACE:
            return (list(event) for event in self.kernel.trace.since(1, RING))
        return iter(debug.rows(self.kernel, operation))

    def ready(self) -> list[int]:
        """Threads that could run now."""
        return [task.thread.id for task, _ in self.machine._ready]


class ReplaySystem(System):
    """A simulated system whose time can be taken back."""

    def __init__(self, pristine: SimSystem, shield: Shield) -> None:
        """``pristine`` has not moved yet; every machine is made like it."""
        self.timeline = Timeline(lambda: pristine.again().machine, shield)
        self._pristine = pristine
        slots = self.timeline.machine.operator_slots
        super().__init__(operator_channel(self.timeline), slots)

    def close(self) -> None:
        self.timeline.machine.close()
        self._pristine.close()
