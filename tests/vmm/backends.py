"""Backends for tests: a disk in a file, a disk in memory, entropy of the host and of a counter."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from vmm.backends import SECTOR, BlockOperation, BlockRequest, BlockStatus


class FileBlock:
    """A raw image file; every request is done at once."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._fd = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
        self.read_only = read_only
        self.sectors = os.fstat(self._fd).st_size // SECTOR

    def submit(self, request: BlockRequest) -> None:
        offset = request.sector * SECTOR
        try:
            if request.operation is BlockOperation.READ:
                done = os.preadv(self._fd, request.buffers, offset)
            elif request.operation is BlockOperation.WRITE:
                done = os.pwritev(self._fd, request.buffers, offset)
            else:
                os.fdatasync(self._fd)
                done = 0
        except OSError:
            done = -1
        request.complete(BlockStatus.OK if done == request.length else BlockStatus.ERROR)


class MemoryBlock:
    """A disk in memory whose requests wait, if ``held``, until ``release`` is called."""

    def __init__(self, sectors: int, read_only: bool = False, held: bool = False) -> None:
        self.data = bytearray(sectors * SECTOR)
        self.sectors = sectors
        self.read_only = read_only
        self.held = held
        self.waiting: list[BlockRequest] = []
        self.log: list[BlockOperation] = []

    def submit(self, request: BlockRequest) -> None:
        self.waiting.append(request)
        if not self.held:
            self.release()

    def release(self, status: BlockStatus = BlockStatus.OK) -> None:
        """Carry out what waits, the last first."""
        while self.waiting:
            request = self.waiting.pop()
            at = request.sector * SECTOR
            self.log.append(request.operation)
            for buffer in request.buffers:
                if request.operation is BlockOperation.READ:
                    buffer[:] = self.data[at : at + len(buffer)]
                else:
                    self.data[at : at + len(buffer)] = buffer
                at += len(buffer)
            request.complete(status)


class HostEntropy:
    """The host's random number generator."""

    def request(self, count: int, deliver: Callable[[bytes], None]) -> None:
        deliver(os.urandom(count))


class CountingEntropy:
    """Bytes 0, 1, 2, ...: for tests that compare."""

    def __init__(self) -> None:
        self._next = 0

    def request(self, count: int, deliver: Callable[[bytes], None]) -> None:
        deliver(bytes((self._next + i) & 0xFF for i in range(count)))
        self._next += count
