"""System calls of the host, raw: past the C library and past Python."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, Final

from tests.hostile.registry import NotHere

AT_FDCWD: Final = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Host:
    """The host's system calls by name: ``host.socket(2, 1, 0)``; errors raise ``OSError``.

    Arguments are numbers, bytes, arrays of ``ctypes`` and None.
    """

    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name not in self._numbers:
            raise NotHere(f"the system call {name}")
        number = self._numbers[name]
        return lambda *arguments: self.call(number, *arguments)

    @staticmethod
    def call(number: int, *arguments: Any) -> int:
        """A system call by its number."""
        words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
        result: int = _libc.syscall(ctypes.c_long(number), *words)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """A descriptor of a file."""
        return self.openat(AT_FDCWD, path.encode(), flags, mode)


def socket_address(path: str) -> bytes:
    """A ``sockaddr_un``; a path that begins with ``@`` is an abstract one."""
    name = path.encode()
    return b"\1\0" + (b"\0" + name[1:] if name[:1] == b"@" else name + b"\0")


def internet_address(port: int) -> bytes:
    """A ``sockaddr_in`` of the loopback device."""
    return b"\2\0" + port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)


class Vector(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))
