"""The Bochs VBE extension of a VGA: the registers that choose modes with a linear framebuffer.

Bochs's "VBE DISPI" interface as Linux's bochs-drm and SeaBIOS's VGA BIOS use it.

  1CEh  index, 16 bits        1CFh, 1D0h  data, 16 bits
  0 identifier (B0C0h to B0C5h)   1, 2 pixels across and down   3 bits a pixel: 4, 8, 15, 16, 24, 32
  4 enable: 0 on, 1 show limits instead of modes, 5 eight bits a colour in the DAC,
            6 linear framebuffer, 7 leave memory as it is
  5 bank of the window at A0000h   6, 7 virtual size   8, 9 offset in it   10 memory in 64 KiB

A mode is chosen while it is switched off and checked when it is switched on.
"""

from __future__ import annotations

from typing import Final

ID, XRES, YRES, BPP, ENABLE, BANK, VIRTUAL_WIDTH, VIRTUAL_HEIGHT, X, Y, MEMORY = range(11)
COUNT: Final = 11
ENABLED, GET_LIMITS, DAC_8BIT, LINEAR, KEEP_MEMORY = 1, 2, 0x20, 0x40, 0x80
FIRST_ID, LAST_ID = 0xB0C0, 0xB0C5
LIMITS: Final = {XRES: 1920, YRES: 1200, BPP: 32}
_DEPTHS: Final = (4, 8, 15, 16, 24, 32)


class Vbe:
    """The registers, and what they mean."""

    def __init__(self, memory: int) -> None:
        """``memory`` in bytes."""
        self._memory = memory
        self.index = 0
        self.registers = [0] * COUNT
        self.registers[ID] = LAST_ID
        self.registers[MEMORY] = memory >> 16

    @property
    def enabled(self) -> bool:
        return bool(self.registers[ENABLE] & ENABLED)

    @property
    def wide_dac(self) -> bool:
        """Whether the palette's colours have eight bits."""
        return bool(self.registers[ENABLE] & DAC_8BIT)

    @property
    def bank(self) -> int:
        return self.registers[BANK] if self.enabled else 0

    @property
    def pitch(self) -> int:
        """Bytes of a line in memory, all planes together."""
        return self._pitch(self.registers[VIRTUAL_WIDTH])

    @property
    def start(self) -> int:
        """Where in memory the picture begins."""
        return self.registers[Y] * self.pitch + self._pitch(self.registers[X])

    def _pitch(self, pixels: int) -> int:
        depth = self.registers[BPP]
        return pixels // 8 * 4 if depth == 4 else pixels * ((depth + 7) // 8)

    def read(self, index: int) -> int:
        if index >= COUNT:
            return 0
        if self.registers[ENABLE] & GET_LIMITS and index in LIMITS:
            return LIMITS[index]
        return self.registers[index]

    def write(self, index: int, value: int) -> bool:
        """Write a register; whether memory is to be cleared."""
        value &= 0xFFFF
        registers = self.registers
        if index == ID:
            if FIRST_ID <= value <= LAST_ID:
                registers[ID] = value
        elif index in LIMITS:
            if index == BPP:
                value = value or 8
            if value <= LIMITS[index] and not self.enabled and (index != BPP or value in _DEPTHS):
                registers[index] = value & ~7 if index == XRES else value
        elif index == BANK:
            registers[BANK] = min(value, (self._memory >> 16) - 1)
        elif index in (VIRTUAL_WIDTH, X, Y):
            registers[index] = value
            self._fit()
        elif index == ENABLE:
            return self._switch(value)
        return False

    def _switch(self, value: int) -> bool:
        registers = self.registers
        was = self.enabled
        registers[ENABLE] = value & (ENABLED | GET_LIMITS | DAC_8BIT | LINEAR | KEEP_MEMORY)
        if not value & ENABLED:
            registers[BANK] = 0
            return False
        if was:
            return False
        if not (registers[XRES] and registers[YRES] and registers[BPP]):
            registers[ENABLE] &= ~ENABLED
            return False
        registers[VIRTUAL_WIDTH] = registers[XRES]
        registers[X] = registers[Y] = registers[BANK] = 0
        self._fit()
        return not value & KEEP_MEMORY

    def _fit(self) -> None:
        """Keep the virtual picture within memory."""
        registers = self.registers
        if not self.enabled:
            return
        registers[VIRTUAL_WIDTH] = max(registers[VIRTUAL_WIDTH], registers[XRES])
        if self.pitch * registers[YRES] > self._memory:
            registers[VIRTUAL_WIDTH] = registers[XRES]
        registers[VIRTUAL_HEIGHT] = min(self._memory // max(self.pitch, 1), 0xFFFF)
        registers[X] = min(registers[X], registers[VIRTUAL_WIDTH] - registers[XRES])
        registers[Y] = min(registers[Y], max(0, registers[VIRTUAL_HEIGHT] - registers[YRES]))
