"""Interrupting the guest when the next deadline comes, while it runs without leaving the engine.

On the host a small thread sleeps until the deadline and kicks the engine.  Where there are no
threads, another implementation of ``Pacer`` is injected into the board.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from vmm.clock import SECOND, Clock


class Pacer(Protocol):
    """Something that calls a kick function at a deadline."""

    def arm(self, deadline: int | None) -> None:
        """Kick at ``deadline`` (ns of the clock); None: not at all.  Replaces the last one."""

    def close(self) -> None:
        """Kick no more; release what it holds."""


PacerFactory = Callable[[Callable[[], None], Clock], Pacer]
"""(kick, clock) -> pacer"""


class ThreadPacer:
    """A pacer with a host thread.

    A kick may come early or once too often, which costs one round of the board's loop.  So moving
    the deadline later does not wake the thread: it wakes at the old one and sleeps again.
    """

    def __init__(self, kick: Callable[[], None], clock: Clock) -> None:
        self._kick = kick
        self._clock = clock
        self._condition = threading.Condition()
        self._deadline: int | None = None
        self._sleeping_until: int | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="pacer", daemon=True)
        self._thread.start()

    def arm(self, deadline: int | None) -> None:
        if deadline == self._deadline:
            return
        with self._condition:
            self._deadline = deadline
            sleeping_until = self._sleeping_until
            if deadline is not None and (sleeping_until is None or deadline < sleeping_until):
                self._condition.notify()

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _work(self) -> None:
        with self._condition:
            while not self._closed:
                deadline = self._deadline
                if deadline is None:
                    self._sleeping_until = None
                    self._condition.wait()
                    continue
                left = deadline - self._clock()
                if left > 0:
                    self._sleeping_until = deadline
                    self._condition.wait(left / SECOND)
                    continue
                self._deadline = None
                self._kick()


class SlicePacer:
    """A pacer for a machine whose threads take turns: the guest runs for short slices of host time.

    Between slices, when the board arms the deadline, ``give_way`` lets the others have theirs.
    """

    SLICE = 0.002
    """Seconds."""

    def __init__(
        self, kick: Callable[[], None], _clock: Clock, give_way: Callable[[], object]
    ) -> None:
        self._kick = kick
        self._give_way = give_way
        self._timer: threading.Timer | None = None

    def arm(self, deadline: int | None) -> None:
        self.close()
        if deadline is not None:
            self._give_way()
        self._timer = threading.Timer(self.SLICE, self._kick)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Waiter:
    """``idle`` and ``wake`` for a board that has host threads around it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def idle(self, timeout: float | None) -> None:
        """Return when ``wake`` was called since the last return, or after ``timeout`` seconds."""
        self._event.wait(timeout)
        self._event.clear()

    def wake(self) -> None:
        self._event.set()
