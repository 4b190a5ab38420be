"""The VNC driver.

The device is a socket that listens on loopback.  A thread of its own does all that has to do with
the network; the other answers the calls of whoever has the picture, and hands on what happened.
"""

from __future__ import annotations

import importlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from drivers.vnc.interface import MOST, PIXEL, Event, Pointer, Viewer, Viewers
from drivers.vnc.rfb import CHALLENGE, ProtocolError, Session
from servers.runtime import (
    BadRequest,
    Deferred,
    Environment,
    Frame,
    Mapping,
)
from servers.runtime.sockets import listener, no_waiting

CLIENTS: Final = 8
"""Connections at most; more are hung up."""
PATIENCE: Final = 10.0
"""Seconds in which a client has to come as far as asking for pictures."""
FRESH: Final = 0.5
"""Seconds that a newcomer waits for a picture that is up to date."""
QUEUE: Final = 1024
"""Events that wait to be read; a pointer's moves beyond are forgotten."""
HAPPENED: Final = 1
"""Bit of the notification: there are events."""
PIECE: Final = 65536


class VncConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The driver's configuration in the system description."""

    password: str = ""
    """What clients have to know, 8 characters at most; empty for nothing."""
    name: str = "Cloister"
    """What clients show as their window's title."""


class Support:
    """Loads the cipher for passwords, which few need, when it is needed.

    The thread that does it begins before the right to open files is given up, and keeps it.
    """

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._load, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _load(self) -> None:
        self._wanted.wait()
        importlib.import_module("drivers.vnc.secret")

    def cipher(self) -> Callable[[bytes, bytes], bytes]:
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join()
        from drivers.vnc.secret import answer

        return answer


support = Support()


def prepare() -> None:
    """Have what must be read from files ready to be read."""
    support.start()


class Shown:
    """The picture."""

    def __init__(self) -> None:
        self.width, self.height = 640, 400
        self.pixels = memoryview(bytes(self.width * self.height * PIXEL))


class Connection:
    """A client and its socket."""

    def __init__(self, sock: socket.socket, session: Session) -> None:
        self.sock, self.session = sock, session
        self.since = time.monotonic()
        self.watched = select.POLLIN
        self.fresh = False  # whether the picture was brought up to date since

    def receive(self) -> bool:
        """Take what came; whether the client is still there."""
        try:
            data = os.read(self.sock.fileno(), PIECE)
            self.session.feed(data)
        except BlockingIOError:
            return True
        except (OSError, ProtocolError):
            return False
        return bool(data)

    def send(self) -> bool:
        """Send as much as there is room for; whether the client is still there."""
        output = self.session.output
        try:
            while output:
                with memoryview(output) as view:
                    count = os.write(self.sock.fileno(), view[:PIECE])
                del output[:count]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class Network:
    """All connections, on a thread of their own."""

    def __init__(self, listener: socket.socket, config: VncConfig, happened: Callable[[], None]):
        """``happened`` is called on that thread when there are new events."""
        self._listener = listener
        self._config = config
        self._happened = happened
        self._cipher = support.cipher() if config.password else None
        self._shown = Shown()
        self._events: deque[Event] = deque()
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connections: dict[int, Connection] = {}
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(listener, select.POLLIN)

    # From any thread

    def post(self, action: Callable[[], None]) -> None:
        """Have something done on the thread."""
        self._posted.append(action)
        os.eventfd_write(self._wake, 1)

    def take(self) -> list[Event]:
        """What happened."""
        found: list[Event] = []
        while self._events and len(found) < MOST:
            found.append(self._events.popleft())
        return found

    # On the thread

    def show(self, pixels: memoryview, width: int, height: int) -> None:
        self._shown.pixels, self._shown.width, self._shown.height = pixels, width, height
        self.changed([(0, height)])

    def changed(self, ranges: list[tuple[int, int]]) -> None:
        for connection in self._connections.values():
            connection.fresh = True
            for top, count in ranges:
                connection.session.changed(top, count)

    def run(self) -> None:
        while True:
            connections = self._connections.values()
            waiting = not all(one.session.ready and one.fresh for one in connections)
            for fd, _ in self._poll.poll(100 if waiting else None):
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                elif fd == self._listener.fileno():
                    self._accept()
                elif fd in self._connections and not self._connections[fd].receive():
                    self._end(fd)
            while self._posted:
                self._posted.popleft()()
            for fd, connection in list(self._connections.items()):
                self._serve(fd, connection)

    def _serve(self, fd: int, connection: Connection) -> None:
        session, now = connection.session, time.monotonic()
        connection.fresh = connection.fresh or now > connection.since + FRESH
        if connection.fresh:
            session.update()
        late = not session.ready and now > connection.since + PATIENCE
        if late or not connection.send():
            self._end(fd)
            return
        watched = select.POLLIN | (select.POLLOUT if session.output else 0)
        if watched != connection.watched:
            connection.watched = watched
            self._poll.modify(fd, watched)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it is gone already, or there are no descriptors left
            return
        if len(self._connections) >= CLIENTS:
            sock.close()
            return
        no_waiting(sock)
        session = Session(
            self._shown,
            self._config.name,
            self._happen,
            self._config.password.encode(),
            self._cipher,
            os.urandom(CHALLENGE),
        )
        self._connections[sock.fileno()] = Connection(sock, session)
        self._poll.register(sock, select.POLLIN)
        self._count()

    def _end(self, fd: int) -> None:
        connection = self._connections.pop(fd)
        self._poll.unregister(fd)
        connection.session.end()
        connection.sock.close()
        self._count()

    def _count(self) -> None:
        self._happen([Viewers(len(self._connections))])

    def _happen(self, events: list[Event]) -> None:
        for event in events:
            if len(self._events) < QUEUE or not isinstance(event, Pointer):
                self._events.append(event)
        if len(self._events) > 2 * QUEUE:
            self._events.popleft()
        self._happened()


