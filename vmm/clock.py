"""Time for devices: a monotonic clock that is handed in, and a queue of deadlines."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Clock = Callable[[], int]
"""Nanoseconds since some fixed moment; never goes back."""

SECOND = 1_000_000_000


class GuestClock:
    """A guest's time: a clock that goes on where it stood when the guest was saved."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0

    def __call__(self) -> int:
        return self._clock() + self._ahead

    def set(self, now: int) -> None:
        """Let it be that time now."""
        self._ahead = now - self._clock()


class Timer:
    """One planned call.  ``cancel`` forgets it."""

    __slots__ = ("_queue", "action", "deadline")

    def __init__(self, deadline: int, action: Callable[[], None], queue: TimerQueue) -> None:
        self.deadline = deadline
        self.action: Callable[[], None] | None = action
        self._queue = queue

    def cancel(self) -> None:
        if self.action is not None:
            self.action = None
            self._queue.forget()


class TimerQueue:
    """Deadlines in order; those that are equal run in the order of planning.

    ``changed`` is called with each deadline that becomes the earliest, so that whoever sleeps
    until then can be told.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.changed: Callable[[int], None] = lambda _deadline: None
        self._heap: list[tuple[int, int, Timer]] = []
        self._sequence = 0
        self._cancelled = 0

    def schedule(self, deadline: int, action: Callable[[], None]) -> Timer:
        """Call ``action`` once the clock has reached ``deadline`` (ns)."""
        timer = Timer(deadline, action, self)
        self._sequence += 1
        heapq.heappush(self._heap, (deadline, self._sequence, timer))
        if self._heap[0][2] is timer:
            self.changed(deadline)
        return timer

    def forget(self) -> None:
        """A timer was cancelled.  Its entry stays until dead entries are the majority: a guest
        that plans and cancels forever must not fill the memory."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def planned(self) -> list[Timer]:
        """What is planned, in the order in which it would be called."""
        return [entry[2] for entry in sorted(self._heap) if entry[2].action is not None]

    def clear(self) -> None:
        """Forget all that is planned."""
        for _, _, timer in self._heap:
            timer.action = None
        self._heap.clear()
        self._cancelled = 0

    def next_deadline(self) -> int | None:
        """When something is due, or None."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run_due(self) -> None:
        """Call what is due now.

        What these calls plan waits for the next round, so that no guest, however short the
        periods it asks for, keeps this loop going.
        """
        now = self.clock()
        last = self._sequence
        postponed = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if entry[1] > last:
                postponed.append(entry)
                continue
            action = entry[2].action
            if action is not None:
                entry[2].action = None
                action()
        for entry in postponed:
            heapq.heappush(self._heap, entry)
