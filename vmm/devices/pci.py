"""The PCI bus: configuration mechanism 1, a host bridge, and what all devices share.

PCI Local Bus Specification 3.0, chapter 6 and 3.2.2.3.2; the bridge is Intel's 82441FX (290549).

  CF8h  32 bits: 31 enable, 23:16 bus, 15:11 device, 10:8 function, 7:2 register
  CFCh  the register's four bytes

  Configuration header (type 0)
  00 vendor  02 device  04 command  06 status  08 revision  09 class  0E header type
  10-27 base addresses  2C subsystem vendor  2E subsystem  34 capabilities  3C line  3D pin

There is one bus, and every device has one function.  Base addresses are assigned as a PC's firmware
would, and a guest may move them: a range that would cover RAM or another device is not decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from vmm.bus import MmioBus, PortBus
from vmm.memory import GuestAddressError, GuestMemory

COMMAND_MEMORY, COMMAND_MASTER, COMMAND_NO_INTX = 2, 4, 1 << 10
STATUS_INTERRUPT, STATUS_CAPABILITIES = 1 << 3, 1 << 4
BAR_0 = 0x10
WINDOW = 0xE000_0000
"""Where memory ranges are assigned from."""
SLOTS = 32


class PciDevice:
    """A function's configuration space.  Subclasses fill ``config`` and serve ``read``/``write``
    of the memory range behind the first base address, which is ``bar_size`` bytes long."""

    bar_size = 0

    def __init__(self, vendor: int, device: int, class_code: int, revision: int = 0) -> None:
        self.config = bytearray(256)
        self._writable = bytearray(256)
        struct.pack_into("<HH", self.config, 0, vendor, device)
        struct.pack_into("<I", self.config, 8, class_code << 8 | revision)
        self.set_writable(4, struct.pack("<H", COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX))
        self.set_writable(0x0C, b"\xff\xff")  # cache line size, latency timer: kept, unused
        self.set_writable(0x3C, b"\xff")
        if self.bar_size:
            self.set_writable(BAR_0, struct.pack("<I", -self.bar_size & 0xFFFF_FFFF))
        self._capability_end = 0x40
        self._last_capability = 0x34
        self._irq: Callable[[bool], None] = lambda _level: None
        self._irq_wanted = False
        self.changed: Callable[[], None] = lambda: None
        """Called when command or base address was written."""

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
        """Give it its interrupt line: INTA#, which the firmware says is ISA's ``number``."""
        self._irq = irq
        self.config[0x3C], self.config[0x3D] = number, 1

    def set_irq(self, wanted: bool) -> None:
        """Assert or release INTA#."""
        self._irq_wanted = wanted
        status = self.config[6] & ~STATUS_INTERRUPT
        self.config[6] = status | (STATUS_INTERRUPT if wanted else 0)
        self._irq(wanted and not self.command & COMMAND_NO_INTX)

    @property
    def command(self) -> int:
        return self.config[4] | self.config[5] << 8

    @property
    def bar(self) -> int:
        """The base address of the memory range."""
        return int.from_bytes(self.config[BAR_0 : BAR_0 + 4], "little") & ~0xF

    def read_config(self, offset: int, size: int) -> int:
        return int.from_bytes(self.config[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        for i in range(offset, offset + size):
            mask = self._writable[i]
            self.config[i] = self.config[i] & ~mask | value & mask
            value >>= 8
        if offset < BAR_0 + 4 and offset + size > 4:
            self.set_irq(self._irq_wanted)
            self.changed()

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
    ) -> None:
        """``irqs`` are the interrupts of slot 0's four pins; those of other slots are turned."""
        self._mmio = mmio
        self._memory = memory
        self._set_irq = set_irq
        self._irqs = irqs
        self._asserted: dict[int, set[int]] = {irq: set() for irq in irqs}
        self._address = 0
        self._devices: dict[int, PciDevice] = {0: HostBridge()}
        self._mapped: dict[int, int] = {}
        self._next_bar = WINDOW

    def attach(self, ports: PortBus) -> None:
        ports.map(0xCF8, 4, self._read_address, self._write_address)
        ports.map(0xCFC, 4, self._read_data, self._write_data)

    def add(self, device: PciDevice) -> int:
        """Put a device into the next free slot, with addresses and interrupt assigned."""
        slot = next((i for i in range(1, SLOTS) if i not in self._devices), None)
        if slot is None:
            raise ValueError("all 31 PCI slots are taken")
        self._devices[slot] = device
        number = self._irqs[slot % len(self._irqs)]
        device.connect(lambda level: self._drive(number, slot, level), number)
        device.changed = lambda: self._decode(slot, device)
        if device.bar_size:
            at = -(-self._next_bar // device.bar_size) * device.bar_size
            self._next_bar = at + device.bar_size
            device.write_config(BAR_0, 4, at)
        device.write_config(4, 2, COMMAND_MEMORY | COMMAND_MASTER)
        return slot

    def _drive(self, number: int, slot: int, level: bool) -> None:
        """Several devices share a line: it is up while one of them holds it."""
        holders = self._asserted[number]
        if level:
            holders.add(slot)
        else:
            holders.discard(slot)
        self._set_irq(number, bool(holders))

    def _decode(self, slot: int, device: PciDevice) -> None:
        """Let the memory range appear where command and base address say."""
        wanted = device.bar if device.bar_size and device.command & COMMAND_MEMORY else None
        mapped = self._mapped.pop(slot, None)
        if mapped is not None:
            self._mmio.unmap(mapped)
        if wanted and self._is_free(wanted, device.bar_size):
            self._mmio.map(wanted, device.bar_size, device.read, device.write)
            self._mapped[slot] = wanted

    def restored(self) -> None:
        """Let all memory ranges be where the restored registers say."""
        for slot, device in self._devices.items():
            if device.bar_size:
                self._decode(slot, device)

    def _is_free(self, base: int, size: int) -> bool:
        try:
            self._memory.offset(base, size)
        except GuestAddressError:
            return base >= self._memory.regions[0].length and self._mmio.is_free(base, size)
        return False

    def _target(self, port: int) -> tuple[PciDevice | None, int]:
        address = self._address
        device = None
        if address >> 31 and not address >> 16 & 0xFF and not address >> 8 & 7:
            device = self._devices.get(address >> 11 & 31)
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
