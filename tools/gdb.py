"""A debugger's way to a guest: a socket on loopback here, the VMM's stub there."""

from __future__ import annotations

import select
import socket
from types import TracebackType
from typing import Final

from tools.errors import UserError
from vmm.interface import Vm

DEFAULT_PORT: Final = 1234
PIECE: Final = 16 * 1024


class Bridge:
    """Waits for a debugger, and carries octets between it and a guest."""

    def __init__(self, vm: Vm, port: int) -> None:
        """Listen on loopback; port 0 is any that is free."""
        self._vm = vm
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            self._listener.close()
            raise UserError(f"cannot listen on 127.0.0.1:{port} for a debugger: {error}") from None
        self._listener.listen(1)
        self.port: int = self._listener.getsockname()[1]
        self._debugger: socket.socket | None = None

    @property
    def connected(self) -> bool:
        return self._debugger is not None

    def pump(self, seconds: float) -> None:
        """Carry what is there, waiting for it that long at most."""
        if self._debugger is None:
            if select.select([self._listener], [], [], seconds)[0]:
                self._debugger, _ = self._listener.accept()
                self._debugger.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._vm.gdb(b"", 0)  # it stops
            return
        data = b""
        try:
            if select.select([self._debugger], [], [], 0)[0]:
                data = self._debugger.recv(PIECE)
                if not data:
                    self._hang_up()
                    return
            out = self._vm.gdb(data, 0 if data else int(seconds * 1e9))
            if out:
                self._debugger.sendall(out)
        except OSError:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._debugger is not None:
            self._debugger.close()
            self._debugger = None
            self._vm.gdb_end()

    def close(self) -> None:
        self._listener.close()
        if self._debugger is not None:
            self._debugger.close()
            self._debugger = None

    def __enter__(self) -> Bridge:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
