"""A TPM, its sockets and the loop between them: what ``cloister tpm serve`` runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from tpm.frontends.control import ControlChannel
from tpm.frontends.data import DataChannel
from tpm.frontends.loop import Loop
from tpm.frontends.platform import PlatformChannel
from tpm.frontends.port import Port
from tpm.interface import TpmError

FILE_KEY, MIGRATION_KEY = 1, 2
"""Flags of GET_CONFIG."""


@dataclass
class Options:
    """How a server behaves, beside where it listens."""

    once: bool = False
    """Hang up after each answer on the data channel."""
    end_with_data: bool = False
    """End when a data connection has ended."""
    end_with_control: bool = False
    """End when a control connection has ended."""
    config_flags: int = 0
    """What GET_CONFIG says."""
    lock: Callable[[int], None] = field(default=lambda _retries: None)
    """Hold the state's storage; raises ``TpmError``."""
    seal: Callable[[bytes], bytes] = field(default=lambda blob: blob)
    """Encrypt a state blob that leaves."""
    unseal: Callable[[bytes], bytes] | None = None
    """Decrypt one that comes."""


class Server:
    """The program's middle."""

    def __init__(self, port: Port, options: Options | None = None) -> None:
        self._port = port
        self._options = options or Options()
        self._loop = Loop()
        self._paths: list[str] = []
        self._handed_data = False
        self.config_flags = self._options.config_flags

    # Channels

    def listen_data(self, listener: socket.socket) -> None:
        """Serve commands, in either framing."""
        self._listen(listener, self._data)

    def listen_control(self, listener: socket.socket) -> None:
        """Serve swtpm's control channel."""
        self._listen(listener, self._control)

    def listen_platform(self, listener: socket.socket) -> None:
        """Serve mssim's platform port."""
        self._listen(listener, lambda: PlatformChannel(self._port, self.stop))

    def serve_control(self, connection: socket.socket) -> None:
        """Serve the control channel on a connection that is there."""
        self._loop.serve(connection, self._control())

    def serve_data(self, connection: socket.socket) -> bool:
        """Serve the data channel on a connection that was handed over, one at a time."""
        if self._handed_data:
            return False
        self._handed_data = True

        def closed() -> None:
            self._handed_data = False
            self._data_closed()

        self._loop.serve(connection, DataChannel(self._port, closed=closed))
        return True

    def _listen(
        self,
        listener: socket.socket,
        make: Callable[[], DataChannel | ControlChannel | PlatformChannel],
    ) -> None:
        if listener.family == socket.AF_UNIX and (path := listener.getsockname()):
            self._paths.append(path)
        self._loop.listen(listener, make)

    def _data(self) -> DataChannel:
        return DataChannel(
            self._port, once=self._options.once, closed=self._data_closed, stop=self.stop
        )

    def _control(self) -> ControlChannel:
        return ControlChannel(self._port, self, self._control_closed)

    def _data_closed(self) -> None:
        if self._options.end_with_data:
            self.stop()

    def _control_closed(self) -> None:
        if self._options.end_with_control:
            self.stop()

    # Running

    def run(self) -> None:
        """Serve until ``stop``; then the TPM is told that its power goes."""
        try:
            self._loop.run()
        finally:
            self._port.power_off()

    def stop(self) -> None:
        """End after this turn; may be called by a signal handler."""
        self._loop.stop()

    def close(self) -> None:
        """Close all sockets and remove their paths."""
        self._loop.close()
        for path in self._paths:
            try:
                os.unlink(path)
            except OSError:
                pass  # somebody else did

    # What the control channel asks

    def lock(self, retries: int) -> None:
        self._options.lock(retries)

    def seal(self, blob: bytes) -> bytes:
        return self._options.seal(blob)

    def unseal(self, blob: bytes) -> bytes:
        if self._options.unseal is None:
            raise TpmError("the state blob is encrypted, and there is no migration key")
        return self._options.unseal(blob)
