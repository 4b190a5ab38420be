"""The interfaces of the benchmarks' programs."""

from __future__ import annotations

from typing import Final

from servers.runtime import Interface
from servers.runtime.stream import StreamOffer

BULK: Final = 1 << 20
"""Bytes that the bulk benchmarks move at a time."""
PIECE: Final = 60 << 10
"""Bytes of each message that carries a part of them; a message holds at most 64 KiB."""
PACKET: Final = 256 << 10
"""Bytes that each packet of a stream announces; it holds up to 64 MiB."""


class Echo(Interface):
    """Gives back what it gets."""

    def echo(self, data: bytes) -> bytes: ...

    def look(self, data: bytes) -> int:
        """Look at data; its first byte and last."""

    def attach(self, offer: StreamOffer) -> None:
        """Look at the packets of a stream, too, when told to."""

    def ring(self) -> None:
        """There are packets: look at them, and answer."""


class Caller(Interface):
    """Makes calls to an ``Echo``; all return the nanoseconds that they took together."""

    def calls(self, count: int, size: int) -> int:
        """System calls alone: ``call`` with a payload, answered with the same."""

    def typed(self, count: int, size: int) -> int:
        """Calls of the interface's method."""

    def direct(self, count: int, size: int) -> int:
        """The same without the kernel in between."""

    def messages(self, count: int) -> int:
        """Move ``BULK`` bytes by messages, so many times."""

    def stream(self, count: int) -> int:
        """Move ``BULK`` bytes through a packet stream, so many times."""
