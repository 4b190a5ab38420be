"""The file of a snapshot, and what is sent when a guest moves.

  magic     8 octets, "CLOISNAP"
  version   u32
  records   u32 kind, u32 length, that many octets
  last      a record of kind END with the SHA-256 of all before it

  MACHINE   msgpack of what the board is: it comes first
  MEMORY    u64 offset in guest memory, and zlib's compression of up to 1 MiB from there
  ZERO      u64 offset, u64 length: memory that is zero there
  STATE     msgpack of the board's state (`machine.py`): it comes when the guest stands still

All numbers are little-endian.  Of two records of the same memory the later one is right.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from vmm.snapshot.state import SnapshotError

MAGIC: Final = b"CLOISNAP"
VERSION: Final = 1
MACHINE, MEMORY, ZERO, STATE, END = 1, 2, 3, 4, 5
CHUNK: Final = 1 << 20
"""Octets of guest memory in a record at most."""
MOST: Final = 64 << 20
"""Octets of a record at most."""
_HEAD: Final = struct.Struct("<8sI")
_RECORD: Final = struct.Struct("<II")
_OFFSET: Final = struct.Struct("<Q")
_RANGE: Final = struct.Struct("<QQ")
_LEVEL: Final = 1


class Record(NamedTuple):
    kind: int
    content: bytes


def record(kind: int, content: bytes) -> bytes:
    return _RECORD.pack(kind, len(content)) + content


def head() -> bytes:
    return _HEAD.pack(MAGIC, VERSION)


def memory_record(offset: int, content: bytes | memoryview) -> bytes:
    """The record of a piece of guest memory."""
    if not any(content):
        return record(ZERO, _RANGE.pack(offset, len(content)))
    return record(MEMORY, _OFFSET.pack(offset) + zlib.compress(content, _LEVEL))


class Digest:
    """Adds up what is written, and gives the last record."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def add(self, data: bytes) -> bytes:
        self._sum.update(data)
        return data

    def end(self) -> bytes:
        return record(END, self._sum.digest())


def write_into(memory: memoryview, one: Record) -> tuple[int, int]:
    """Carry out a record of memory; the range that it changed.

    Raises ``SnapshotError`` for a range that is not there.
    """
    try:
        if one.kind == ZERO:
            offset, length = _RANGE.unpack(one.content)
            content = bytes(min(length, CHUNK))
        else:
            (offset,) = _OFFSET.unpack_from(one.content)
            expander = zlib.decompressobj()
            content = expander.decompress(one.content[_OFFSET.size :], CHUNK)
            if expander.unconsumed_tail or not expander.eof:
                raise SnapshotError("a piece of the guest's memory is longer than it may be")
            length = len(content)
    except (struct.error, zlib.error):
        raise SnapshotError("a piece of the guest's memory is damaged") from None
    if length != len(content) or offset + length > len(memory):
        raise SnapshotError("the guest had more memory")
    memory[offset : offset + length] = content
    return offset, length


class Reader:
    """Records out of a stream; checks magic, version, and the sum at the end."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._sum = hashlib.sha256()
        self._begun = self.ended = False

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that are complete now, but for the last."""
        self._held += data
        if not self._begun:
            if len(self._held) < _HEAD.size:
                return
            self._begin()
        while len(self._held) >= _RECORD.size:
            kind, length = _RECORD.unpack_from(self._held)
            if length > MOST or not MACHINE <= kind <= END:
                raise SnapshotError("the snapshot is damaged: it has a record of no known kind")
            end = _RECORD.size + length
            if len(self._held) < end:
                return
            if self.ended:
                raise SnapshotError("the snapshot is damaged: something follows its end")
            content = bytes(self._held[_RECORD.size : end])
            if kind == END:
                self._finish(content)
            else:
                self._sum.update(self._held[:end])
            del self._held[:end]
            if kind != END:
                yield Record(kind, content)

    def _begin(self) -> None:
        magic, version = _HEAD.unpack_from(self._held)
        if magic != MAGIC:
            raise SnapshotError("this is no snapshot")
        if version != VERSION:
            raise SnapshotError(f"the snapshot is of version {version}; this one reads {VERSION}")
        self._sum.update(self._held[: _HEAD.size])
        del self._held[: _HEAD.size]
        self._begun = True

    def _finish(self, content: bytes) -> None:
        if content != self._sum.digest():
            raise SnapshotError("the snapshot is damaged: its sum is wrong")
        self.ended = True

    def close(self) -> None:
        """Raise ``SnapshotError`` unless all of it has come."""
        if not self.ended or self._held:
            raise SnapshotError("the snapshot is damaged: its end is missing")
