"""The trace ring: the kernel's last events, of fixed size, read through the debug authority."""

from collections import deque
from itertools import count, islice
from typing import Final

RING: Final = 8192
"""How many events are kept."""

Event = tuple[int, int, int, int, int, int]
"""``(sequence, time_ns, event, thread, a, b)``"""


class Ring:
    """The last ``RING`` events; older ones are forgotten, their sequence numbers tell."""

    def __init__(self) -> None:
        self.now = 0  # when the current event of the kernel came
        self._numbers = count(1)
        self._events: deque[Event] = deque(maxlen=RING)
        self._append = self._events.append

    @property
    def sequence(self) -> int:
        """The number of the last event, 0 before the first."""
        return self._events[-1][0] if self._events else 0

    def add(self, event: int, thread: int, a: int = 0, b: int = 0) -> None:
        self._append((next(self._numbers), self.now, event, thread, a, b))

    def since(self, start: int, limit: int) -> list[Event]:
        """At most ``limit`` events, the oldest first, from sequence number ``start`` on."""
        skip = min(max(0, start - self._events[0][0]), RING) if self._events else 0
        return list(islice(self._events, skip, skip + limit))
