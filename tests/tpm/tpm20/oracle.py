"""swtpm, where it is installed, to compare response codes with."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import tempfile
import time
from types import TracebackType

_RETRY = struct.pack(">I", 0x922)
AVAILABLE = shutil.which("swtpm") is not None

_PATIENCE = 30.0
"""Seconds after which it does not answer any more: a large RSA key may take some."""


def _free_port() -> int:
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class Oracle:
    """A running swtpm of its own, not started up."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="oracle-")
        self.folder = self._folder.name
        """Where its state is."""
        self._port = _free_port()
        self._process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--flags", "not-need-init"),
                *("--server", f"type=tcp,port={self._port}"),
                *("--ctrl", f"type=tcp,port={self._port + 1}"),
                *("--tpmstate", f"dir={self.folder}"),
            ],
            stderr=subprocess.DEVNULL,
        )
        self._data = self._connect()

    def _connect(self) -> socket.socket:
        for _ in range(200):
            try:
                return socket.create_connection(("127.0.0.1", self._port), _PATIENCE)
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("swtpm does not listen")

    def execute(self, command: bytes) -> bytes:
        """The response; a command that swtpm wants to have again (TPM_RC_RETRY) is sent again."""
        response = self._once(command)
        return self._once(command) if response[6:10] == _RETRY else response

    def _once(self, command: bytes) -> bytes:
        self._data.sendall(command)
        header = self._receive(10)
        size = struct.unpack(">I", header[2:6])[0]
        return header + self._receive(size - 10)

    def _receive(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            part = self._data.recv(size - len(out))
            if not part:
                raise EOFError("swtpm has closed the connection")
            out += part
        return out

    def power_on(self) -> None:
        """_TPM_Init."""
        self._control(2, bytes(4))

    def set_locality(self, locality: int) -> None:
        """The locality of the commands from now on."""
        self._control(5, bytes((locality,)))

    def _control(self, code: int, content: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._port + 1)) as control:
            control.sendall(struct.pack(">I", code) + content)
            assert control.recv(4) == bytes(4)

    def __enter__(self) -> Oracle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._data.close()
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()
