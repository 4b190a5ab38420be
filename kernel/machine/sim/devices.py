"""Devices of the sim machine: a host file, an open descriptor, or memory.

A device without a path and descriptor is memory: ``size`` bytes at offsets, or, for a stream, what
``feed`` put in and what was written so far.
"""

from __future__ import annotations

import os
import select

from kernel.machine.config import DeviceConfig


class SimDevice:
    """One device; the object itself is what ``device_map`` hands to the runtime."""

    def __init__(self, config: DeviceConfig) -> None:
        self.config = config
        self.fd = -1
        self.size = config.size
        self.stream = config.stream
        self.input = bytearray()  # of a memory stream: fed and not read yet
        self.ended = False  # of a memory stream: nothing more will be fed
        self.output = bytearray()  # of a memory stream: written so far
        self._memory = bytearray(0 if config.stream else config.size)

    def open(self) -> None:
        """Open what is behind it, at its first use; raises ``OSError``."""
        if self.fd >= 0 or (self.config.path is None and self.config.fd is None):
            return
        if self.config.fd is not None:
            self.fd = self.config.fd
            return
        assert self.config.path is not None
        flags = os.O_RDWR if self.config.writable else os.O_RDONLY
        if self.config.size:
            flags |= os.O_CREAT
        self.fd = os.open(self.config.path, flags | getattr(os, "O_BINARY", 0), 0o600)
        if not self.stream:
            self.size = os.fstat(self.fd).st_size
            if self.size < self.config.size:
                os.truncate(self.fd, self.config.size)
                self.size = self.config.size

    def close(self) -> None:
        if self.fd >= 0 and self.config.fd is None:
            os.close(self.fd)
        self.fd = -1

    def feed(self, data: bytes) -> None:
        """Input for a memory stream; empty ends it."""
        self.input += data
        self.ended = self.ended or not data

    def ready(self) -> bool:
        """Whether a read would not wait."""
        if self.fd < 0:
            return bool(self.input) or self.ended or not self.stream
        try:
            return bool(select.select([self.fd], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    # What the runtime uses

    def read_at(self, offset: int, size: int) -> bytes:
        if self.fd < 0:
            return bytes(self._memory[offset : offset + size])
        return os.pread(self.fd, size, offset)

    def read_into(self, offset: int, buffers: list[memoryview]) -> int:
        done = 0
        for buffer in buffers:
            data = self.read_at(offset + done, len(buffer))
            buffer[: len(data)] = data
            done += len(data)
        return done

    def write_from(self, offset: int, buffers: list[memoryview]) -> int:
        done = 0
        for buffer in buffers:
            if self.fd < 0:
                room = max(0, len(self._memory) - offset - done)
                count = min(len(buffer), room)
                self._memory[offset + done : offset + done + count] = buffer[:count]
            else:
                count = os.pwrite(self.fd, buffer, offset + done)
            done += count
        return done

    def sync(self) -> None:
        if self.fd >= 0:
            os.fsync(self.fd)

    def read(self, size: int) -> bytes:
        if self.fd >= 0:
            return os.read(self.fd, size)
        data = bytes(self.input[:size])
        del self.input[:size]
        return data

    def write(self, data: bytes) -> int:
        if self.fd >= 0:
            return os.write(self.fd, data)
        self.output += data
        return len(data)
