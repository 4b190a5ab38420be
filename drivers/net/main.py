"""The driver of a link to the outside: a socket, and frames through it in QEMU's way.

The device ``socket`` listens on loopback.  One peer at a time may connect: a QEMU with
``-netdev socket,connect=127.0.0.1:PORT``, another Cloister, or anything that sends each frame after
its length, four bytes, the most significant first.  A thread of its own does all that has to do
with the socket.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from typing import Final

from drivers.net.frames import HEADER, MOST_FRAME, PLAIN, plain
from drivers.net.interface import Link
from drivers.net.service import Station
from servers.runtime import Environment, Notification
from servers.runtime.attachments import Attachments
from servers.runtime.sockets import listener, no_waiting
from servers.runtime.stream import StreamOffer

LENGTH: Final = struct.Struct(">I")
BACKLOG: Final = 1 << 20
"""Bytes that wait for the peer to take them; frames beyond are lost."""
QUEUE: Final = 1024
"""Frames that wait for the system."""
PIECE: Final = 256 << 10
ARRIVED: Final = 1 << 62
"""Bit of the notification: the peer sent frames."""


class Framing:
    """The frames in a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now; raises ``ValueError`` for one too long."""
        buffer, found, at = self._buffer, [], 0
        buffer += data
        while len(buffer) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer, at)
            if length > MOST_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            if len(buffer) - at - LENGTH.size < length:
                break
            at += LENGTH.size
            if length >= HEADER:
                found.append(bytes(buffer[at : at + length]))
            at += length
        del buffer[:at]
        return found


class Cable:
    """The socket and who is at its other end, on a thread of its own."""

    def __init__(self, listener: socket.socket, arrived: Notification) -> None:
        self._listener = listener
        self._arrived = arrived
        self._peer: socket.socket | None = None
        self._framing = Framing()
        self._output = bytearray()
        self._outgoing: deque[bytes] = deque(maxlen=QUEUE)
        self.incoming: deque[bytes] = deque(maxlen=QUEUE)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    # From any thread

    def send(self, frames: list[bytes]) -> None:
        """Have frames sent, if there is a peer."""
        if self._peer is not None:
            self._outgoing.extend(frames)

    def flush(self) -> None:
        if self._outgoing:
            os.eventfd_write(self._wake, 1)

    # On the thread

    def run(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            poll.register(self._listener, select.POLLIN)
            if self._peer is not None:
                wanted = select.POLLIN | (select.POLLOUT if self._output else 0)
                poll.register(self._peer, wanted)
            for fd, _ in poll.poll():
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                elif fd == self._listener.fileno():
                    self._accept()
                else:
                    self._receive()
            self._transmit()

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:  # it is gone already
            return
        if self._peer is not None:
            peer.close()
            return
        no_waiting(peer)
        self._framing = Framing()
        self._output.clear()
        self._outgoing.clear()
        self._peer = peer

    def _receive(self) -> None:
        if self._peer is None:
            return
        try:
            data = os.read(self._peer.fileno(), PIECE)
            found = self._framing.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            data, found = b"", []
        self.incoming.extend(found)
        if found:
            self._arrived.signal()
        if not data:
            self._end()

    def _transmit(self) -> None:
        while self._outgoing and len(self._output) < BACKLOG:
            frame = self._outgoing.popleft()
            self._output += LENGTH.pack(len(frame)) + frame
        try:
            while self._output and self._peer is not None:
                with memoryview(self._output) as view:
                    count = os.write(self._peer.fileno(), view[:PIECE])
                del self._output[:count]
        except BlockingIOError:
            pass
        except OSError:
            self._end()

    def _end(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.close()


class Uplink(Link):
    """The service, which has one client that counts: the last that attached."""

    def __init__(self, env: Environment, listening: socket.socket | None) -> None:
        """Without ``listening`` nobody is ever at the other end."""
        self._env = env
        self._clients: Attachments[Station] = Attachments(env, "link")
        self._cable: Cable | None = None
        if listening is not None:
            ready = env.event()
            arrived = self._clients.wake(ARRIVED)  # here: a channel to the kernel has one thread

            def run(own: Environment) -> None:
                self._cable = cable = Cable(listening, arrived.bind(own.system))
                ready.set()
                cable.run()

            env.thread(run, "socket")
            ready.wait(None)

    def attach(self, port: int, offer: StreamOffer) -> Notification:
        del port  # there is one
        return self._clients.attach(self._env.badge, offer, lambda o: Station(o, self._send))

    def attend(self, port: int) -> None:
        del port
        return self._clients.attend(self._env.badge)

    def _send(self, offload: bytes, frame: memoryview) -> None:
        if self._cable is not None:
            data = bytes(frame)
            self._cable.send([data] if offload == PLAIN else plain(offload, data))

    def notify(self, bits: int) -> None:
        """A client sent frames, or the peer did."""
        self._clients.notify(bits & ~ARRIVED)
        cable = self._cable
        if cable is None:
            return
        cable.flush()
        if bits & ARRIVED:
            while cable.incoming:
                frame = cable.incoming.popleft()
                for station in self._clients.attached.values():
                    station.deliver(PLAIN, frame)
            for number in list(self._clients.attached):
                self._clients.serve(number)


def main(env: Environment) -> None:
    """Serve whoever is plugged in with the frames of the device ``socket``."""
    uplink = Uplink(env, listener(env))
    env.serve(uplink, on="link", notify=uplink.notify)
