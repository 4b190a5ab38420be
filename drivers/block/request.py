"""What a client of the block driver has on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drivers.block.interface import Status
from servers.runtime.stream import Packet

Done = Callable[[Status], None]
"""What is called when a request is complete, with how it went."""


class Request:
    """What was submitted, until all its pieces are answered."""

    __slots__ = ("buffers", "done", "pieces", "status")

    def __init__(self, buffers: Sequence[memoryview], pieces: int, done: Done) -> None:
        self.buffers = buffers
        self.pieces = pieces  # not answered yet
        self.done = done
        self.status = Status.OK


class Piece:
    """One packet's worth of a request."""

    __slots__ = ("begin", "packet", "request")

    def __init__(self, request: Request, packet: Packet, begin: int) -> None:
        self.request = request
        self.packet = packet  # its offset is set once it has a place in the data area
        self.begin = begin  # of its data among the request's, in bytes

    def windows(self) -> list[memoryview]:
        """The parts of the request's buffers that this piece is about."""
        found, at = [], 0
        first, last = self.begin, self.begin + self.packet.length
        for buffer in self.request.buffers:
            start, end = max(first - at, 0), min(last - at, len(buffer))
            if start < end:
                found.append(buffer[start:end])
            at += len(buffer)
        return found
