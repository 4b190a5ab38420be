"""What offers ``Block`` to clients, whatever the disk is.

One thread does everything: it answers calls, and when a client signals it carries out what is in
that client's ring, at most one ring full at a time, so that no client keeps the others waiting for
longer than that.  Nothing a client wrote is believed: a request that is not within the disk or the
data area is answered with ``BAD_REQUEST``, and a client whose ring makes no sense is detached.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from drivers.block.interface import FLUSH, READ, SECTOR, WRITE, Block, DiskInfo, Status
from servers.runtime import Environment, Failed, Notification
from servers.runtime.attachments import Attachments
from servers.runtime.stream import Packet, StreamOffer, StreamServer

GROUP: Final = 16
"""Requests after which answers are made visible, while more are being carried out."""


class Medium(Protocol):
    """What is behind the service."""

    size: int
    """Bytes."""
    writable: bool

    def transfer(self, packet: Packet, part: memoryview) -> Status:
        """Begin a READ or WRITE that is within the disk, and allowed; its data is ``part``."""

    def settle(self) -> Status:
        """Have what was begun since the last time done, before it is answered."""

    def sync(self) -> Status:
        """Bring all that was written to stable storage."""


class Attachment:
    """One client's stream."""

    def __init__(self, disk: Medium, offer: StreamOffer) -> None:
        self._disk = disk
        self._stream = StreamServer(offer)
        self._to_client = offer.to_client
        self._done: list[tuple[Packet, Status]] = []  # carried out since the disk was settled
        self._unsent: deque[Packet] = deque()  # answers for which the client has made no room yet

    def work(self) -> bool:
        """Carry out a ring full of requests; whether there may be more.

        Raises ``Failed`` if the ring makes no sense, ``KernelError`` if the client is gone.
        """
        self._send()
        if self._unsent:
            return False  # the client breaks its own rule: it waits until it has taken answers
        requests = self._stream.take_all()
        flushes: list[Packet] = []
        for number, request in enumerate(requests, 1):
            if request.operation == FLUSH:
                flushes.append(request)
            else:
                self._done.append((request, self._transfer(request)))
            if number % GROUP == 0:
                self._settle()
                self._send()
        self._settle()
        if flushes:
            status = self._disk.sync()
            for request in flushes:
                self._answer(request, status)
        self._send()
        return len(requests) == self._stream.slots

    def _settle(self) -> None:
        """Answer what was carried out, once it is."""
        settled = self._disk.settle()
        for request, status in self._done:
            self._answer(request, status if settled is Status.OK else settled)
        self._done.clear()

    def _transfer(self, request: Packet) -> Status:
        if request.operation not in (READ, WRITE):
            return Status.BAD_REQUEST
        try:
            part = self._stream.part(request)
        except Failed:
            return Status.BAD_REQUEST
        if request.argument % SECTOR or request.length % SECTOR:
            return Status.BAD_REQUEST
        if request.argument + request.length > self._disk.size:
            return Status.BAD_REQUEST
        if request.operation == WRITE and not self._disk.writable:
            return Status.READ_ONLY
        return self._disk.transfer(request, part)

    def _answer(self, request: Packet, status: Status) -> None:
        self._unsent.append(request._replace(operation=int(status)))

    def _send(self) -> None:
        """Put the answers, as far as there is room, with one signal."""
        if self._unsent:
            while self._unsent and self._stream.post(self._unsent[0]):
                self._unsent.popleft()
            if self._stream.needs_wake():
                self._to_client.signal()

    def close(self) -> None:
        """Detach."""
        self._stream.close()


class BlockService(Block):
    """The service."""

    def __init__(self, env: Environment, disk: Medium) -> None:
        self._env = env
        self._disk = disk
        self._clients: Attachments[Attachment] = Attachments(env, "disk")
        self.notify = self._clients.notify

    def info(self) -> DiskInfo:
        return DiskInfo(self._disk.size, self._disk.writable)

    def attach(self, offer: StreamOffer) -> Notification:
        def make(offer: StreamOffer) -> Attachment:
            return Attachment(self._disk, offer)

        return self._clients.attach(self._env.badge, offer, make)

    def attend(self) -> None:
        return self._clients.attend(self._env.badge)
