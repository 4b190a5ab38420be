"""What an image lies in, and what lies below it: bytes at places, read and written in order.

Reads and writes are begun and not waited for; they take effect in the order in which they were
begun.  ``wait`` returns when all are done.
"""

from __future__ import annotations

from typing import Final, Protocol

from drivers.block.client import BlockClient
from drivers.block.interface import FLUSH, READ, SECTOR, WRITE, Status
from servers.runtime import Environment
from servers.store.header import ImageError

Bytes = bytes | bytearray | memoryview


class FileError(Exception):
    """Something could not be read, written or brought to stable storage."""


class File(Protocol):
    """Places and lengths are in bytes, and multiples of ``SECTOR``."""

    size: int
    writable: bool

    def read(self, at: int, into: memoryview) -> None:
        """Begin to fill ``into``."""

    def write(self, at: int, data: Bytes) -> None:
        """Begin to write ``data``, which must stay as it is until ``wait`` has returned."""

    def wait(self) -> None:
        """Return when all that was begun is done; raises ``FileError`` if something failed."""

    def flush(self) -> None:
        """``wait``, and return when all that was written is on stable storage."""


def read_bytes(file: File, at: int, length: int) -> bytes:
    """``length`` bytes at any place, now.  Raises ``ImageError`` if the file ends before."""
    if at + length > file.size:
        raise ImageError(f"it is cut short: it has nothing at byte {at}")
    start = at // SECTOR * SECTOR
    data = bytearray(-(-(at + length) // SECTOR) * SECTOR - start)
    file.read(start, memoryview(data))
    file.wait()
    return bytes(data[at - start : at - start + length])


_NAMES: Final = {READ: "read", WRITE: "written", FLUSH: "brought to stable storage"}


class BlockFile:
    """A session with a block driver, or with another store."""

    def __init__(self, env: Environment, name: str) -> None:
        self._word = env.notification()
        self._client = BlockClient(env, name, self._word)
        self.size = self._client.size
        self.writable = self._client.writable
        self._begun = 0
        self._failed = ""

    def _begin(self, operation: int, at: int, data: memoryview | None) -> None:
        def done(status: Status) -> None:
            self._begun -= 1
            if status is not Status.OK:
                self._failed = f"byte {at} could not be {_NAMES[operation]}"

        self._begun += 1
        self._client.submit(operation, at, [] if data is None else [data], done)

    def read(self, at: int, into: memoryview) -> None:
        self._begin(READ, at, into)

    def write(self, at: int, data: Bytes) -> None:
        self._begin(WRITE, at, memoryview(data))

    def wait(self) -> None:
        while self._begun:
            self._word.wait()
            self._client.poll()
        failed, self._failed = self._failed, ""
        if failed:
            raise FileError(failed)

    def flush(self) -> None:
        self.wait()
        self._begin(FLUSH, 0, None)
        self.wait()
