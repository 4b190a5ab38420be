"""A client of the block driver that survives the driver's restart.

Programs that do one thing at a time::

    disk = BlockClient(env, "disk")
    sector = disk.read(0, 512)

Programs that must not wait submit requests and complete them when their notification is signalled::

    disk = BlockClient(env, "disk", word, bits=1)
    disk.submit(READ, offset, [buffer], done)        # any thread
    if word.wait() & 1:                              # one thread
        disk.poll()                                  # calls done(status)

**Threads.**  ``submit`` may be called by any thread, ``poll`` by any one thread at a time; ``done``
runs in the thread that polls and may submit.  A thread other than the one that made the client
passes its own ``env.system``, because a channel to the kernel belongs to one thread.  ``read``,
``write`` and ``flush`` wait for the notification, so they are for the thread that polls, and for
clients that share their notification with nobody.  No lock is held during a system call.

**Restart.**  A thread of the client's own attaches the stream, then waits in ``attend``, a call
that ends when the driver does.  It empties the rings, attaches to the next driver, which init has
started, and puts again all that was not answered, in its order.  Requests meanwhile wait.  Callers
notice a delay and nothing else.  The alternative, a timeout on each request, cannot tell a dead
driver from a slow disk.  Only if the right to use the disk is taken away, or the driver breaks the
rings, do all requests fail, now and later.

**Back-pressure.**  Requests for which there is no room in the data area or the rings wait in a
queue of this process; large ones are cut in pieces of at most ``PIECE`` bytes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from drivers.block.area import Area
from drivers.block.interface import FLUSH, READ, WRITE, Block, Status
from drivers.block.request import Done, Piece, Request
from servers.runtime import (
    Environment,
    Failed,
    KernelError,
    Notification,
    Right,
    ServiceError,
)
from servers.runtime.attachments import Waker, keep_attached
from servers.runtime.stream import Packet, StreamClient

if TYPE_CHECKING:
    from servers.runtime.syscalls import Syscalls

PIECE: Final = 256 * 1024
"""Bytes of one packet at most."""
_STATUS: Final = {int(status): status for status in Status}


class BlockClient:
    """A disk."""

    def __init__(
        self,
        env: Environment,
        name: str,
        signal: Notification | None = None,
        bits: int = 1,
        slots: int = 128,
        data_size: int = 4 << 20,
        prompt: bool = False,
    ) -> None:
        """A client of the service ``name``; returns once the driver has answered.

        ``prompt`` has a thread of the client's own wake the driver, so that ``submit`` makes no
        system call.  ``bits`` of ``signal`` are signalled when there is something to ``poll``
        for; ``signal`` must have no badge.  There are at most ``slots`` packets, a power of two,
        and ``data_size`` bytes, at least ``PIECE``, on their way at once.  Raises what the driver
        answers.
        """
        if data_size < PIECE:
            raise ValueError(f"the data area has at least {PIECE} bytes")
        info = env.open(Block, name, retries=8).info()
        self.size = info.size  # bytes
        self.writable = info.writable
        self._system = env.system
        self._word = signal or env.notification()
        self._to_us = self._word.mint(Right.SEND | Right.GRANT, bits)
        self._slots = slots
        self._lock = threading.Lock()  # for all below; never held during a system call
        self._area = Area(data_size)
        self._stream: StreamClient | None = None  # while it is attached
        self._waiting: deque[Piece] = deque()
        self._sent: dict[int, Piece] = {}  # by tag, in the order in which they were put
        self._tag = 0
        self._lost = False  # the disk, for good
        self._waker = Waker(env, name, prompt)
        self._ready = env.event()
        self._refused: Exception | None = None
        env.thread(lambda own: self._keep_attached(own, name, data_size), f"{name}-stream")
        self._ready.wait(None)
        if self._refused is not None:
            raise self._refused

    # One thing at a time

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``, both whole sectors; raises ``Failed``."""
        data = bytearray(length)
        self._carry_out(READ, offset, [memoryview(data)])
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Write whole sectors; they survive the end of the driver.  Raises ``Failed``."""
        self._carry_out(WRITE, offset, [memoryview(data)])

    def flush(self) -> None:
        """Return once all that was written is on stable storage; raises ``Failed``."""
        self._carry_out(FLUSH, 0, [])

    def _carry_out(self, operation: int, offset: int, buffers: list[memoryview]) -> None:
        answers: list[Status] = []
        self.submit(operation, offset, buffers, answers.append)
        while not answers:
            self._word.wait()
            self.poll()
        if answers[0] is not Status.OK:
            name = {READ: "read", WRITE: "write", FLUSH: "flush"}[operation]
            reason = answers[0].name.lower().replace("_", " ")
            raise Failed(f"{name} at byte {offset} of the disk: {reason}")

    # Many things at once

    @property
    def busy(self) -> bool:
        """Whether something was submitted and is not completed."""
        return bool(self._sent or self._waiting)

    def submit(
        self,
        operation: int,
        offset: int,
        buffers: Sequence[memoryview],
        done: Done,
        system: Syscalls | None = None,
    ) -> None:
        """Begin READ into, or WRITE from ``buffers``, or FLUSH; never waits.

        ``buffers``, together whole sectors, belong to the request until ``done`` is called, which
        happens exactly once, in ``poll``.
        """
        length = sum(len(buffer) for buffer in buffers)
        count = max(1, -(-length // PIECE))
        request = Request(buffers, count, done)
        with self._lock:
            for number in range(count):
                begin = number * PIECE
                self._tag += 1
                size = min(PIECE, length - begin)
                packet = Packet(self._tag, operation, size, 0, offset + begin)
                self._waiting.append(Piece(request, packet, begin))
            lost = self._lost
            more = not lost and self._put_waiting()
        self._tell(lost, more, system)

    def poll(self, system: Syscalls | None = None) -> None:
        """Complete what was answered, and put what now has room."""
        finished: list[Request] = []
        with self._lock:
            stream, more = self._stream, True
            while stream is not None and more:
                try:
                    answers = stream.take_all()
                except Failed:
                    self._stream, self._lost = None, True
                    break
                for answer in answers:
                    self._take(stream, answer, finished)
                more = len(answers) == self._slots
            if self._lost:
                finished += self._give_up()
            more = self._put_waiting()
        self._tell(False, more, system)
        for request in finished:
            request.done(request.status)

    def _take(self, stream: StreamClient, answer: Packet, finished: list[Request]) -> None:
        """Account for one answer."""
        piece = self._sent.pop(answer.tag, None)
        if piece is None:
            return  # the driver made it up
        packet, request = piece.packet, piece.request
        status = _STATUS.get(answer.operation, Status.FAILED)
        if packet.operation == READ and status is Status.OK:
            at = packet.offset
            for window in piece.windows():
                window[:] = stream.data[at : at + len(window)]
                at += len(window)
        if packet.length:
            self._area.give(packet.offset, packet.length)
        if status is not Status.OK:
            request.status = status
        request.pieces -= 1
        if not request.pieces:
            finished.append(request)

    def _give_up(self) -> list[Request]:
        """Everything on its way, failed."""
        pieces = [*self._sent.values(), *self._waiting]
        self._sent.clear()
        self._waiting.clear()
        requests = list(dict.fromkeys(piece.request for piece in pieces))
        for request in requests:
            request.status = Status.FAILED
        return requests

    def _put_waiting(self) -> bool:
        """Put what there is room for; whether the driver sleeps, and is to be woken for it."""
        stream, posted = self._stream, False
        while stream is not None and self._waiting and len(self._sent) < self._slots:
            piece = self._waiting[0]
            packet = piece.packet
            if packet.length:
                place = self._area.take(packet.length)
                if place is None:
                    break
                packet = piece.packet = packet._replace(offset=place)
            if packet.operation == WRITE:
                at = packet.offset
                for window in piece.windows():
                    stream.data[at : at + len(window)] = window
                    at += len(window)
            self._waiting.popleft()
            self._sent[packet.tag] = piece
            stream.post(packet)
            posted = True
        return stream is not None and posted and stream.needs_wake()

    def _tell(self, lost: bool, more: bool, system: Syscalls | None) -> None:
        """Wake whoever has something to do: we ourselves if all is lost, or the driver."""
        if lost:
            with suppress(KernelError):
                self._to_us.bind(system or self._system).signal()
        elif more:
            self._waker.wake(system)

    # The thread that keeps the stream attached

    def _keep_attached(self, env: Environment, name: str, data_size: int) -> None:
        block = env.open(Block, name)
        try:
            stream = StreamClient(env, self._slots, data_size, self._to_us.bind(env.system))

            def attach() -> Notification:
                return block.attach(stream.offer)

            def begin() -> bool:
                return self._begin(stream)

            keep_attached(env, stream, attach, block.attend, self._waker, begin, self._detached)
        except (KernelError, ServiceError) as error:
            self._refused = error
            self._ready.set()
            return
        self._detached()
        self._lost = True
        self._tell(True, False, env.system)

    def _begin(self, stream: StreamClient) -> bool:
        """The stream is attached: put again what was not answered."""
        with self._lock:
            for piece in self._sent.values():
                stream.post(piece.packet)
            if not self._lost:
                self._stream = stream
                self._put_waiting()
        self._ready.set()
        return not self._lost

    def _detached(self) -> None:
        with self._lock:
            self._stream = None
