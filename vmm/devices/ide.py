"""The IDE function of Intel's PIIX3 (82371SB, 290550): two channels, and bus master DMA.

  channel   0: ports 1F0-1F7 and 3F6, interrupt 14    1: ports 170-177 and 376, interrupt 15
  The registers of a channel are in ``vmm.devices.ata.channel``.

  Configuration   40 u16  42 u16  timing of the channels; 15: the channel's ports are decoded

  Base address 4, 16 I/O ports; channel 1 is at 8 ("Programming Interface for Bus Master IDE
  Controller", revision 1.0)
  0  command: 0 start, 3 towards memory
  2  status: 0 active, 1 error and 2 interrupt (written 1 to clear), 5 and 6 drives do DMA
  4  u32 address of the table of physical regions
  A region: u32 address, u16 bytes (0: 64 KiB), u16 with 15 for the last one

The ports have their place by compatibility, whatever firmware writes.  PCI's bus master bit off
keeps DMA from starting.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from vmm.bus import PortBus
from vmm.devices.ata.action import Device
from vmm.devices.ata.channel import Channel
from vmm.devices.ata.requests import Piece, Requests, gather
from vmm.devices.pci import COMMAND_MASTER, Bar, PciDevice
from vmm.devices.virtio.device import Post
from vmm.memory import GuestMemory

BASES = ((0x1F0, 0x3F6), (0x170, 0x376))
IRQS = (14, 15)
START, TO_MEMORY = 0x01, 0x08
ACTIVE, ERROR, INTERRUPT, CAPABLE = 0x01, 0x02, 0x04, 0x60
REGION = struct.Struct("<IHH")
LAST = 0x8000
MOST_REGIONS = 0x1_0000 // REGION.size
"""A table lies within 64 KiB."""
TIMING_ENABLED = 0x8000


class BusMaster:
    """The DMA engine of one channel."""

    def __init__(self, memory: GuestMemory, allowed: Callable[[], bool]) -> None:
        """``allowed`` says whether the function may use the bus."""
        self._memory = memory
        self._allowed = allowed
        self.started: Callable[[], None] = lambda: None
        self.reset()

    def reset(self) -> None:
        self._command = 0
        self._status = 0
        self._table = 0
        self.active = False

    # What the channel asks

    def gather(self, length: int) -> list[Piece]:
        return gather(self._memory, self._regions(), length)

    def _regions(self) -> Iterator[tuple[int, int]]:
        at = self._table
        for _ in range(MOST_REGIONS):
            address, size, flags = self._memory.read_struct(REGION, at)
            yield address & ~1, (size & ~1) or 0x1_0000
            if flags & LAST:
                return
            at += REGION.size

    def finished(self) -> None:
        self.active = False

    def failed(self, broken: bool) -> None:
        self.active = False
        if broken:
            self._status |= ERROR

    def interrupted(self) -> None:
        self._status |= INTERRUPT

    # Registers

    def read(self, offset: int, size: int) -> int:
        if size == 1 and offset == 2:
            return self._status | self.active
        return int.from_bytes(self._image()[offset : offset + size], "little")

    def _image(self) -> bytes:
        return struct.pack("<BxBxI", self._command, self._status | self.active, self._table)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 4 and size == 4:
            self._table = value & ~3
            return
        for i in range(offset, min(offset + size, 8)):
            self._write_byte(i, value & 0xFF)
            value >>= 8

    def _write_byte(self, offset: int, value: int) -> None:
        if offset == 0:
            self._write_command(value)
        elif offset == 2:
            kept = self._status & ~(value & (ERROR | INTERRUPT))
            self._status = kept & ~CAPABLE | value & CAPABLE
        elif offset >= 4:
            shift = 8 * (offset - 4)
            self._table = (self._table & ~(0xFF << shift) | value << shift) & ~3

    def _write_command(self, value: int) -> None:
        was, self._command = self._command, value & (START | TO_MEMORY)
        if not value & START:
            self.active = False
        elif not was & START and self._allowed():
            self.active = True
            self.started()


class Ide(PciDevice):
    """The function, with up to four drives."""

    def __init__(
        self,
        drives: Sequence[Device | None],
        memory: GuestMemory,
        invalidate: Callable[[int, int], None],
        post: Post,
        lines: Sequence[Callable[[bool], None]],
    ) -> None:
        """``drives`` are the first channel's two, then the second's; ``lines`` are ``IRQS``."""
        bars = {4: Bar(16, "io", self._read, self._write)}
        super().__init__(0x8086, 0x7010, 0x01_0180, bars=bars, pin=0)
        self.set_writable(0x40, b"\xff\xff\xff\xff")
        struct.pack_into("<HH", self.config, 0x40, TIMING_ENABLED, TIMING_ENABLED)
        self.masters = [BusMaster(memory, self._is_master) for _ in range(2)]
        self.requests = [Requests(post, invalidate) for _ in range(2)]
        self.channels = [
            Channel(drives[2 * i : 2 * i + 2], self.requests[i], lines[i], self.masters[i])
            for i in range(2)
        ]
        for master, channel in zip(self.masters, self.channels, strict=True):
            master.started = channel.start_dma

    @property
    def busy(self) -> bool:
        """Whether a backend is still at work."""
        return any(requests.in_flight for requests in self.requests)

    def attach(self, ports: PortBus) -> None:
        """Put the channels' registers where systems have expected them since the PC AT."""
        for channel, (base, control) in zip(self.channels, BASES, strict=True):
            ports.map(base, 1, channel.read_data, channel.write_data)
            ports.map_bytes(base + 1, 7, _after_data(channel.read), _writes_after_data(channel))
            ports.map_bytes(control, 1, channel.read_control, channel.write_control)

    def _is_master(self) -> bool:
        return bool(self.command & COMMAND_MASTER)

    def _read(self, offset: int, size: int) -> int:
        return self.masters[offset >> 3].read(offset & 7, size)

    def _write(self, offset: int, size: int, value: int) -> None:
        self.masters[offset >> 3].write(offset & 7, size, value)


def _after_data(read: Callable[[int], int]) -> Callable[[int], int]:
    return lambda offset: read(offset + 1)


def _writes_after_data(channel: Channel) -> Callable[[int, int], None]:
    return lambda offset, value: channel.write(offset + 1, value)
