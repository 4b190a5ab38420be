"""The service's end of one client's link.

Nothing a client wrote is believed: frames are copied before they are looked at, and a client whose
packets make no sense is detached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from drivers.net.frames import RECORD, records
from drivers.net.interface import RECEIVE, SEND
from servers.runtime import Failed
from servers.runtime.stream import Packet, StreamOffer, StreamServer

Forward = Callable[[bytes, memoryview], None]
"""What takes a frame that a client sent: its offload, and the frame."""
MOST_ROOMS: Final = 64
"""Of a client, that are kept."""


class Station:
    """A client."""

    def __init__(self, offer: StreamOffer, forward: Forward) -> None:
        self._stream = StreamServer(offer)
        self._to_client = offer.to_client
        self._forward = forward
        self._rooms: deque[Packet] = deque()
        self._used = 0  # bytes of the first room
        self._answers: list[Packet] = []
        self.lost = 0
        """Frames for this client that found no room."""

    def work(self) -> bool:
        """Take what the client sends, and the rooms that it gives; whether there may be more."""
        requests = self._stream.take_all()
        for request in requests:
            part = self._stream.part(request)
            if request.operation == SEND:
                for offload, frame in records(bytes(part)):
                    self._forward(offload, frame)
                self._answers.append(request)
            elif request.operation == RECEIVE and len(self._rooms) < MOST_ROOMS:
                self._rooms.append(request)
            else:
                raise Failed("a client of a link asks for what there is not")
        self.flush()
        return len(requests) == self._stream.slots

    def deliver(self, offload: bytes, frame: bytes | memoryview) -> None:
        """Put a frame into the client's rooms; it is told by ``flush``."""
        length = len(frame)
        needed = RECORD.size + length
        if self._rooms and self._used and self._used + needed > self._rooms[0].length:
            self._end_room()
        if not self._rooms or needed > self._rooms[0].length:
            self.lost += 1
            return
        part = self._stream.part(self._rooms[0])
        at = self._used + RECORD.size
        RECORD.pack_into(part, self._used, length, offload)
        part[at : at + length] = frame
        self._used += needed

    def _end_room(self) -> None:
        self._answers.append(self._rooms.popleft()._replace(length=self._used))
        self._used = 0

    def flush(self) -> None:
        """Answer, with one signal; raises ``Failed`` if the client makes no room for answers."""
        if self._used:
            self._end_room()
        if not self._answers:
            return
        for answer in self._answers:
            if not self._stream.post(answer):
                raise Failed("a client of a link does not take its answers")
        self._answers.clear()
        if self._stream.needs_wake():
            self._to_client.signal()

    def close(self) -> None:
        """Detach."""
        self._stream.close()
