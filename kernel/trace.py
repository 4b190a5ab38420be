"""The trace ring: the kernel's last events, of fixed size, read through the debug authority."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

RING: Final = 8192
"""How many events are kept."""

Event = tuple[int, int, int, int, int, int]
"""``(sequence, time_ns, event, thread, a, b)``"""


class Ring:
    """The last ``RING`` events; older ones are forgotten, their sequence numbers tell."""

    __slots__ = ("_events", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self._events: deque[Event] = deque(maxlen=RING)

    def add(self, now: int, event: int, thread: int, a: int = 0, b: int = 0) -> None:
        self.sequence = sequence = self.sequence + 1
        self._events.append((sequence, now, event, thread, a, b))

    def since(self, start: int, count: int) -> list[Event]:
        """At most ``count`` events, the oldest first, from sequence number ``start`` on."""
        oldest = self.sequence - len(self._events) + 1
        skip = min(max(0, start - oldest), RING)
        return list(islice(self._events, skip, skip + count))
