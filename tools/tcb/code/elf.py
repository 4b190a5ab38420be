"""Machine code in ELF files (System V ABI, chapters 4 and 5)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

_LOAD, _EXECUTABLE = 1, 1
_FORMATS: Final = {
    1: (28, "I", 42, struct.Struct("<IIIIIIII"), 4, 6),
    2: (32, "Q", 54, struct.Struct("<IIQQQQQQ"), 5, 1),
}
"""Class -> where the table's place is and how wide, where its entries' size and number are, an
entry, and in it the place of the size in the file and of the flags."""


class NotElf(Exception):
    """A file that is no ELF file, or a damaged one."""


def text_bytes(path: Path) -> int:
    """Bytes of a file that are mapped to be executed; raises ``NotElf`` and ``OSError``."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or data[4:5] not in (b"\1", b"\2") or data[5:6] != b"\1":
        raise NotElf(f"{path} is no little-endian ELF file")
    at, width, sizes, segment, length, flags = _FORMATS[data[4]]
    try:
        (table,) = struct.unpack_from(f"<{width}", data, at)
        size, count = struct.unpack_from("<HH", data, sizes)
        segments = [segment.unpack_from(data, table + size * i) for i in range(count)]
    except (struct.error, OverflowError) as error:
        raise NotElf(f"{path} is damaged: {error}") from None
    return sum(s[length] for s in segments if s[0] == _LOAD and s[flags] & _EXECUTABLE)
