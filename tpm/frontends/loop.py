"""One thread that serves all sockets.

A TPM does one thing at a time, so more threads would only wait for each other.  The loop is made
for the time between a command's arrival and its answer: a readable socket is read, its protocol
answers, and the answer is written, all in one turn; nothing is planned, queued or copied unless the
other side is slow.

A client that gets an answer often sends its next command at once.  If its core is another one, to
be woken for that takes three times as long as all the rest, so the loop looks again some twenty
microseconds long before it sleeps, and leaves its core to others between one look and the next.

Every channel is served fairly: one message a turn.  What a client does not fetch stays its own
affair: while there is output that its socket does not take, nothing more is read from it.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

READ_SIZE: Final = 16384
"""Bytes read at once."""
BACKLOG: Final = 128
_TCP = (socket.AF_INET, socket.AF_INET6)
PATIENCE: Final = 0.5
"""Seconds that a message may take to arrive completely."""
LOOKS: Final = 20
"""How often to look for the next message before sleeping, after one was answered."""
MOST_FDS: Final = 4
"""Descriptors that may come with one message."""
TOO_MANY_PAUSE: Final = 0.01
"""Seconds, while this process has as many descriptors as it may."""


class Hangup(Exception):
    """Raised by a protocol to end its connection, after ``answer`` was sent."""

    def __init__(self, answer: bytes = b"") -> None:
        super().__init__()
        self.answer = answer


class Channel(Protocol):
    """A protocol's side of a connection, fed with what arrives."""

    takes_descriptors: bool

    def receive(self, data: bytes) -> bytes | None:
        """Answer the first message of what arrived so far; None if it is not complete."""

    def more(self) -> bytes | None:
        """The same for the next message."""

    @property
    def buffered(self) -> bool:
        """Whether something arrived that is not answered."""

    @property
    def impatient(self) -> bool:
        """Whether that is a message whose rest must come soon."""

    def expire(self) -> bytes:
        """The rest did not come in time: the answer to that, maybe empty."""

    def take_descriptor(self, fd: int) -> None:
        """A descriptor came along; it is the protocol's now."""

    def closed(self) -> None:
        """The connection is gone."""


