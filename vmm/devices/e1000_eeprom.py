"""The 82540EM's EEPROM: 64 words, read through a register or bit by bit (Microwire).

Software Developer's Manual 317453, 5.3 to 5.6 and 13.4.3.

  EECD  0 clock  1 chip select  2 data in  3 data out  6 request  7 grant  8 present

A command is a start bit, two bits of operation and six of address, the most significant first; the
data follow, a bit with each rising clock.
"""

from __future__ import annotations

import struct
from typing import Final

CLOCK, SELECT, DATA_IN, DATA_OUT, REQUEST, GRANT, PRESENT = 1, 2, 4, 8, 0x40, 0x80, 0x100
WORDS: Final = 64
SUM: Final = 0xBABA
"""What all words add up to."""
COMMAND_BITS: Final = 9
READ: Final = 0b110


class Eeprom:
    """The words, and what is being done with them."""

    def __init__(self, address: bytes) -> None:
        words = [0xFFFF] * WORDS
        words[0:3] = struct.unpack("<3H", address)
        words[0x0A:0x10] = [0x4008, 0x001E, 0x8086, 0x100E, 0x8086, 0x3040]
        words[WORDS - 1] = (SUM - sum(words[:-1])) & 0xFFFF
        self._words = tuple(words)
        self._lines = 0
        self._command = 0
        self._bits = 0
        self._reading = -1  # the next bit, counted from the first word's most significant
        self._out = True

    def word(self, number: int) -> int:
        return self._words[number % WORDS]

    def read(self) -> int:
        """EECD."""
        grant = GRANT if self._lines & REQUEST else 0
        return self._lines | PRESENT | grant | (DATA_OUT if self._out else 0)

    def write(self, value: int) -> None:
        """EECD."""
        before, self._lines = self._lines, value & (CLOCK | SELECT | DATA_IN | REQUEST)
        if not value & SELECT:
            self._command = self._bits = 0
            self._reading, self._out = -1, True
        elif value & CLOCK and not before & CLOCK:
            self._tick(bool(value & DATA_IN))

    def _tick(self, bit: bool) -> None:
        if self._reading >= 0:
            word = self.word(self._reading >> 4)
            self._out = bool(word >> (15 - self._reading % 16) & 1)
            self._reading = (self._reading + 1) % (16 * WORDS)
        elif self._bits or bit:  # a command begins with a one
            self._command = self._command << 1 | bit
            self._bits += 1
            if self._bits == COMMAND_BITS:
                if self._command >> 6 == READ:
                    self._reading, self._out = 16 * (self._command & 0x3F), False
                self._command = self._bits = 0
