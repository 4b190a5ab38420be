"""A VGA's memory as the processor sees it at A0000h to BFFFFh.

IBM Video Subsystem Technical Reference (S66X-4240), "VGA Function": the graphics controller between
processor and the four maps (planes).

Byte ``o`` of plane ``p`` is byte ``4 * o + p`` of the memory, so that chained accesses (256
colours, and the banks of VBE modes) are plain memory.  There the window is mapped as the guest's
RAM.  So it is in text modes: characters and attributes then are in a place of their own, in the
order in which the processor sees them, and go back to planes 0 and 1 when a guest looks at memory
any other way (to load a font, say).  Everything else is worked out access by access.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

WINDOW: Final = 0xA0000
WINDOW_SIZE: Final = 0x20000
TEXT_SIZE: Final = 0x8000
"""Bytes of the window that a text mode shows at B0000h or B8000h."""
BANK: Final = 0x10000
_MAPS: Final = ((0, 0x20000), (0, 0x10000), (0x10000, 0x8000), (0x18000, 0x8000))
"""By the graphics controller's memory map select: where in the window memory is, and how much."""
_SPREAD: Final = tuple(
    sum(0xFF << 8 * plane for plane in range(4) if mask >> plane & 1) for mask in range(16)
)
"""Four bits, one a plane, to four bytes of ones or zeros."""
_REPEAT: Final = 0x01010101

MapWindow = Callable[[int, int, int], None]
"""(address, offset in the adapter's frame, length): memory that is to be seen there, and nowhere
else; without length there is none, and all accesses come one by one."""


