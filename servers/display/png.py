"""Pictures as files: Portable Network Graphics (W3C, "PNG Specification", third edition)."""

from __future__ import annotations

import struct
import zlib
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TRUE_COLOUR: Final = 2
_LEVEL: Final = 6
_SAME: Final = 2
"""The filter of a line that is told by what differs from the one above."""


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def encode(width: int, height: int, pixels: bytes | bytearray | memoryview) -> bytes:
    """The file of a picture, whose pixels are blue, green, red, and one that is nothing."""
    size = width * height
    colours = bytearray(3 * size)
    for at, component in enumerate((2, 1, 0)):
        colours[at::3] = pixels[component : 4 * size : 4]
    pitch = 3 * width
    lines = []
    above = b""
    for start in range(0, 3 * size, pitch):
        line = bytes(colours[start : start + pitch])
        # A line like the one above is nothing but zeros: of text and windows that is every third.
        lines.append(bytes((_SAME,)) + bytes(pitch) if line == above else b"\0" + line)
        above = line
    head = struct.pack(">IIBBBBB", width, height, 8, _TRUE_COLOUR, 0, 0, 0)
    content = zlib.compress(b"".join(lines), _LEVEL)
    return b"".join(
        (_SIGNATURE, _chunk(b"IHDR", head), _chunk(b"IDAT", content), _chunk(b"IEND", b""))
    )
