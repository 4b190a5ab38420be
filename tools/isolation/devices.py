"""The files behind a system's devices, opened and locked for the kernel."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from typing import Final

from kernel.machine.config import DeviceConfig
from tools.errors import UserError

_QUIETLY: Final = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""Opening neither waits for a device's other end nor gets this process a terminal."""

LISTEN: Final = "listen:"
"""Begins the path of a device that is a socket listening on loopback; its port follows."""
_PTY_MASTER: Final = os.makedev(5, 2)
"""Opening this one again would make another terminal."""


def opened(device: DeviceConfig) -> tuple[int | None, int | None]:
    """Descriptors of what is behind a device: with all its rights, and for reading alone.

    Either is None if there is none.  Data that is written is locked, for as long as somebody has
    the first descriptor or a copy of it.
    """
    try:
        if device.fd is not None:
            return _given(device.fd, device)
        if device.path is None:
            return None, None
        if device.path.startswith(LISTEN):
            return _listening(device.path.removeprefix(LISTEN)), None
        flags = (os.O_RDWR if device.writable else os.O_RDONLY) | (os.O_CREAT if device.size else 0)
        fd = os.open(device.path, flags | _QUIETLY, 0o600)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        where = device.path or "its descriptor"
        raise UserError(f"device {device.name}: {where}: {error.strerror}") from None
    os.set_blocking(fd, True)
    if not device.writable:
        return None, fd
    if not device.stream:
        _claim(fd, device)
    return fd, _again(fd)


def _listening(port: str) -> int:
    """A socket that listens on loopback."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind(("127.0.0.1", int(port)))
        except (OSError, OverflowError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"cannot listen on 127.0.0.1:{port}: {why}") from None
        listener.listen(8)
        return listener.detach()


def _given(given: int, device: DeviceConfig) -> tuple[int | None, int | None]:
    """The same for a descriptor that was handed in."""
    mode = fcntl.fcntl(given, fcntl.F_GETFL) & os.O_ACCMODE
    fd = os.dup(given)
    if mode == os.O_RDONLY:
        return None, fd
    if device.writable and not device.stream:
        _claim(fd, device)
    reading = None if mode == os.O_WRONLY else _again(fd)
    if device.writable:
        return fd, reading
    os.close(fd)
    return None, reading


def _again(fd: int) -> int | None:
    """The same opened for reading alone, or None if this would be something else, or fails."""
    status = os.fstat(fd)
    kinds = (stat.S_ISREG, stat.S_ISBLK, stat.S_ISCHR)
    if not any(kind(status.st_mode) for kind in kinds) or status.st_rdev == _PTY_MASTER:
        return None
    try:
        reading = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | _QUIETLY)
    except OSError:
        return None
    os.set_blocking(reading, True)
    return reading


def _claim(fd: int, device: DeviceConfig) -> None:
    """Lock a file or disk, and make a file as long as it is to be."""
    status = os.fstat(fd)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UserError(
            f"{device.path} is in use by another running system; end that one, "
            "or set CLOISTER_STATE to another folder"
        ) from None
    if stat.S_ISREG(status.st_mode) and status.st_size < device.size:
        os.truncate(fd, device.size)
