"""A client of a link that survives the restart of what it is plugged into.

    link = LinkClient(env, "net0", word, bits=1)
    if link.room():
        link.send([frame])
        link.flush()
    if word.wait() & 1:
        link.poll()
        while (found := link.peek()) is not None:
            offload, frame = found
            ...
            link.skip()

**Threads.**  ``poll`` is called by one thread, everything else by one thread, which may be another.
No lock is held during a system call.  Unless the client is ``prompt``, the thread that made it is
the one that sends and receives.

Nothing that came is believed but that it is bytes: a frame stays in memory that the other side may
write until ``skip``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from drivers.net.frames import BATCH, HEADER, MOST_FRAME, PLAIN, RECORD, plain
from drivers.net.interface import RECEIVE, SEND, Link
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

BATCHES: Final = 6
"""To send, on their way at once."""
ROOMS: Final = 10
"""For frames that arrive."""
SLOTS: Final = BATCHES + ROOMS
"""Batches and rooms together; a packet's tag is its part of the data area."""


def _nothing() -> None:
    """Is told of changes, and takes no interest."""


class LinkClient:
    """One link."""

    def __init__(
        self,
        env: Environment,
        name: str,
        signal: Notification | None = None,
        bits: int = 1,
        port: int = 0,
        prompt: bool = False,
    ) -> None:
        """Plug into a port of the service ``name``; returns once it has answered.

        ``bits`` of ``signal`` are signalled when there is something to ``poll`` for.  ``prompt``
        has a thread of the client's own wake the service, so that nothing but ``poll`` makes a
        system call.  Raises what the service answers.
        """
        self._word = signal or env.notification()
        self._to_us = self._word.mint(Right.SEND | Right.GRANT, bits)
        self._port = port
        self._lock = threading.Lock()  # for all below; never held during a system call
        self._stream: StreamClient | None = None  # while it is attached
        self._data = memoryview(b"")
        self._free = list(range(BATCHES))
        self._sending: set[int] = set()
        self._open = -1  # the batch that is being filled
        self._used = 0
        self._waiting = set(range(BATCHES, BATCHES + ROOMS))  # rooms that the service has
        self._arrived: deque[tuple[int, int]] = deque()  # room, bytes
        self._cursor = self._size = 0  # in the first of them
        self._pieces: deque[bytes] = deque()
        self.changed: Callable[[], None] = _nothing
        """Called by ``poll``: there are frames to be taken, or there is room again."""
        self._waker = Waker(env, name, prompt)
        self._ready = env.event()
        self._refused: Exception | None = None
        env.thread(lambda own: self._keep_attached(own, name), f"{name}-stream")
        self._ready.wait(None)
        if self._refused is not None:
            raise self._refused

    # Sending

    def room(self) -> bool:
        """Whether a frame can be sent now."""
        needed = RECORD.size + MOST_FRAME
        return bool(self._free) or (self._open >= 0 and self._used + needed <= BATCH)

    def send(self, parts: Iterable[bytes | memoryview], offload: bytes = PLAIN) -> None:
        """Send a frame, in parts, by the next ``flush``; it is lost if there is no ``room``."""
        frame = b"".join(parts)
        length = len(frame)
        if not HEADER <= length <= MOST_FRAME:
            return
        if self._open >= 0 and self._used + RECORD.size + length > BATCH:
            self._post_open()
        if self._open < 0:
            if not self._free:
                return
            self._open, self._used = self._free.pop(), 0
        at = self._open * BATCH + self._used
        RECORD.pack_into(self._data, at, length, offload)
        at += RECORD.size
        self._data[at : at + length] = frame
        self._used += RECORD.size + length

    def flush(self) -> None:
        """Have what was sent go."""
        if self._open >= 0:
            self._post_open()
            self._wake()

    def _post_open(self) -> None:
        number, self._open = self._open, -1
        with self._lock:
            if self._stream is None:
                self._free.append(number)
                return
            self._sending.add(number)
            self._stream.post(Packet(number, SEND, self._used, number * BATCH, 0))

    # Receiving

    def peek(self, simple: bool = False) -> tuple[bytes, bytes | memoryview] | None:
        """The next frame and its offload, of which a ``simple`` receiver wants none."""
        while True:
            if self._pieces:
                return PLAIN, self._pieces[0]
            found = self._next()
            if found is None or not simple or found[0] == PLAIN:
                return found
            self._pieces.extend(plain(found[0], bytes(found[1])))
            self._advance()

    def skip(self) -> None:
        """The frame that ``peek`` returned was taken."""
        if self._pieces:
            self._pieces.popleft()
        else:
            self._advance()

    def _advance(self) -> None:
        self._cursor += RECORD.size + self._size

    def _next(self) -> tuple[bytes, memoryview] | None:
        while self._arrived:
            room, length = self._arrived[0]
            left = length - self._cursor - RECORD.size
            if left >= HEADER:
                at = room * BATCH + self._cursor
                self._size, offload = RECORD.unpack_from(self._data, at)
                if HEADER <= self._size <= min(left, MOST_FRAME):
                    at += RECORD.size
                    return offload, self._data[at : at + self._size]
            self._arrived.popleft()
            self._cursor = 0
            self._give_room(room)
        return None

    def _give_room(self, room: int) -> None:
        with self._lock:
            self._waiting.add(room)
            if self._stream is None:
                return
            self._post_room(self._stream, room)
        self._wake()

    @staticmethod
    def _post_room(stream: StreamClient, room: int) -> None:
        stream.post(Packet(room, RECEIVE, BATCH, room * BATCH, 0))

    # Answers

    def poll(self) -> None:
        """Take what was answered."""
        with self._lock:
            stream, more = self._stream, True
            while stream is not None and more:
                try:
                    answers = stream.take_all()
                except Failed:
                    self._stream = None  # until the service is replaced
                    break
                for answer in answers:
                    self._take(answer)
                more = len(answers) == SLOTS
        self.changed()

    def _take(self, answer: Packet) -> None:
        number = answer.tag
        if number in self._sending:
            self._sending.discard(number)
            self._free.append(number)
        elif number in self._waiting:
            self._waiting.discard(number)
            self._arrived.append((number, min(answer.length, BATCH)))

    def _wake(self) -> None:
        stream = self._stream
        if stream is not None and stream.needs_wake():
            self._waker.wake()

    # The thread that keeps the stream attached

    def _keep_attached(self, env: Environment, name: str) -> None:
        link, port = env.open(Link, name), self._port
        try:
            stream = StreamClient(env, SLOTS, SLOTS * BATCH, self._to_us.bind(env.system))
            self._data = stream.data

            def attach() -> Notification:
                return link.attach(port, stream.offer)

            def attend() -> None:
                link.attend(port)

            def begin() -> bool:
                return self._begin(stream)

            keep_attached(env, stream, attach, attend, self._waker, begin, self._detached)
        except (KernelError, ServiceError) as error:
            self._refused = error
            self._ready.set()
            return
        self._detached()

    def _begin(self, stream: StreamClient) -> bool:
        with self._lock:
            self._free += self._sending  # which are lost
            self._sending.clear()
            for room in sorted(self._waiting):
                self._post_room(stream, room)
            self._stream = stream
        self._ready.set()
        return True

    def _detached(self) -> None:
        with self._lock:
            self._stream = None
