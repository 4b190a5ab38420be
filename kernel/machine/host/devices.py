"""Devices as descriptors that whoever boots the machine opened, and locked where that matters.

The kernel keeps them, waits on one, and hands a copy of the other to a driver that may use it: what
the driver can do with it was settled when it was opened.
"""

from __future__ import annotations

import errno
import os
import stat

from kernel.machine.config import DeviceConfig


class HostDevice:
    """One device."""

    def __init__(self, config: DeviceConfig, descriptors: list[int]) -> None:
        self._fds = [-1 if at is None else descriptors[at] for at in (config.reading, config.fd)]
        self._stream = config.stream
        self.fd = max(self._fds)  # to wait on

    def hand_over(self, writable: bool) -> tuple[int, int]:
        """A new descriptor for a driver, and the size in bytes of a file or disk, 0 of a stream.

        Raises ``OSError`` if there is none with these rights.
        """
        fd = self._fds[writable]
        if fd < 0:
            raise FileNotFoundError(errno.ENOENT, "nothing is behind the device")
        data = not self._stream and not stat.S_ISCHR(os.fstat(fd).st_mode)
        return os.dup(fd), os.lseek(fd, 0, os.SEEK_END) if data else 0
