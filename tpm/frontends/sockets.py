"""Where a channel is: addresses as people write them, and sockets that listen there.

7000   HOST:7000   [::1]:7000   tcp:HOST:7000   unix:/run/tpm.sock
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Final, NamedTuple

from tpm.frontends.loop import BACKLOG
from tpm.interface import TpmError

LOCALHOST: Final = "127.0.0.1"


class Address(NamedTuple):
    """A path of a UNIX socket, or a host and a TCP port, 0 for any that is free."""

    path: str = ""
    host: str = LOCALHOST
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def next(self) -> Address:
        """Where the second of two channels is: the next port, or the path with ``.ctrl``."""
        return (
            self._replace(path=f"{self.path}.ctrl")
            if self.path
            else self._replace(port=self.port + 1 if self.port else 0)
        )


def parse(text: str) -> Address:
    """An address; raises ``TpmError``."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise TpmError("unix: needs a path behind it")
        return Address(path=path)
    host, _, port = text.removeprefix("tcp:").rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise TpmError(f"{text!r} is no address: give HOST:PORT or unix:PATH")
    return Address(host=host.strip("[]") or LOCALHOST, port=int(port))


def listen(address: Address, mode: int | None = None) -> socket.socket:
    """A listening socket; raises ``TpmError`` that says what is in the way."""
    return _listen_unix(address.path, mode) if address.path else _listen_tcp(address)


def bound(listener: socket.socket) -> Address:
    """Where a socket listens."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return Address(path=str(name))
    return Address(host=name[0], port=name[1])


def _reason(error: OSError, where: str, what: str) -> TpmError:
    if error.errno == errno.EADDRINUSE:
        return TpmError(f"{where} is in use by another program: choose another {what}")
    if error.errno == errno.EADDRNOTAVAIL:
        return TpmError(f"cannot listen on {where}: this machine has no such address")
    return TpmError(f"cannot listen on {where}: {error.strerror}")


def _listen_tcp(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except socket.gaierror:
        listener.close()
        raise TpmError(f"cannot listen on {address}: there is no host {address.host!r}") from None
    except OSError as error:
        listener.close()
        raise _reason(error, str(address), "port") from None
    return listener


def _listen_unix(path: str, mode: int | None) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o777 & ~mode if mode is not None else 0o077)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _reason(error, path, "path") from None
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket that a program left behind which is gone."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass
