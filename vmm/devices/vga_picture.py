"""What a VGA's screen shows, as pixels of four bytes: blue, green, red, and one that is nothing.

A picture is made of source lines: bytes of memory that one or more of the screen's lines are worked
out from.  They are compared with those of the last time, and only what differs is worked out again,
with operations on whole lines: translation tables, slices with a step, and integers as wide as a
line.  Where memory has the pixels in this form already it is shown as it is.

A picture is of no particular moment, so nothing blinks in it: the cursor is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from vmm.devices import vga_vbe

if TYPE_CHECKING:
    from vmm.devices.vga import Vga

Octets = bytes | bytearray
PIXEL: Final = 4
MOST: Final = vga_vbe.LIMITS[vga_vbe.XRES] * vga_vbe.LIMITS[vga_vbe.YRES] * PIXEL
"""Bytes of a picture at most."""
BAND: Final = 16
"""Lines of memory that is shown as it is, which are compared together."""
_MOST_TILES: Final = 4096


class Mode(NamedTuple):
    """Where a picture is: bytes from the start of the memory, bytes a line, pixels."""

    offset: int
    pitch: int
    width: int
    height: int


class Update(NamedTuple):
    """A picture, and which of its lines changed: the first and how many, in order."""

    mode: Mode
    changed: list[tuple[int, int]]


# Tables

_EIGHT: Final = tuple(bytes(byte >> 7 - bit & 1 for bit in range(8)) for byte in range(256))
"""A byte of a plane as eight pixels."""
_FOUR: Final = tuple(bytes(byte >> 6 - 2 * i & 3 for i in range(4)) for byte in range(256))
"""A byte as four pixels of two bits."""
_WIDE: Final = bytes((v & 63) << 2 | (v & 63) >> 4 for v in range(256))
"""A component of six bits, of which the DAC's may have more that do not count."""
_FIVE_LOW: Final = bytes((v & 31) << 3 | (v & 31) >> 2 for v in range(256))
_RED_15: Final = bytes((v >> 2 & 31) << 3 | (v >> 2 & 31) >> 2 for v in range(256))
_RED_16: Final = bytes((v >> 3) << 3 | v >> 5 for v in range(256))
# A green component is of two bytes: what its high bits and its low bits give is or-ed.
_GREEN_15_HIGH: Final = bytes((v & 3) << 6 | (v & 3) << 1 for v in range(256))
_GREEN_15_LOW: Final = bytes((v >> 5) << 3 | (v >> 5) >> 2 for v in range(256))
_GREEN_16_HIGH: Final = bytes((v & 7) << 5 | (v & 7) >> 1 for v in range(256))
_GREEN_16_LOW: Final = bytes((v >> 5) << 2 for v in range(256))


def _or(first: bytes, second: bytes) -> bytes:
    """Bytewise."""
    joined = int.from_bytes(first, "little") | int.from_bytes(second, "little")
    return joined.to_bytes(len(first), "little")


def _pixels(blue: Octets, green: Octets, red: Octets) -> bytearray:
    found = bytearray(PIXEL * len(blue))
    found[0::4], found[1::4], found[2::4] = blue, green, red
    return found


def _twice(line: bytes) -> bytearray:
    """Each byte twice."""
    found = bytearray(2 * len(line))
    found[0::2] = found[1::2] = line
    return found


class Palette:
    """Translation from indices to the three components."""

    def __init__(self, colours: Iterable[tuple[int, int, int]]) -> None:
        """Red, green and blue of each index."""
        red, green, blue = (bytes(part).ljust(256, b"\0") for part in zip(*colours, strict=True))
        self._tables = blue, green, red

    def pixels(self, indices: Octets) -> bytearray:
        blue, green, red = self._tables
        return _pixels(indices.translate(blue), indices.translate(green), indices.translate(red))


# From the bytes of a source line to indices or pixels


def planar(source: bytes) -> bytes:
    """Sixteen colours: one bit of each plane is a pixel."""
    found = 0
    for plane in range(4):
        line = b"".join([_EIGHT[byte] for byte in source[plane::4]])
        found |= int.from_bytes(line, "little") << plane
    return found.to_bytes(2 * len(source), "little")


def two_bits(source: bytes) -> bytes:
    """Four colours: planes 0 and 1 hold four pixels each, by turns."""
    halves = []
    for even, odd in ((0, 2), (1, 3)):
        low = b"".join([_FOUR[byte] for byte in source[even::4]])
        high = b"".join([_FOUR[byte] for byte in source[odd::4]])
        both = int.from_bytes(low, "little") | int.from_bytes(high, "little") << 2
        halves.append(both.to_bytes(len(low), "little"))
    found = bytearray(2 * len(source))
    for at in range(4):
        found[at::8], found[at + 4 :: 8] = halves[0][at::4], halves[1][at::4]
    return bytes(found)


def true_15(source: bytes) -> bytearray:
    low, high = source[0::2], source[1::2]
    green = _or(high.translate(_GREEN_15_HIGH), low.translate(_GREEN_15_LOW))
    return _pixels(low.translate(_FIVE_LOW), green, high.translate(_RED_15))


def true_16(source: bytes) -> bytearray:
    low, high = source[0::2], source[1::2]
    green = _or(high.translate(_GREEN_16_HIGH), low.translate(_GREEN_16_LOW))
    return _pixels(low.translate(_FIVE_LOW), green, high.translate(_RED_16))


def true_24(source: bytes) -> bytearray:
    return _pixels(source[0::3], source[1::3], source[2::3])


def true_32(source: bytes) -> bytearray:
    return bytearray(source)


_TRUE: Final[dict[int, Callable[[bytes], bytearray]]] = {
    15: true_15,
    16: true_16,
    24: true_24,
    32: true_32,
}
_INDICES: Final[dict[int, Callable[[bytes], bytes]]] = {2: two_bits, 4: planar, 8: bytes}


class Look(NamedTuple):
    """What characters look like."""

    across: int
    """Pixels of a character, 8 or 9."""
    down: int
    repeat: int
    """How many of the screen's lines show one of a character's."""
    fonts: tuple[bytes, bytes]
    """The character sets for attributes with bit 3 clear and set, 32 bytes a character."""
    mode: int
    """The attribute controller's mode: bit 2 line graphics, 3 blinking instead of bright."""

    def tile(self, character: int, attribute: int) -> list[bytes]:
        """One character's lines, as indices of colours."""
        font = self.fonts[attribute >> 3 & 1]
        back = attribute >> 4 & (7 if self.mode & 8 else 15)
        pair = bytes.maketrans(b"\0\1", bytes((back, attribute & 15)))
        goes_on = self.mode & 4 and 0xC0 <= character <= 0xDF
        lines = []
        for line in font[32 * character : 32 * character + self.down]:
            dots = _EIGHT[line]
            if self.across == 9:
                dots += dots[7:] if goes_on else b"\0"
            lines.append(dots.translate(pair))
        return lines


