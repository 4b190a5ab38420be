"""The trace ring: the kernel's last events, of fixed size, read through the debug authority."""

from typing import Final

RING: Final = 8192
"""How many events are kept."""
SLACK: Final = 1024
"""How many more there may be before the old ones are forgotten, all at once."""

Event = tuple[int, int, int, int, int]
"""``(time_ns, event, thread, a, b)``; what is read has its sequence number before that."""


class Ring:
    """The last ``RING`` events; older ones are forgotten, their sequence numbers tell."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._forgotten = 0
        self.add = self.events.append  # as it is: three events a call come here

    @property
    def sequence(self) -> int:
        """The number of the last event, 0 before the first."""
        return self._forgotten + len(self.events)

    def trim(self) -> None:
        """Forget what is too old."""
        old = len(self.events) - RING
        self._forgotten += old
        del self.events[:old]

    def since(self, start: int, limit: int) -> list[tuple[int, ...]]:
        """At most ``limit`` events, the oldest first, from sequence number ``start`` on."""
        first = max(start - 1 - self._forgotten, len(self.events) - RING, 0)
        found = self.events[first : first + limit]
        return [(self._forgotten + first + i, *event) for i, event in enumerate(found, start=1)]
