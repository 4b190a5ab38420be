"""Servers in this process, and clients that talk to them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.tpm.fake import FakeTpm
from tpm.frontends import sockets
from tpm.frontends.port import Port
from tpm.frontends.server import Options, Server
from tpm.interface import Tpm


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError(f"closed after {data.hex()}")
        data += piece
    return data


class Serving:
    """A TPM behind all four channels."""

    def __init__(self, tpm: Tpm | None = None, options: Options | None = None, **port: bool):
        self.fake = FakeTpm()
        self.log: list[str] = []
        self.port = Port(tpm or self.fake, log=self.log.append, **port)
        self.server = Server(self.port, options)
        listeners = [sockets.listen(sockets.Address()) for _ in range(3)]
        self.data_port, self.control_port, self.platform_port = (
            sockets.bound(listener).port for listener in listeners
        )
        self.server.listen_data(listeners[0])
        self.server.listen_control(listeners[1])
        self.server.listen_platform(listeners[2])
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self._open: list[socket.socket] = []

    def connect(self, port: int) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", port), 5)
        self._open.append(found)
        return found

    def data(self) -> socket.socket:
        return self.connect(self.data_port)

    def control(self, number: int, body: bytes = b"", size: int = 4) -> bytes:
        """One request on a connection of its own; ``size`` bytes of answer."""
        with self.connect(self.control_port) as connection:
            connection.sendall(struct.pack(">I", number) + body)
            return receive(connection, size)

    def platform(self, signal: int) -> bytes:
        with self.connect(self.platform_port) as connection:
            connection.sendall(struct.pack(">I", signal))
            return receive(connection, 4)

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self.server.stop()
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.server.close()


@contextmanager
def serving(
    tpm: Tpm | None = None, options: Options | None = None, **port: bool
) -> Iterator[Serving]:
    found = Serving(tpm, options, **port)
    found.thread.start()
    try:
        yield found
    finally:
        found.close()


def transact(connection: socket.socket, command: bytes) -> bytes:
    """A raw command and its response."""
    connection.sendall(command)
    return response(connection)


def response(connection: socket.socket) -> bytes:
    header = receive(connection, 10)
    return header + receive(connection, struct.unpack(">HII", header)[1] - 10)
