"""The interfaces of the audit server: adding to the log, and reading it."""

from __future__ import annotations

import msgspec

from servers.runtime import Interface


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One entry of the log."""

    number: int
    """Counted from 1, without gaps."""
    time: int
    """The machine's monotonic time in ns when it was added."""
    source: str
    """Who added it: the name of its process, by the badge of its capability."""
    event: str
    """What kind of thing happened, one word."""
    detail: str
    hash: str
    """SHA-256 in hex over the previous entry's hash and this entry's fields."""


class Audit(Interface):
    """Adding to the log."""

    def append(self, event: str, detail: str) -> int:
        """Add an entry in the caller's name; returns its number once it is stored.

        A detail of more than 1 KiB is cut off.  Raises ``Failed`` if the log is full.
        """


class AuditReader(Interface):
    """Reading the log."""

    def read(self, start: int, count: int) -> list[Record]:
        """At most ``count`` entries from number ``start`` on, as many as one message carries.

        Where the log is in memory, the oldest may be gone: look at the numbers.
        """

    def count(self) -> int:
        """How many entries there are."""

    def verify(self) -> int:
        """Check the whole chain as it is stored; the number of the first bad entry, or 0."""
