"""Pixels in the form that a client wants (RFC 6143, 7.4), and rectangles of them (7.7).

The picture's pixels are blue, green, red, nothing.  Each byte of a client's pixel is worked out for
a whole line of them at once, by a translation table for each component that has bits in it.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

RAW, ZLIB, ZRLE = 0, 6, 16
TILE: Final = 64
_LEVEL: Final = 1
_SOLID: Final = 1
_FORMAT: Final = struct.Struct(">BBBBHHHBBB3x")


class PixelFormat(NamedTuple):
    """A client's pixels."""

    bits: int
    depth: int
    big_endian: int
    true_colour: int
    red_most: int
    green_most: int
    blue_most: int
    red_shift: int
    green_shift: int
    blue_shift: int

    @staticmethod
    def unpack(data: bytes) -> PixelFormat:
        return PixelFormat(*_FORMAT.unpack(data))

    def pack(self) -> bytes:
        return _FORMAT.pack(*self)

    @property
    def possible(self) -> bool:
        """Whether there can be such pixels."""
        parts = (
            (self.red_most, self.red_shift),
            (self.green_most, self.green_shift),
            (self.blue_most, self.blue_shift),
        )
        fits = all(most and most.bit_length() + shift <= self.bits for most, shift in parts)
        return self.bits in (8, 16, 32) and (fits or not self.true_colour)


OURS: Final = PixelFormat(32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
MAPPED: Final = PixelFormat(8, 8, 0, 1, 7, 7, 3, 5, 2, 0)
"""What clients get that want colours by number: number n is the colour that this makes of n."""


def colour_map() -> bytes:
    """The colours of ``MAPPED`` (RFC 6143, 7.6.2)."""
    colours = (
        struct.pack(">HHH", (n >> 5) * 65535 // 7, (n >> 2 & 7) * 65535 // 7, (n & 3) * 65535 // 3)
        for n in range(256)
    )
    return struct.pack(">BxHH", 1, 0, 256) + b"".join(colours)


class Converter:
    """From the picture's pixels to a client's."""

    def __init__(self, wanted: PixelFormat) -> None:
        self._same = wanted[:3] == OURS[:3] and wanted[4:] == OURS[4:]
        form = wanted if wanted.true_colour else MAPPED
        self.size = form.bits // 8
        parts = (
            (form.blue_most, form.blue_shift),
            (form.green_most, form.green_shift),
            (form.red_most, form.red_shift),
        )
        order = range(self.size)
        places = [self.size - 1 - at for at in order] if form.big_endian else list(order)
        self._tables: list[list[tuple[int, bytes]]] = []  # by the byte's place
        for place in places:
            values = [
                bytes((v * most // 255 << shift) >> 8 * place & 0xFF for v in range(256))
                for most, shift in parts
            ]
            self._tables.append([(i, table) for i, table in enumerate(values) if any(table)])
        used = [bool(tables) for tables in self._tables]
        # ZRLE leaves out a byte that is in no component's bits (7.7.6).
        self.compact: slice | None = None
        if self.size == 4 and form.depth <= 24 and not (used[0] and used[3]):
            self.compact = slice(0, 3) if not used[3] else slice(1, 4)

    def convert(self, pixels: bytes) -> bytes:
        if self._same:
            return pixels
        found = bytearray(len(pixels) // 4 * self.size)
        for at, tables in enumerate(self._tables):
            joined = 0
            for component, table in tables:
                part = pixels[component::4].translate(table)
                joined |= int.from_bytes(part, "little")
            found[at :: self.size] = joined.to_bytes(len(pixels) // 4, "little")
        return bytes(found)

    def shortened(self, pixels: bytes) -> bytes:
        """Converted pixels without the byte that ZRLE leaves out."""
        if self.compact is None:
            return pixels
        count = len(pixels) // 4
        found = bytearray(3 * count)
        for at, source in enumerate(range(4)[self.compact]):
            found[at::3] = pixels[source::4]
        return bytes(found)


class Encoder:
    """Rectangles for one client; what it sends depends on what it has sent."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(_LEVEL)
        self._zrle = zlib.compressobj(_LEVEL)

    def encode(self, encoding: int, converter: Converter, pixels: bytes, width: int) -> bytes:
        """The content of a rectangle; ``pixels`` are the picture's."""
        data = converter.convert(pixels)
        if encoding == RAW:
            return data
        if encoding == ZLIB:
            return self._compressed(self._zlib, data)
        size = 3 if converter.compact else converter.size
        return self._compressed(self._zrle, _tiles(converter.shortened(data), width, size))

    @staticmethod
    def _compressed(stream: zlib._Compress, data: bytes) -> bytes:
        packed = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        return struct.pack(">I", len(packed)) + packed


def _tiles(data: bytes, width: int, size: int) -> bytes:
    """Tiles for ZRLE: those of one colour, and all others as they are."""
    pitch = width * size
    height = len(data) // pitch
    found = []
    for top in range(0, height, TILE):
        rows = range(top * pitch, min(top + TILE, height) * pitch, pitch)
        for left in range(0, pitch, TILE * size):
            end = min(left + TILE * size, pitch)
            tile = b"".join([data[row + left : row + end] for row in rows])
            first = tile[:size]
            if tile == first * (len(tile) // size):
                found.append(bytes((_SOLID,)) + first)
            else:
                found.append(b"\0" + tile)
    return b"".join(found)
