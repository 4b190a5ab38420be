"""Devices as files of the host and as descriptors that whoever boots the machine handed in.

A device's own descriptor stays with the kernel, which waits on it and holds the lock; a driver gets
one of its own with the rights it asked for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from kernel.machine.config import DeviceConfig

_PTY_MASTER = os.makedev(5, 2)
"""Opening this one again would make another terminal."""
_QUIETLY = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""The kernel neither waits for a device's other end nor gets a terminal of its own."""


class HostDevice:
    """One device."""

    def __init__(self, config: DeviceConfig, descriptors: list[int]) -> None:
        self.config = config
        self.fd = -1  # open since its first use
        self._given = -1 if config.fd is None else descriptors[config.fd]

    def open(self) -> None:
        """Open what is behind it, unless it is; raises ``OSError``."""
        if self.fd >= 0:
            return
        config, fd = self.config, self._given
        if fd < 0:
            if config.path is None:
                raise FileNotFoundError(errno.ENOENT, "the device has neither path nor descriptor")
            flags = os.O_RDWR if config.writable else os.O_RDONLY
            flags |= os.O_CREAT if config.size else 0
            fd = os.open(config.path, flags | _QUIETLY, 0o600)
        try:
            if config.writable and not config.stream and _holds_data(fd):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                status = os.fstat(fd)
                if stat.S_ISREG(status.st_mode) and status.st_size < config.size:
                    os.truncate(fd, config.size)
        except OSError:
            if fd != self._given:
                os.close(fd)
            raise
        self.fd = fd

    def hand_over(self, writable: bool) -> tuple[int, int]:
        """A new descriptor for a driver, and the size in bytes of a file or disk, 0 of a stream."""
        self.open()
        fd = self._descriptor(writable)
        if self.config.stream or not _holds_data(fd):
            return fd, 0
        size = os.lseek(fd, 0, os.SEEK_END)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd, size

    def _descriptor(self, writable: bool) -> int:
        """A new descriptor; raises ``OSError``, also if it would allow more than it should."""
        status = os.fstat(self.fd)
        mode = fcntl.fcntl(self.fd, fcntl.F_GETFL) & os.O_ACCMODE
        wanted = os.O_RDWR if writable else os.O_RDONLY
        if self._given < 0 or (_holds_data(self.fd) and not self.config.stream):
            if mode not in (wanted, os.O_RDWR):
                raise PermissionError(errno.EACCES, "the device was opened with fewer rights")
            return self._open_again(wanted)
        if writable or mode == os.O_RDONLY:
            return os.dup(self.fd)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev != _PTY_MASTER:
            return self._open_again(wanted)
        raise PermissionError(errno.EACCES, "the device cannot be handed over for reading alone")

    def _open_again(self, mode: int) -> int:
        fd = os.open(f"/proc/self/fd/{self.fd}", mode | _QUIETLY)
        os.set_blocking(fd, True)  # of this descriptor alone: it was opened anew
        return fd


def _holds_data(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)
