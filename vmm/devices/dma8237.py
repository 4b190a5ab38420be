"""Two 8237A DMA controllers, the first cascaded on channel 4, with the page registers of a PC.

Intel, "8237A High Performance Programmable DMA Controller" (231466); pages: Intel 82371SB, 2.5.2.

  channels 0-3: 8 bits, ports 0h-Fh       channels 4-7: 16 bits, ports C0h-DFh, every second one
  +0 2 4 6  address of a channel   +1 3 5 7  count less one; two bytes each, the low one first
  +8  read: status: 3:0 terminal count (cleared by reading), 7:4 request   write: command
  +9  request    +A  one mask bit: 2 set, 1:0 channel   +B  mode: 1:0 channel, 3:2 towards memory
      (1) or from it (2), 4 again from the beginning, 5 downwards
  +C  the next byte is a low one   +D  all is as after power-on   +E  no masks   +F  all four masks
  page registers (bits 23:16 of an address)  87 83 81 82 for channels 0 to 3, 8B 89 8A for 5 to 7;
  the others of 80h-8Fh are memory, 80h where firmware says how far it is
"""

from __future__ import annotations

from typing import Final

from vmm.bus import PortBus
from vmm.memory import GuestAddressError, GuestMemory

PAGES: Final = (0x7, 0x3, 0x1, 0x2, 0xF, 0xB, 0x9, 0xA)
"""The page register of each channel."""
TO_MEMORY, FROM_MEMORY = 1, 2
AUTOMATIC, DOWN = 0x10, 0x20


class Channel:
    """One channel."""

    def __init__(self) -> None:
        self.base = [0, 0]
        """Address and count as written; after each other they are octets of a register."""
        self.current = [0, 0]
        self.mode = 0


class Chip:
    """One controller."""

    def __init__(self) -> None:
        self.channels = [Channel() for _ in range(4)]
        self.reset()

    def reset(self) -> None:
        """Master clear."""
        self.command = self.ended = 0
        self.mask = 15
        self._high = False

    def read(self, register: int) -> int:
        if register < 8:
            value = self.channels[register >> 1].current[register & 1]
            return value >> 8 * self._turn() & 0xFF
        if register == 8:
            value, self.ended = self.ended, 0
            return value
        return self.mask | 0xF0 if register == 15 else 0

    def _turn(self) -> bool:
        """Whether this byte is the high one."""
        self._high = not self._high
        return not self._high

    def write(self, register: int, value: int) -> None:
        if register < 8:
            channel, which = self.channels[register >> 1], register & 1
            shift = 8 * self._turn()
            word = channel.base[which] & 0xFF00 >> shift | value << shift
            channel.base[which] = channel.current[which] = word
        elif register == 8:
            self.command = value
        elif register == 10:
            bit = 1 << (value & 3)
            self.mask = self.mask | bit if value & 4 else self.mask & ~bit
        elif register == 11:
            self.channels[value & 3].mode = value
        elif register == 12:
            self._high = False
        elif register == 13:
            self.reset()
        elif register == 14:
            self.mask = 0
        elif register == 15:
            self.mask = value & 15


class Dma8237:
    """The pair."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self.chips = [Chip(), Chip()]
        self.pages = bytearray(16)

    def attach(self, ports: PortBus) -> None:
        ports.map_bytes(0x00, 16, self.chips[0].read, self.chips[0].write)
        ports.map_bytes(0xC0, 32, self._read_wide, self._write_wide)
        ports.map_bytes(0x80, 16, self.pages.__getitem__, self.pages.__setitem__)

    def _read_wide(self, offset: int) -> int:
        return self.chips[1].read(offset >> 1)

    def _write_wide(self, offset: int, value: int) -> None:
        if not offset & 1:
            self.chips[1].write(offset >> 1, value)

    def window(self, number: int, direction: int, most: int) -> memoryview | None:
        """What of guest memory 8-bit channel ``number`` moves next, ``most`` octets of it at most.

        None if the channel is masked, moves nothing in that direction, or not where memory is.
        Only upward transfers are made, as nobody makes others.
        """
        chip = self.chips[0]
        channel = chip.channels[number]
        ready = channel.mode >> 2 & 3 == direction and not channel.mode & DOWN
        if chip.mask >> number & 1 or chip.command & 4 or not ready:
            return None
        start, left = channel.current[0], channel.current[1] + 1
        length = min(left, most, 0x10000 - start)
        try:
            return self._memory.view(self.pages[PAGES[number]] << 16 | start, length)
        except GuestAddressError:
            return None

    def moved(self, number: int, count: int) -> bool:
        """``count`` octets of the window were moved; whether that was the terminal count."""
        chip = self.chips[0]
        channel = chip.channels[number]
        channel.current[0] = channel.current[0] + count & 0xFFFF
        left = channel.current[1] - count
        channel.current[1] = left & 0xFFFF
        if left >= 0:
            return False
        chip.ended |= 1 << number
        if channel.mode & AUTOMATIC:
            channel.current[:] = channel.base
        else:
            chip.mask |= 1 << number
        return True