class Painter:
    """Keeps a picture up to date with its adapter."""

    def __init__(self, vga: Vga, picture: memoryview) -> None:
        """``picture`` follows the adapter's memory; ``MOST`` bytes are enough."""
        self._vga = vga
        self._picture = picture
        self.forget()

    def forget(self) -> None:
        """Work everything out again the next time."""
        self._mode: Mode | None = None
        self._key: object = None
        self._sources: list[object] = []
        self._look: Look | None = None
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def refresh(self, everything: bool) -> Update:
        vga, vbe = self._vga, self._vga.vbe
        if everything:
            self.forget()
        if vbe.enabled:
            changed = self._linear() if vbe.registers[vga_vbe.BPP] == 32 else self._graphics()
        elif vga.sequencer[1] & 0x20 or not vga.attribute_index & 0x20:
            changed = self._dark()
        elif vga.graphics[6] & 1:
            changed = self._graphics()
        else:
            changed = self._text()
        assert self._mode is not None
        return Update(self._mode, _joined(changed))

    # How large it is

    def _size(self, columns: int) -> tuple[int, int]:
        """Pixels across, from ``columns`` a character, and lines."""
        crtc = self._vga.crtc
        height = 1 + (crtc[0x12] | (crtc[7] & 2) << 7 | (crtc[7] & 0x40) << 3)
        return (crtc[1] + 1) * columns, height

    def _begin(self, width: int, height: int, key: object, sources: int) -> None:
        """The picture is of this size, worked out from so many lines in the way of ``key``."""
        mode = Mode(len(self._vga.memory.vram), width * PIXEL, width, height)
        if (mode, key) != (self._mode, self._key) or sources != len(self._sources):
            self._sources = [None] * sources
        self._mode, self._key = mode, key

    def _put(self, top: int, lines: bytes | bytearray, most: int = 1 << 30) -> int:
        """Put whole lines into the picture, no more than ``most`` and than there are; how many."""
        assert self._mode is not None
        pitch = self._mode.pitch
        count = min(len(lines) // pitch, most, self._mode.height - top)
        self._picture[top * pitch : (top + count) * pitch] = lines[: count * pitch]
        return count

    def _dark(self) -> list[tuple[int, int]]:
        width, height = (self._mode.width, self._mode.height) if self._mode else (640, 400)
        self._begin(width, height, "dark", 1)
        if self._sources[0] is not None:
            return []
        self._sources[0] = b""
        self._put(0, bytes(width * height * PIXEL))
        return [(0, height)]

    # Colours

    def _colour(self, index: int) -> tuple[int, int, int]:
        """Red, green, blue of an entry of the DAC."""
        at = 3 * (index & self._vga.mask)
        red, green, blue = self._vga.dac[at : at + 3]
        if self._vga.vbe.wide_dac:
            return red, green, blue
        return _WIDE[red], _WIDE[green], _WIDE[blue]

    def _sixteen(self) -> list[tuple[int, int, int]]:
        """The colours of the attribute controller."""
        attributes = self._vga.attributes
        mode, select, enabled = attributes[0x10], attributes[0x14], attributes[0x12]
        found = []
        for index in range(16):
            entry = attributes[index & enabled]
            if mode & 0x80:
                entry = entry & 0x0F | (select & 0x0F) << 4
            else:
                entry = entry & 0x3F | (select & 0x0C) << 4
            found.append(self._colour(entry))
        return found

    # Text

    def _text(self) -> list[tuple[int, int]]:
        vga, crtc = self._vga, self._vga.crtc
        across = 8 if vga.sequencer[1] & 1 else 9
        width, height = self._size(across)
        wide = bool(vga.sequencer[1] & 8)
        columns, down = width // across, (crtc[9] & 0x1F) + 1
        repeat = 2 if crtc[9] & 0x80 else 1
        rows = -(-height // (down * repeat))
        attributes = vga.attributes[0x10]
        font = self._font()
        colours = self._sixteen()
        look = Look(across, down, repeat, font, attributes & 0x0C)
        if look != self._look:
            self._look, self._tiles = look, {}
        self._begin(width << wide, height, (look, tuple(colours), wide), rows)
        palette = Palette(colours)
        start = crtc[0x0C] << 8 | crtc[0x0D]
        cursor = self._cursor(start, columns, down)
        changed = []
        for row in range(rows):
            source = vga.memory.characters(start + row * 2 * crtc[0x13], columns)
            shape = cursor if cursor is not None and cursor[0] == row else None
            if self._sources[row] == (source, shape):
                continue
            self._sources[row] = source, shape
            lines = self._text_row(source, shape)
            dots = b"".join(line for line in lines for _ in range(repeat))
            pixels = palette.pixels(_twice(dots) if wide else dots)
            top = row * down * repeat
            changed.append((top, self._put(top, pixels)))
        return changed

    def _font(self) -> tuple[bytes, bytes]:
        """The character sets for attributes with bit 3 clear and set: 32 bytes a character."""
        select, vram = self._vga.sequencer[3], self._vga.memory.vram
        found = []
        for number in (select & 3 | select >> 2 & 4, select >> 2 & 3 | select >> 3 & 4):
            at = ((number & 3) * 2 + (number >> 2)) * 0x2000
            found.append(bytes(vram[4 * at + 2 : 4 * (at + 0x2000) : 4]))
        return found[0], found[1]

    def _cursor(self, start: int, columns: int, down: int) -> tuple[int, int, int, int] | None:
        """Row, column, first and last line of the cursor; None without."""
        crtc = self._vga.crtc
        first, last = crtc[0x0A] & 0x1F, min(crtc[0x0B] & 0x1F, down - 1)
        if crtc[0x0A] & 0x20 or first > last or not crtc[0x13]:
            return None
        row, column = divmod(((crtc[0x0E] << 8 | crtc[0x0F]) - start) & 0xFFFF, 2 * crtc[0x13])
        return (row, column, first, last) if column < columns else None

    def _text_row(self, source: bytes, cursor: tuple[int, int, int, int] | None) -> list[bytes]:
        """The lines of one row of characters, as indices."""
        assert self._look is not None
        tiles, look = self._tiles, self._look
        if len(tiles) > _MOST_TILES:
            tiles.clear()
        cells = []
        for key in zip(source[0::2], source[1::2], strict=True):
            found = tiles.get(key)
            if found is None:
                found = tiles[key] = look.tile(*key)
            cells.append(found)
        if cursor is not None:
            _, column, first, last = cursor
            block = bytes([source[2 * column + 1] & 15]) * look.across
            shown = cells[column]
            cells[column] = shown[:first] + [block] * (last + 1 - first) + shown[last + 1 :]
        return [b"".join(line) for line in zip(*cells, strict=True)]

    # Graphics

    def _graphics(self) -> list[tuple[int, int]]:
        vga, vbe = self._vga, self._vga.vbe
        double = bool(vga.sequencer[1] & 8) and not vbe.enabled
        colours: list[tuple[int, int, int]] = []
        if vbe.enabled:
            depth = vbe.registers[vga_vbe.BPP]
            width, height = vbe.registers[vga_vbe.XRES], vbe.registers[vga_vbe.YRES]
        else:
            depth = 8 if vga.graphics[5] & 0x40 else 2 if vga.graphics[5] & 0x20 else 4
            width, height = self._size(8)
            double = depth == 8 or double
            width = width * 2 if double and depth != 8 else width
        pixels = width // 2 if double else width
        if depth == 8:
            colours = [self._colour(index) for index in range(256)]
        elif depth <= 4:
            colours = self._sixteen()
        length = pixels // 8 * 4 if depth <= 4 else pixels * ((depth + 7) // 8)
        starts, repeat = self._line_starts(height, length)
        self._begin(width, height, (depth, double, repeat, tuple(colours)), len(starts))
        paint = _painter(depth, double, colours)
        vram, sources, changed = vga.memory.vram, self._sources, []
        for number, start in enumerate(starts):
            source = bytes(vram[start : start + length]).ljust(length, b"\0")
            if sources[number] == source:
                continue
            sources[number] = source
            line = paint(source)
            line = line.ljust(width * PIXEL, b"\0")
            changed.append((number * repeat, self._put(number * repeat, line * repeat)))
        return changed

    def _line_starts(self, height: int, length: int) -> tuple[list[int], int]:
        """Where in memory each source line begins, and how many of the screen's show it."""
        vbe, crtc = self._vga.vbe, self._vga.crtc
        if vbe.enabled:
            return [vbe.start + line * vbe.pitch for line in range(height)], 1
        double, scans = crtc[9] >> 7, (crtc[9] & 0x1F) + 1
        plain = crtc[0x17] & 3 == 3
        repeat = scans << double if plain else 1 << double
        lines_a_row = 1 if plain else scans
        pitch, start = crtc[0x13] * 8, (crtc[0x0C] << 8 | crtc[0x0D]) * 4
        split = crtc[0x18] | (crtc[7] & 0x10) << 4 | (crtc[9] & 0x40) << 3
        shift = 14 + (crtc[0x17] >> 6 & 1)
        found, base, first = [], start, 0
        for line in range(-(-height // repeat)):
            if line * repeat > split and base == start and not first:
                base, first = 0, line
            row, scan = divmod(line - first, lines_a_row)
            at = base + row * pitch
            if not crtc[0x17] & 1:
                at = at & ~(1 << shift) | (scan & 1) << shift
            if not crtc[0x17] & 2:
                at = at & ~(2 << shift) | (scan >> 1 & 1) << shift + 1
            found.append(at % (1 << 18))
        return found, repeat

    def _linear(self) -> list[tuple[int, int]]:
        """Pixels that are in memory as they are to be shown."""
        vga, vbe = self._vga, self._vga.vbe
        width, height = vbe.registers[vga_vbe.XRES], vbe.registers[vga_vbe.YRES]
        mode = Mode(vbe.start, vbe.pitch, width, height)
        bands = -(-height // BAND)
        if mode != self._mode or len(self._sources) != bands:
            self._sources = [None] * bands
        self._mode, self._key = mode, "linear"
        changed = []
        for band in range(bands):
            at = mode.offset + band * BAND * mode.pitch
            lines = min(BAND, height - band * BAND)
            source = bytes(vga.memory.vram[at : at + lines * mode.pitch])
            if source != self._sources[band]:
                self._sources[band] = source
                changed.append((band * BAND, lines))
        return changed


def _painter(
    depth: int, double: bool, colours: list[tuple[int, int, int]]
) -> Callable[[bytes], bytearray]:
    """From a source line to pixels."""
    if depth > 8:
        return _TRUE[depth]
    palette = Palette(colours)
    indices = _INDICES[depth]
    if double:
        return lambda source: palette.pixels(_twice(indices(source)))
    return lambda source: palette.pixels(indices(source))


def _joined(changed: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges of lines in order, those that touch made one."""
    found: list[tuple[int, int]] = []
    for top, count in changed:
        if found and sum(found[-1]) == top:
            found[-1] = found[-1][0], found[-1][1] + count
        elif count:
            found.append((top, count))
    return found