class VncDriver(Viewer):
    """The service."""

    def __init__(self, env: Environment, listener: socket.socket | None, config: VncConfig) -> None:
        """Without ``listener`` nobody will ever look."""
        self._env = env
        self._signal = env.listen()
        self._reader: Deferred | None = None
        self._first = True
        self._shown: tuple[Frame, Mapping] | None = None
        self._network: Network | None = None
        if listener is not None:
            ready = env.event()
            env.thread(lambda own: self._run(own, listener, config, ready.set), "network")
            ready.wait(None)

    def _run(
        self,
        env: Environment,
        listener: socket.socket,
        config: VncConfig,
        ready: Callable[[], None],
    ) -> None:
        """The network's thread."""
        signal = self._signal.bind(env.system)
        self._network = Network(listener, config, lambda: signal.signal(HAPPENED))
        ready()
        self._network.run()

    def show(self, picture: Frame, width: int, height: int) -> None:
        mapping = picture.map(writable=False)
        if not (0 < width < 1 << 15 and 0 < height < 1 << 15):
            size = mapping.size + 1
        else:
            size = width * height * PIXEL
        if size > mapping.size:
            mapping.close()
            picture.drop()
            raise BadRequest(f"there is no picture of {width} by {height} in {mapping.size} bytes")
        before, self._shown = self._shown, (picture, mapping)
        pixels, network = mapping.view[:size], self._network
        if network is not None:
            network.post(lambda: network.show(pixels, width, height))
        if before is not None:
            before[1].close()
            before[0].drop()

    def changed(self, ranges: list[tuple[int, int]]) -> None:
        network = self._network
        if network is not None:
            network.post(lambda: network.changed(ranges))

    def read(self) -> list[Event]:
        self._give([])
        if self._first:
            self._first = False
            return [Viewers(0)]
        found = self._network.take() if self._network is not None else []
        if found:
            return found
        self._reader = self._env.defer()
        return self._reader  # type: ignore[return-value]

    def notify(self, _bits: int) -> None:
        """Something happened."""
        if self._reader is not None and self._network is not None:
            found = self._network.take()
            if found:
                self._give(found)

    def _give(self, found: list[Event]) -> None:
        """Answer whoever waits."""
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.answer(found)


def main(env: Environment) -> None:
    """Serve the viewers that connect to the device ``socket``."""
    driver = VncDriver(env, listener(env), env.config(VncConfig))
    env.serve(driver, on="viewer", notify=driver.notify)
