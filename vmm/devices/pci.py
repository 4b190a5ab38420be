"""The PCI bus: configuration mechanism 1, a host bridge, and what all devices share.

PCI Local Bus Specification 3.0, chapter 6 and 3.2.2.3.2; the bridge is Intel's 82441FX (290549).

  CF8h  32 bits: 31 enable, 23:16 bus, 15:11 device, 10:8 function, 7:2 register
  CFCh  the register's four bytes

  Configuration header (type 0)
  00 vendor  02 device  04 command  06 status  08 revision  09 class  0E header type
  10-27 base addresses  2C subsystem vendor  2E subsystem  30 expansion ROM  34 capabilities
  3C line  3D pin

There is one bus.  Base addresses are assigned as a PC's firmware would unless there is one that
does it, and a guest may move them: a range that would cover RAM or another device is not decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from vmm.bus import PORTS, MmioBus, PortBus
from vmm.memory import GuestAddressError, GuestMemory

COMMAND_IO, COMMAND_MEMORY, COMMAND_MASTER, COMMAND_NO_INTX = 1, 2, 4, 1 << 10
STATUS_INTERRUPT, STATUS_CAPABILITIES = 1 << 3, 1 << 4
BAR_0, BAR_END = 0x10, 0x28
ROM_BAR = 0x30
ROM_ENABLED = 1
ROM_RANGE = 6
"""The ROM's index among the ranges."""
MIN_ROM = 2048
WINDOW = 0xE000_0000
"""Where memory ranges are assigned from."""
IO_WINDOW = 0xC000
SLOTS = 32
IS_IO, IS_WIDE = 1, 4
"""In a base address register."""
MULTIFUNCTION = 0x80
HIGHEST = 1 << 32
"""Memory of a device's own is below: its base addresses have 32 bits."""


def _read_open(_offset: int, size: int) -> int:
    return (1 << 8 * size) - 1


def _write_open(_offset: int, _size: int, _value: int) -> None:
    return


class Bar(NamedTuple):
    """A range of addresses of a device."""

    size: int
    """Bytes, a power of two."""
    kind: str
    """``memory``, ``io``, or ``ram``: memory of the device's own at full speed."""
    read: Callable[[int, int], int] | None
    """(offset, size) -> value"""
    write: Callable[[int, int, int], None] | None
    """(offset, size, value)"""
    ram: memoryview | None = None
    """What of ``ram`` is seen; page-aligned."""
    wide: bool = False
    """It has 64 bits, and takes two registers."""


class Windows(Protocol):
    """An engine, as far as it can put memory anywhere."""

    def map_window(
        self, gpa: int, buffer: memoryview, offset: int, length: int, read_only: bool = False
    ) -> None: ...

    def unmap_window(self, gpa: int) -> None: ...


def _nothing() -> None:
    """Hides nothing."""


