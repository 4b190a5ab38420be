"""The block interface: a disk as bytes at offsets, read and written through packet streams.

A client attaches one stream.  Its packets:

=========  ==================================================================================
READ       read ``length`` bytes at byte ``argument`` of the session into the data area
WRITE      write ``length`` bytes of the data area at byte ``argument`` of the session
FLUSH      answered once all that was written and answered before is on stable storage
=========  ==================================================================================

The answer has the request's tag, and in ``operation`` a ``Status``.  Reads and writes are carried
out and answered in the order in which they were put; flushes may be overtaken.  A write that was
answered survives the end of the driver; one that was flushed survives the end of the machine.
READ, WRITE and FLUSH may be repeated, so after a driver's restart a client attaches again and
repeats what was not answered, in the same order.

How a client learns that the driver was replaced: a signal to a driver that is gone goes nowhere,
and the next driver knows nothing of the client.  So a thread of the client waits in ``attend``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from servers.runtime import Interface, Notification
from servers.runtime.stream import StreamOffer

SECTOR: Final = 512
"""Offsets and lengths are multiples of this many bytes."""
READ: Final = 0
WRITE: Final = 1
FLUSH: Final = 2


class Status(IntEnum):
    """How a request went."""

    OK = 0
    BAD_REQUEST = 1
    """Not a known operation, not a whole number of sectors, or outside the session."""
    READ_ONLY = 2
    FAILED = 3
    """The device failed."""


class DiskInfo(msgspec.Struct, array_like=True, frozen=True):
    """What a client may use."""

    size: int
    """Bytes, a multiple of ``SECTOR``."""
    writable: bool


class Block(Interface):
    """A disk."""

    def info(self) -> DiskInfo:
        """The size and rights of the caller's part of the disk."""

    def attach(self, offer: StreamOffer) -> Notification:
        """Attach a stream; it replaces one that the same client attached before.

        Returns the notification to signal after putting requests.
        """

    def attend(self) -> None:
        """Wait until the caller has no stream attached, because the driver gave it up.

        A call that ends with ``ServerDied`` says the same.
        """
