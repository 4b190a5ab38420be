"""An AHCI controller, as Intel's ICH9 has it (Serial ATA AHCI 1.3.1).

Base address 5 is 4 KiB of memory; all registers have 32 bits.

  000 capabilities  004 control: 31 AHCI, 1 interrupts, 0 reset  008 interrupt status, a bit a port
  00C ports implemented  010 version  024 more capabilities
  100 + 80h * n  port n: ``vmm.devices.ahci_port``

It has a port a drive, 32 command slots, 64-bit addresses, and no command queueing of the drive's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmm.devices.ahci_port import Port
from vmm.devices.ata.action import Device
from vmm.devices.ata.requests import Requests
from vmm.devices.pci import COMMAND_MASTER, Bar, PciDevice
from vmm.devices.virtio.device import Post
from vmm.memory import GuestMemory

MOST_PORTS = 8
CAPABILITIES, CONTROL, STATUS, IMPLEMENTED, VERSION = range(0x00, 0x14, 4)
WIDE, OVERRIDE, SPEED, AHCI_ONLY, SLOTS = 1 << 31, 1 << 24, 2 << 20, 1 << 18, 31 << 8
ENABLED, INTERRUPTS, RESET = 1 << 31, 2, 1
PORTS, PORT_SIZE = 0x100, 0x80


class Ahci(PciDevice):
    """The function, with up to ``MOST_PORTS`` drives."""

    def __init__(
        self,
        drives: Sequence[Device],
        memory: GuestMemory,
        invalidate: Callable[[int, int], None],
        post: Post,
    ) -> None:
        bars = {5: Bar(0x1000, "memory", self._read, self._write)}
        super().__init__(0x8086, 0x2922, 0x01_0601, 2, bars=bars)
        self._interrupts = False
        self._status = 0
        self.requests = [Requests(post, invalidate) for _ in drives]
        self.ports: list[Port] = []
        for drive, requests in zip(drives, self.requests, strict=True):
            self.ports.append(Port(drive, memory, requests, self._changed, self._is_master))

    @property
    def busy(self) -> bool:
        """Whether a backend is still at work."""
        return any(requests.in_flight for requests in self.requests)

    def _is_master(self) -> bool:
        return bool(self.command & COMMAND_MASTER)

    def _changed(self) -> None:
        for number, port in enumerate(self.ports):
            if port.interrupting:
                self._status |= 1 << number
        self.set_irq(self._interrupts and bool(self._status))

    def _register(self, offset: int) -> int:
        if offset >= PORTS:
            number, at = divmod(offset - PORTS, PORT_SIZE)
            return self.ports[number].read(at) if number < len(self.ports) else 0
        count = len(self.ports)
        if offset == CONTROL:
            return ENABLED | (INTERRUPTS if self._interrupts else 0)
        if offset == STATUS:
            return self._status
        return {
            CAPABILITIES: WIDE | OVERRIDE | SPEED | AHCI_ONLY | SLOTS | count - 1,
            IMPLEMENTED: (1 << count) - 1,
            VERSION: 0x0001_0301,
        }.get(offset, 0)

    def _read(self, offset: int, size: int) -> int:
        at = offset & ~3
        value = self._register(at)
        if (offset & 3) + size > 4:
            value |= self._register(at + 4) << 32
        return value >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def _write(self, offset: int, size: int, value: int) -> None:
        if offset & 3 or size < 4:
            return  # registers are written whole
        for at in range(offset, offset + size, 4):
            self._write_register(at, value & 0xFFFF_FFFF)
            value >>= 32

    def _write_register(self, offset: int, value: int) -> None:
        if offset >= PORTS:
            number, at = divmod(offset - PORTS, PORT_SIZE)
            if number < len(self.ports):
                self.ports[number].write(at, value)
        elif offset == STATUS:
            self._status &= ~value
            self._changed()
        elif offset == CONTROL:
            self._interrupts = bool(value & INTERRUPTS)
            if value & RESET:
                self._interrupts = False
                for port in self.ports:
                    port.reset()
                self._status = 0
            self._changed()