class Loop:
    """The sockets and what they are for."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._again: deque[Connection] = deque()  # have unread messages in their buffers
        self._waiting: dict[Connection, float] = {}  # for the rest of a message, until when
        self._listeners: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._running = False
        self._answered = False  # since the last look
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)

    # Setting up

    def listen(self, listener: socket.socket, make: Callable[[], Channel]) -> None:
        """Serve every connection to ``listener`` by a channel of its own."""
        listener.setblocking(False)
        self._listeners.append(listener)

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):  # it stays in the backlog
                    time.sleep(TOO_MANY_PAUSE)
                return
            self.serve(connection, make())

        self._selector.register(listener, selectors.EVENT_READ, accept)

    def serve(self, connection: socket.socket, channel: Channel) -> Connection:
        """Serve one connection."""
        connection.setblocking(False)
        if connection.family in _TCP:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found = Connection(self, connection, channel)
        self._connections.add(found)
        self._selector.register(connection, selectors.EVENT_READ, found.readable)
        return found

    # Running

    def run(self) -> None:
        """Serve until ``stop``."""
        self._running = True
        again, waiting = self._again, self._waiting
        while self._running:
            timeout = None
            if again:
                timeout = 0.0
            elif waiting:
                timeout = max(0.0, min(waiting.values()) - time.monotonic())
            for key, _ in self._select(timeout):
                key.data()
            for _ in range(len(again)):
                again.popleft().proceed()
            if waiting:
                self._expire()

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, after at most so many seconds."""
        select = self._selector.select
        if self._answered and timeout != 0:
            self._answered = False
            for _ in range(LOOKS):
                os.sched_yield()
                if ready := select(0):
                    return ready
        return select(timeout)

    def stop(self) -> None:
        """Have ``run`` return; may be called by a signal handler or another thread."""
        self._running = False
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # it will wake up anyway

    def close(self) -> None:
        """Close everything."""
        for connection in list(self._connections):
            connection.close()
        for listener in self._listeners:
            self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _woken(self) -> None:
        os.read(self._wake_read, 4096)

    def _expire(self) -> None:
        now = time.monotonic()
        for connection in [found for found, until in self._waiting.items() if until <= now]:
            connection.expire()

    # What connections ask

    def answered(self) -> None:
        """A message was answered, and the next may come soon."""
        self._answered = True

    def again(self, connection: Connection) -> None:
        """It has another message to look at, in the next turn."""
        self._again.append(connection)

    def wait(self, connection: Connection) -> None:
        """It waits for the rest of a message, of which some has just arrived."""
        self._waiting[connection] = time.monotonic() + PATIENCE

    def forget_wait(self, connection: Connection) -> None:
        """It waits no longer."""
        self._waiting.pop(connection, None)

    def watch(self, connection: Connection, writing: bool) -> None:
        """Wait until it can be written to, or read from."""
        event = selectors.EVENT_WRITE if writing else selectors.EVENT_READ
        action = connection.writable if writing else connection.readable
        self._selector.modify(connection.socket, event, action)

    def forget(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        if connection in self._connections:
            self._connections.remove(connection)
            self._selector.unregister(connection.socket)


class Connection:
    """One connection: its socket, its protocol, and what could not be written yet."""

    def __init__(self, loop: Loop, connection: socket.socket, channel: Channel) -> None:
        self.socket = connection
        self._loop, self._channel = loop, channel
        self._unsent = b""
        self._ending = False
        self._waits = False
        self._closed = False

    def readable(self) -> None:
        """Read, and answer the first message that is complete."""
        if self._closed:
            return
        try:
            data = self._read()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._handle(lambda: self._channel.receive(data))
        else:
            self.close()

    def proceed(self) -> None:
        """Answer the next message that arrived before."""
        if not self._closed and not self._unsent:
            self._handle(self._channel.more)

    def expire(self) -> None:
        """The rest of a message did not come."""
        self._loop.forget_wait(self)
        self._waits = False
        self._handle(self._channel.expire)

    def writable(self) -> None:
        """Go on writing."""
        unsent, self._unsent = self._unsent, b""
        self._loop.watch(self, False)
        self._send(unsent)
        if not self._unsent and not self._closed:
            self._loop.again(self)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.forget(self)
            self.socket.close()
            self._channel.closed()

    def _read(self) -> bytes:
        if not self._channel.takes_descriptors or self.socket.family != socket.AF_UNIX:
            return self.socket.recv(READ_SIZE)
        data, fds, _, _ = socket.recv_fds(self.socket, READ_SIZE, MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        for fd in fds:
            self._channel.take_descriptor(fd)
        return data

    def _handle(self, step: Callable[[], bytes | None]) -> None:
        try:
            answer = step()
        except Hangup as end:
            self._ending = True
            answer = end.answer
        if answer:
            self._send(answer)
        elif self._ending:
            self.close()
        if self._closed:
            return
        if answer is not None and self._channel.buffered and not self._unsent:
            self._loop.again(self)
        elif answer is None and self.socket.family in _TCP:
            # A client that writes a message in pieces may hold the next one back until what it
            # has sent is acknowledged, which hosts otherwise put off for 40 ms.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if self._channel.impatient:
            self._loop.wait(self)
            self._waits = True
        elif self._waits:
            self._loop.forget_wait(self)
            self._waits = False

    def _send(self, data: bytes) -> None:
        try:
            count = self.socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            count = 0
        except OSError:
            self.close()
            return
        if count < len(data):
            self._unsent = data[count:]
            self._loop.watch(self, True)
        elif self._ending:
            self.close()
        else:
            self._loop.answered()