class PciDevice:
    """A function's configuration space.  Subclasses fill ``config``, and either say what their
    ranges are, or serve ``read``/``write`` of one of ``bar_size`` bytes of memory."""

    bar_size = 0

    def __init__(
        self,
        vendor: int,
        device: int,
        class_code: int,
        revision: int = 0,
        *,
        bars: Mapping[int, Bar] | None = None,
        rom: bytes = b"",
        subsystem: tuple[int, int] = (0, 0),
        pin: int = 1,
    ) -> None:
        """``rom`` is an expansion ROM, which firmware copies and runs; ``pin`` is 1 for INTA#, 0
        for a function without an interrupt of PCI's."""
        self.config = bytearray(256)
        self._writable = bytearray(256)
        self.pin = pin
        struct.pack_into("<HH", self.config, 0, vendor, device)
        struct.pack_into("<I", self.config, 8, class_code << 8 | revision)
        struct.pack_into("<HH", self.config, 0x2C, *subsystem)
        command = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX
        self.set_writable(4, struct.pack("<H", command))
        self.set_writable(0x0C, b"\xff\xff")  # cache line size, latency timer: kept, unused
        self.set_writable(0x3C, b"\xff")
        if bars is None:
            whole = Bar(self.bar_size, "memory", self.read, self.write)
            bars = {0: whole} if self.bar_size else {}
        self.bars = dict(bars)
        for index, bar in self.bars.items():
            self._describe_bar(BAR_0 + 4 * index, bar)
        self.rom = rom
        self.rom_size = max(1 << (len(rom) - 1).bit_length(), MIN_ROM) if rom else 0
        if rom:
            mask = -self.rom_size & 0xFFFF_FFFF | ROM_ENABLED
            self.set_writable(ROM_BAR, struct.pack("<I", mask))
        self._capability_end = 0x40
        self._last_capability = 0x34
        self._irq: Callable[[bool], None] = lambda _level: None
        self._irq_wanted = False
        self.changed: Callable[[], None] = lambda: None
        """Called when command or base address was written."""

    def _describe_bar(self, at: int, bar: Bar) -> None:
        flags = IS_IO if bar.kind == "io" else IS_WIDE if bar.wide else 0
        struct.pack_into("<I", self.config, at, flags)
        keep = 3 if bar.kind == "io" else 15
        self.set_writable(at, struct.pack("<I", -bar.size & 0xFFFF_FFFF & ~keep))
        if bar.wide:
            self.set_writable(at + 4, b"\xff\xff\xff\xff")

    def address(self, index: int) -> int:
        """Where a range begins, as its register says."""
        at = BAR_0 + 4 * index
        bar = self.bars[index]
        value = int.from_bytes(self.config[at : at + (8 if bar.wide else 4)], "little")
        return value & ~(3 if bar.kind == "io" else 15)

    def set_writable(self, offset: int, mask: bytes) -> None:
        """Let the guest write the bits of ``mask``."""
        self._writable[offset : offset + len(mask)] = mask

    def add_capability(self, identifier: int, body: bytes) -> int:
        """Append a capability; returns its offset."""
        at = self._capability_end
        self.config[at : at + 2 + len(body)] = bytes([identifier, 0]) + body
        self.config[self._last_capability] = at
        self._last_capability = at + 1
        self._capability_end = (at + 2 + len(body) + 3) & ~3
        self.config[6] |= STATUS_CAPABILITIES
        return at

    def connect(self, irq: Callable[[bool], None], number: int) -> None:
        """Give it its interrupt line: INTA#, which is ISA's ``number``, 0 if nobody knows yet."""
        self._irq = irq
        self.config[0x3C], self.config[0x3D] = number if self.pin else 0, self.pin

    def set_irq(self, wanted: bool) -> None:
        """Assert or release INTA#."""
        self._irq_wanted = wanted
        status = self.config[6] & ~STATUS_INTERRUPT
        self.config[6] = status | (STATUS_INTERRUPT if wanted else 0)
        self._irq(wanted and not self.command & COMMAND_NO_INTX)

    @property
    def command(self) -> int:
        return self.config[4] | self.config[5] << 8

    def read_config(self, offset: int, size: int) -> int:
        return int.from_bytes(self.config[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        for i in range(offset, offset + size):
            mask = self._writable[i]
            self.config[i] = self.config[i] & ~mask | value & mask
            value >>= 8
        if offset < ROM_BAR + 4 and offset + size > 4:
            self.set_irq(self._irq_wanted)
            self.changed()

    def read_rom(self, offset: int, size: int) -> int:
        """Read the expansion ROM, which ends before its range may."""
        return int.from_bytes(self.rom[offset : offset + size].ljust(size, b"\xff"), "little")

    def read(self, offset: int, size: int) -> int:
        """Read the memory range."""
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the memory range."""


class HostBridge(PciDevice):
    """The 82441FX, which systems expect at slot 0."""

    def __init__(self) -> None:
        super().__init__(0x8086, 0x1237, 0x06_0000, 2)


class PciBus:
    """Bus 0."""

    def __init__(
        self,
        mmio: MmioBus,
        memory: GuestMemory,
        set_irq: Callable[[int, bool], None],
        irqs: Sequence[int],
        windows: Windows | None = None,
        host: PciDevice | None = None,
        assigned: bool = True,
    ) -> None:
        """``irqs`` are the interrupts of slot 0's four pins; those of other slots are turned.

        ``windows`` is needed where a device has memory of its own.  ``host`` is a host bridge in
        place of one that does nothing.  If not ``assigned``, addresses and interrupts are left to
        firmware.
        """
        self._assigned = assigned
        self._windows = windows
        self._mmio = mmio
        self._memory = memory
        self._set_irq = set_irq
        self._irqs = irqs
        self._asserted: dict[int, set[int]] = {irq: set() for irq in irqs}
        self._address = 0
        self._devices: dict[int, PciDevice] = {0: host or HostBridge()}  # by slot << 3 | function
        # What hides a range, by place of the device << 3 | index of the range; never empty, since
        # an empty dictionary would be state.
        self._hide: dict[int, Callable[[], None]] = {-1: _nothing}
        self._next = {"memory": WINDOW, "io": IO_WINDOW}
        self._ports = PortBus()

    def attach(self, ports: PortBus) -> None:
        self._ports = ports
        ports.map(0xCF8, 4, self._read_address, self._write_address)
        ports.map(0xCFC, 4, self._read_data, self._write_data)

    def add(self, device: PciDevice, slot: int | None = None, function: int = 0) -> int:
        """Put a device into a slot, the next free one if none is named.  Returns the slot; raises
        ``ValueError`` if there is none."""
        if slot is None:
            slot = next((i for i in range(1, SLOTS) if i << 3 not in self._devices), None)
            if slot is None:
                raise ValueError("all 31 PCI slots are taken")
        place = slot << 3 | function
        if place in self._devices:
            raise ValueError(f"PCI slot {slot} has a function {function}")
        self._devices[place] = device
        number = self._irqs[(slot + max(device.pin - 1, 0)) % len(self._irqs)]
        known = number if self._assigned else 0
        device.connect(lambda level: self._drive(number, place, level), known)
        device.changed = lambda: self._decode(place, device)
        if self._assigned:
            self._assign(device)
        first = self._devices.get(slot << 3)
        if first is not None and any(slot << 3 | i in self._devices for i in range(1, 8)):
            first.config[0x0E] |= MULTIFUNCTION
        return slot

    def _assign(self, device: PciDevice) -> None:
        """Do with the device's ranges what firmware does."""
        for index, bar in device.bars.items():
            kind = "io" if bar.kind == "io" else "memory"
            at = -(-self._next[kind] // bar.size) * bar.size
            self._next[kind] = at + bar.size
            device.write_config(BAR_0 + 4 * index, 4, at)
        device.write_config(4, 2, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER)

    def place(self, device: PciDevice) -> tuple[int, int]:
        """Slot and function of a device that was added."""
        place = next(place for place, found in self._devices.items() if found is device)
        return place >> 3, place & 7

    def has(self, slot: int) -> bool:
        """Whether there is a device in a slot."""
        return slot << 3 in self._devices

    def _drive(self, number: int, place: int, level: bool) -> None:
        """Several devices share a line: it is up while one of them holds it."""
        holders = self._asserted[number]
        if level:
            holders.add(place)
        else:
            holders.discard(place)
        self._set_irq(number, bool(holders))

    def _decode(self, place: int, device: PciDevice) -> None:
        """Let the ranges appear where command and base addresses say."""
        self._hide_all(place, device)
        for index, bar in device.bars.items():
            enabled = device.command & (COMMAND_IO if bar.kind == "io" else COMMAND_MEMORY)
            wanted = device.address(index)
            hide = self._show(wanted, bar) if enabled and wanted else None
            if hide is not None:
                self._hide[place << 3 | index] = hide
        if device.rom:
            self._decode_rom(place, device)

    def _decode_rom(self, place: int, device: PciDevice) -> None:
        base = device.read_config(ROM_BAR, 4)
        at = base & ~(MIN_ROM - 1)
        if not (base & ROM_ENABLED and device.command & COMMAND_MEMORY and at):
            return
        hide = self._show(at, Bar(device.rom_size, "memory", device.read_rom, _write_open))
        if hide is not None:
            self._hide[place << 3 | ROM_RANGE] = hide

    def _hide_all(self, place: int, device: PciDevice) -> None:
        for index in (*device.bars, ROM_RANGE):
            self._hide.pop(place << 3 | index, _nothing)()

    def _show(self, at: int, bar: Bar) -> Callable[[], None] | None:
        """Map a range, if nothing else is there; what hides it again."""
        if bar.kind == "io":
            return self._show_ports(at, bar)
        if not self._is_free(at, bar.size):
            return None
        if bar.ram is not None:
            if self._windows is None or at + bar.size > HIGHEST:
                return None
            self._mmio.map(at, bar.size, _read_open, _write_open)  # nobody else may be there
            self._windows.map_window(at, bar.ram, 0, bar.size)
            return partial(self._hide_ram, at)
        assert bar.read is not None and bar.write is not None
        self._mmio.map(at, bar.size, bar.read, bar.write)
        return partial(self._mmio.unmap, at)

    def _hide_ram(self, at: int) -> None:
        assert self._windows is not None
        self._windows.unmap_window(at)
        self._mmio.unmap(at)

    def _show_ports(self, at: int, bar: Bar) -> Callable[[], None] | None:
        read, write, ports = bar.read, bar.write, self._ports
        assert read is not None and write is not None
        if at + bar.size > PORTS or not ports.is_free(at, bar.size):
            return None
        ports.map(
            at,
            bar.size,
            lambda port, size: read(port - at, size),
            lambda port, size, value: write(port - at, size, value),
        )
        return partial(ports.unmap, at, bar.size)

    def hide(self) -> None:
        """Let no range be seen any more: the board is built anew."""
        for place, device in self._devices.items():
            self._hide_all(place, device)

    def restored(self) -> None:
        """Let all ranges be where the restored registers say."""
        for place, device in self._devices.items():
            if device.bars or device.rom:
                self._decode(place, device)

    def _is_free(self, base: int, size: int) -> bool:
        try:
            self._memory.offset(base, size)
        except GuestAddressError:
            return base >= self._memory.regions[0].length and self._mmio.is_free(base, size)
        return False

    def _target(self, port: int) -> tuple[PciDevice | None, int]:
        address = self._address
        device = None
        if address >> 31 and not address >> 16 & 0xFF:
            device = self._devices.get(address >> 8 & 0xFF)
        return device, address & 0xFC | port & 3

    def _read_address(self, port: int, size: int) -> int:
        return self._address if port == 0xCF8 and size == 4 else (1 << 8 * size) - 1

    def _write_address(self, port: int, size: int, value: int) -> None:
        if port == 0xCF8 and size == 4:
            self._address = value

    def _read_data(self, port: int, size: int) -> int:
        device, offset = self._target(port)
        if device is None or (port & 3) + size > 4:
            return (1 << 8 * size) - 1
        return device.read_config(offset, size)

    def _write_data(self, port: int, size: int, value: int) -> None:
        device, offset = self._target(port)
        if device is not None and (port & 3) + size <= 4:
            device.write_config(offset, size, value)
