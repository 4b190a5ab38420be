"""What a dynamically linked ELF file needs (System V ABI, chapters 4 and 5; 64-bit, little-endian).

Read from the file itself: a host's loader would answer for the host's libraries.
"""

from __future__ import annotations

import struct
from typing import Final

_HEADER: Final = struct.Struct("<16xHHIQQQIHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_DYNAMIC: Final = struct.Struct("<qQ")
_LOAD, _DYNAMIC_SEGMENT, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS = 1, 5


class ElfError(Exception):
    """A file that is not such a program or library."""


class Elf:
    """A program or library: the libraries it asks for, and the loader it names."""

    def __init__(self, data: bytes) -> None:
        """Raises ``ElfError`` for something else."""
        self._data = data
        if not data.startswith(b"\x7fELF\x02\x01"):
            raise ElfError("not an ELF file of 64 bits")
        try:
            segments = self._segments()
            self.interpreter = b"".join(self._interpreters(segments)).decode()
            self.needed = self._libraries(segments)
        except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
            raise ElfError(f"a damaged ELF file: {error}") from None

    def _segments(self) -> list[tuple[int, ...]]:
        _, _, _, _, at, _, _, _, size, count = _HEADER.unpack_from(self._data)
        return [_SEGMENT.unpack_from(self._data, at + size * i) for i in range(count)]

    def _interpreters(self, segments: list[tuple[int, ...]]) -> list[bytes]:
        return [
            self._data[offset : offset + size].rstrip(b"\0")
            for kind, _, offset, _, _, size, _, _ in segments
            if kind == _INTERPRETER
        ]

    def _libraries(self, segments: list[tuple[int, ...]]) -> list[str]:
        names: list[int] = []
        strings = 0
        for kind, _, offset, _, _, size, _, _ in segments:
            if kind != _DYNAMIC_SEGMENT:
                continue
            for tag, value in _DYNAMIC.iter_unpack(self._data[offset : offset + size]):
                if tag == _NEEDED:
                    names.append(value)
                elif tag == _STRINGS:
                    strings = self._offset(segments, value)
        return [self._text(strings + name) for name in names]

    @staticmethod
    def _offset(segments: list[tuple[int, ...]], address: int) -> int:
        for kind, _, offset, start, _, size, _, _ in segments:
            if kind == _LOAD and start <= address < start + size:
                return offset + address - start
        raise ValueError("an address outside of the file")

    def _text(self, at: int) -> str:
        return self._data[at : self._data.index(b"\0", at)].decode()
