"""The host bridge: Intel 82441FX PMC (290549), as far as systems and firmware see it.

  Configuration
  50 u16 PMC configuration   57 DRAM control   60-67 DRAM row boundaries   all kept, unused
  59-5F  PAM 0 to 6: where accesses to a segment go, four bits each: 0 reads to RAM (else ROM),
         1 writes to RAM (else nowhere)
         59 bits 7:4  F0000-FFFFF    5A-5F  16 KiB each from C0000 on, bits 3:0 the lower one
  72     SMRAM: 3 enable, 4 lock, 5 close, 6 open; there is no system management mode, so it is
         kept and locked, and its memory not shown

A segment that is RAM alone or ROM alone is a window on it, at full speed.  Where reads go to ROM
and writes to RAM, as while firmware copies itself, accesses come here one by one: data is right,
and code cannot be executed there meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vmm.bus import MmioBus
from vmm.devices.pci import PciDevice, Windows

START, END = 0xC_0000, 0x10_0000
PAM, PAM_END = 0x59, 0x60
SMRAM = 0x72
SMRAM_LOCK, SMRAM_OPEN = 0x10, 0x40
SMRAM_BASE: Final = 0x02
"""Always set: SMRAM is at A0000."""
READ_RAM, WRITE_RAM = 1, 2
SEGMENT = 0x4000


class Segment(NamedTuple):
    """A part of the upper memory area, and where its four bits are."""

    start: int
    length: int
    register: int
    shift: int


def _segments() -> Iterator[Segment]:
    yield Segment(0xF_0000, 0x1_0000, PAM, 4)
    for i in range(12):
        yield Segment(START + i * SEGMENT, SEGMENT, PAM + 1 + i // 2, 4 * (i & 1))


SEGMENTS: Final = tuple(_segments())


class I440fx(PciDevice):
    """The bridge, with the memory that it lets be seen between 768 KiB and 1 MiB."""

    def __init__(self, windows: Windows, mmio: MmioBus, ram: memoryview, rom: memoryview) -> None:
        """``ram`` is guest memory from address 0 on, ``rom`` what is seen below 1 MiB after power
        on, which ends there; both page-aligned."""
        super().__init__(0x8086, 0x1237, 0x06_0000, 2, subsystem=(0x1AF4, 0x1100), pin=0)
        self._windows = windows
        self._ram, self._rom_memory = ram, rom
        self._rom_start = END - len(rom)
        self.config[0x04:0x08] = bytes((0x06, 0x00, 0x80, 0x02))  # it decodes memory always
        self.config[0x57], self.config[SMRAM] = 0x01, SMRAM_BASE
        self.set_writable(0x50, b"\xff\xff")
        for first, last in ((0x57, 0x58), (0x60, 0x67), (SMRAM, SMRAM)):
            self.set_writable(first, b"\xff" * (last - first + 1))
        self.set_writable(PAM, b"\x30" + b"\x33" * 6)
        mmio.map(START, END - START, self.read_area, self.write_area)
        for segment in SEGMENTS:
            self._show_segment(segment)

    def write_config(self, offset: int, size: int, value: int) -> None:
        before = bytes(self.config[PAM : SMRAM + 1])
        super().write_config(offset, size, value)
        if offset < PAM_END and offset + size > PAM:
            for segment in SEGMENTS:
                old = before[segment.register - PAM] >> segment.shift & 3
                if old != self._attributes(segment):
                    self._show_segment(segment)
        smram = before[SMRAM - PAM]
        if smram & SMRAM_LOCK:
            self.config[SMRAM] = smram
        elif self.config[SMRAM] & SMRAM_LOCK:
            self.config[SMRAM] &= ~SMRAM_OPEN
        self.config[SMRAM] = self.config[SMRAM] & 0x78 | SMRAM_BASE

    def restored(self) -> None:
        """Show what the restored registers say."""
        for segment in SEGMENTS:
            self._show_segment(segment)

    def _attributes(self, segment: Segment) -> int:
        return self.config[segment.register] >> segment.shift & 3

    def _show_segment(self, segment: Segment) -> None:
        start, length, attributes = segment.start, segment.length, self._attributes(segment)
        if attributes & READ_RAM:
            read_only = not attributes & WRITE_RAM
            self._windows.map_window(start, self._ram, start, length, read_only)
        elif not attributes and start >= self._rom_start:
            at = start - self._rom_start
            self._windows.map_window(start, self._rom_memory, at, length, True)
        else:
            self._windows.unmap_window(start)

    # What no window shows

    def _segment(self, address: int) -> Segment:
        if address >= SEGMENTS[0].start:
            return SEGMENTS[0]
        return SEGMENTS[1 + (address - START) // SEGMENT]

    def read_area(self, offset: int, size: int) -> int:
        value = 0
        for i in range(size):
            value |= self._read_octet(START + offset + i) << 8 * i
        return value

    def _read_octet(self, address: int) -> int:
        if self._attributes(self._segment(address)) & READ_RAM:
            return self._ram[address]
        return self._rom_memory[address - self._rom_start] if address >= self._rom_start else 0xFF

    def write_area(self, offset: int, size: int, value: int) -> None:
        for i in range(size):
            address = START + offset + i
            if self._attributes(self._segment(address)) & WRITE_RAM:
                self._ram[address] = value >> 8 * i & 0xFF
