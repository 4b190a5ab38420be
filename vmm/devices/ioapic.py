"""The I/O APIC: Intel 82093AA (290566), 24 inputs, as memory at FEC00000h.

  00 index   10 data   40 end of interrupt: a vector (of later versions)
  Registers  0 27:24 identity   1 version, 23:16 the last input   2 arbitration
  10+2i  7:0 vector  10:8 mode  11 logical destination  12 pending  13 active low  14 level arrived
         15 level triggered  16 masked          11+2i  31:24 destination

ISA's interrupts are on the inputs of their numbers, but for the timer's, which is on input 2.  A
board's lines are high when they are active, whatever bit 13 says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.bus import MmioBus
from vmm.devices.lapic import FIXED, LOWEST, NMI, Lapic

BASE, SIZE = 0xFEC0_0000, 0x1000
INPUTS: Final = 24
TIMER_INPUT: Final = 2
"""Where interrupt 0 arrives."""
VERSION: Final = (INPUTS - 1) << 16 | 0x11
MASKED, LEVEL, ARRIVED, LOGICAL = 1 << 16, 1 << 15, 1 << 14, 1 << 11
WRITABLE: Final = 0xFF00_0000_0001_AFFF
INDEX, DATA, END = 0x00, 0x10, 0x40


class IoApic:
    """The chip."""

    def __init__(self, lapic: Lapic, nmi: Callable[[], None]) -> None:
        self._lapic = lapic
        self._nmi = nmi
        self._index = self._identity = 0
        self._entries = [MASKED] * INPUTS
        self._levels = 0  # a bit for each input

    def attach(self, mmio: MmioBus) -> None:
        mmio.map(BASE, SIZE, self.read, self.write)

    # Inputs

    def set_irq(self, number: int, level: bool) -> None:
        """Drive the input of an ISA interrupt."""
        number = TIMER_INPUT if number == 0 else number
        bit = 1 << number
        rising = level and not self._levels & bit
        self._levels = self._levels | bit if level else self._levels & ~bit
        entry = self._entries[number]
        if entry & LEVEL:
            self._serve_level(number)
        elif rising and not entry & MASKED:
            self._deliver(entry)

    def _serve_level(self, number: int) -> None:
        """Send an interrupt while the line is active and the last one was served."""
        entry = self._entries[number]
        if self._levels >> number & 1 and not entry & (MASKED | ARRIVED):
            self._entries[number] |= ARRIVED
            self._deliver(entry)

    def _deliver(self, entry: int) -> None:
        mode = entry >> 8 & 7
        if not self._lapic.is_destination(entry >> 56, bool(entry & LOGICAL)):
            return
        if mode == NMI:
            self._nmi()
        elif mode in (FIXED, LOWEST):
            self._lapic.accept(entry & 0xFF, bool(entry & LEVEL))

    def ended(self, vector: int) -> None:
        """A level-triggered interrupt was served: it comes again if its line is still active."""
        for number, entry in enumerate(self._entries):
            if entry & ARRIVED and entry & 0xFF == vector:
                self._entries[number] = entry & ~ARRIVED
                self._serve_level(number)

    # Registers

    def read(self, offset: int, size: int) -> int:
        if offset == INDEX:
            return self._index
        if offset != DATA or size != 4:
            return 0
        index = self._index
        if index in (0, 2):
            return self._identity
        if index == 1:
            return VERSION
        number = (index - 0x10) >> 1
        if 0 <= number < INPUTS:
            return self._entries[number] >> 32 * (index & 1) & 0xFFFF_FFFF
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == INDEX:
            self._index = value & 0xFF
        elif offset == DATA and size == 4:
            self._write_data(value)
        elif offset == END:
            self.ended(value & 0xFF)

    def _write_data(self, value: int) -> None:
        index = self._index
        number = (index - 0x10) >> 1
        if index == 0:
            self._identity = value & 0x0F00_0000
        elif 0 <= number < INPUTS:
            shift = 32 * (index & 1)
            kept = self._entries[number] & ~(0xFFFF_FFFF << shift)
            entry = (kept | value << shift) & WRITABLE | self._entries[number] & ARRIVED
            if not entry & LEVEL:
                entry &= ~ARRIVED
            self._entries[number] = entry
            if entry & LEVEL:
                self._serve_level(number)