class VgaMemory:
    """The memory behind the window; registers that matter to it are handed to ``configure``."""

    def __init__(self, frame: memoryview, size: int, map_window: MapWindow | None) -> None:
        """``frame`` begins with ``size`` bytes of memory, and its last ``TEXT_SIZE`` are for text.

        ``map_window`` is None where the window cannot be mapped.
        """
        self.vram, self._text = frame[:size], frame[-TEXT_SIZE:]
        self._text_at = len(frame) - TEXT_SIZE
        self._words = self.vram.cast("I")
        self._map_window = map_window
        self.text_apart = False  # whether characters are in ``text``
        self._latch = 0
        self._base, self._size = _MAPS[0]
        self._bank = 0  # an offset in the window's unit
        self._chained = self._odd_even = self._is_text = False
        self._map_mask = 0  # bytes of the planes that are written
        self._planes = 0
        self._graphics = bytes(16)

    def configure(
        self, sequencer: bytearray, graphics: bytearray, enabled: bool, bank: int
    ) -> None:
        """Registers were written; ``bank`` is VBE's, in units of 64 KiB."""
        self._base, self._size = _MAPS[graphics[6] >> 2 & 3] if enabled else (0, 0)
        self._bank = bank * BANK
        self._chained = bool(sequencer[4] & 8)
        self._odd_even = not self._chained and bool(graphics[5] & 0x10)
        self._is_text = self._odd_even and sequencer[2] & 3 == 3 and not graphics[6] & 1
        self._planes = sequencer[2] & 15
        self._map_mask = _SPREAD[self._planes]
        self._graphics = bytes(graphics)
        self._remap()

    # The window as RAM

    def _remap(self) -> None:
        if self._map_window is None:
            return
        offset, size = self._wanted()
        is_text = size > 0 and offset == self._text_at
        if is_text and not self.text_apart:
            self._part_text()
        elif self.text_apart and not is_text:
            self._join_text()
        self.text_apart = is_text
        self._map_window(WINDOW + self._base, offset, size)

    def _wanted(self) -> tuple[int, int]:
        """What of the frame can be mapped in the window: offset, and length or 0."""
        if self._chained:
            fits = self._size >= BANK and self._bank + self._size <= len(self.vram)
            return (self._bank, self._size) if fits and self._planes == 15 else (0, 0)
        fits = self._size == TEXT_SIZE and not self._bank and not self._graphics[4] & 2
        return (self._text_at, self._size) if fits and self._is_text else (0, 0)

    def _part_text(self) -> None:
        for plane in (0, 1):
            self._text[plane::2] = self.vram[plane : 2 * TEXT_SIZE : 4]

    def _join_text(self) -> None:
        for plane in (0, 1):
            self.vram[plane : 2 * TEXT_SIZE : 4] = self._text[plane::2]

    def saved(self) -> bytes:
        """All of the memory, as if no text were apart."""
        if self.text_apart:
            self._join_text()
        return bytes(self.vram)

    def put_back(self, content: bytes) -> None:
        """Have the memory be what ``saved`` gave; ``configure`` is to be called then."""
        self.vram[:] = content
        self.text_apart = False

    def characters(self, start: int, count: int) -> bytes:
        """Characters and attributes by turns, from the ``start``-th character on.

        At the end of the 64 KiB of a plane they begin again.
        """
        limit = TEXT_SIZE // 2 if self.text_apart else BANK
        start %= limit
        found = bytearray(2 * count)
        done = 0
        while done < count:
            part = min(count - done, limit - start)
            for plane in (0, 1):
                found[2 * done + plane : 2 * (done + part) : 2] = (
                    self._text[2 * start + plane : 2 * (start + part) : 2]
                    if self.text_apart
                    else self.vram[4 * start + plane : 4 * (start + part) : 4]
                )
            done, start = done + part, 0
        return bytes(found)

    # The window one access at a time

    def read(self, offset: int, size: int) -> int:
        """Read from the window."""
        value = 0
        for i in range(size):
            value |= self._read_byte(offset + i) << 8 * i
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Write to the window."""
        for i in range(size):
            self._write_byte(offset + i, value >> 8 * i & 0xFF)

    def _read_byte(self, offset: int) -> int:
        at = offset - self._base
        if not 0 <= at < self._size:
            return 0xFF
        if self.text_apart:  # not all of an access was within the mapping
            return self._text[at]
        at += self._bank
        if self._chained:
            return self.vram[at] if at < len(self.vram) else 0xFF
        if self._odd_even:
            at = (at & ~1) << 1 | self._graphics[4] & 2 | at & 1
            return self.vram[at] if at < len(self.vram) else 0xFF
        if at >= len(self._words):
            return 0xFF
        self._latch = latch = self._words[at]
        if not self._graphics[5] & 8:
            return latch >> 8 * (self._graphics[4] & 3) & 0xFF
        differ = (latch ^ _SPREAD[self._graphics[2] & 15]) & _SPREAD[self._graphics[7] & 15]
        differ |= differ >> 16
        return ~(differ | differ >> 8) & 0xFF

    def _write_byte(self, offset: int, value: int) -> None:
        at = offset - self._base
        if not 0 <= at < self._size:
            return
        if self.text_apart:
            self._text[at] = value
            return
        at += self._bank
        if self._chained or self._odd_even:
            plane = at & 3
            if self._odd_even:
                plane = self._graphics[4] & 2 | at & 1
                at = (at & ~1) << 1 | plane
            if self._planes >> plane & 1 and at < len(self.vram):
                self.vram[at] = value
        elif at < len(self._words):
            mask = self._map_mask
            self._words[at] = self._words[at] & ~mask | self._combined(value) & mask

    def _combined(self, value: int) -> int:
        """What goes to the four planes (graphics controller, write modes 0 to 3)."""
        registers, latch = self._graphics, self._latch
        mode = registers[5] & 3
        if mode == 1:
            return latch
        mask = registers[8]
        if mode == 2:
            data = _SPREAD[value & 15]
        else:
            turn = registers[3] & 7
            value = (value >> turn | value << 8 - turn) & 0xFF
            if mode == 3:
                mask &= value
                data = _SPREAD[registers[0] & 15]
            else:
                fixed = _SPREAD[registers[1] & 15]
                data = value * _REPEAT & ~fixed | _SPREAD[registers[0] & 15] & fixed
        operation = registers[3] >> 3 & 3
        if operation == 1:
            data &= latch
        elif operation == 2:
            data |= latch
        elif operation == 3:
            data ^= latch
        bits = mask * _REPEAT
        return data & bits | latch & ~bits
