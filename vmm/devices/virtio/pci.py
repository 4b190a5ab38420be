"""The PCI transport of virtio devices (Virtio 1.1, 4.1).

Base address 0 is 16 KiB of memory:

  0000  common configuration (4.1.4.3)
        00 device feature select  04 device features  08 driver feature select  0C driver features
        10 MSI-X vector  12 number of queues  14 status  15 generation  16 queue select
        18 queue size  1A queue MSI-X vector  1C queue enable  1E queue notify offset
        20 descriptor table  28 available ring  30 used ring
  1000  interrupt status: 0 queue, 1 configuration; cleared by reading (4.1.4.5)
  2000  device-specific configuration
  3000  notifications, 4 bytes a queue (4.1.4.4)

Interrupts are INTA#.  A driver that breaks the rules of its queues finds DEVICE_NEEDS_RESET set,
and the device silent until it is reset.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from vmm.devices.pci import PciDevice
from vmm.devices.virtio.device import RING_EVENT_INDEX, VERSION_1, Transport, VirtioDevice
from vmm.devices.virtio.queue import MAX_SIZE, Chain, Queue, QueueError
from vmm.memory import GuestMemory

COMMON, ISR, DEVICE, NOTIFY = 0x0000, 0x1000, 0x2000, 0x3000
COMMON_SIZE = 56
NOTIFY_MULTIPLIER = 4
FEATURES_OK, DRIVER_OK, NEEDS_RESET = 8, 4, 0x40
ISR_QUEUE, ISR_CONFIGURATION = 1, 2
NO_VECTOR = 0xFFFF
CAPABILITY_VENDOR = 9
COMMON_LAYOUT = struct.Struct("<IIIIHHBBHHHHHQQQ")


class VirtioPci(PciDevice, Transport):
    """One virtio device as a PCI function."""

    bar_size = 0x4000

    def __init__(
        self, device: VirtioDevice, memory: GuestMemory, invalidate: Callable[[int, int], None]
    ) -> None:
        """``invalidate`` tells the engine that a device wrote to (address, length)."""
        super().__init__(0x1AF4, 0x1040 + device.kind, device.class_code, 1)
        struct.pack_into("<HH", self.config, 0x2C, 0x1AF4, 0x1100)
        self._device = device
        self._invalidate = invalidate
        device.transport = self
        self.queues: list[Queue] = [Queue(memory) for _ in range(device.queue_count)]
        self._isr = 0
        for kind, offset, length in (
            (1, COMMON, COMMON_SIZE),
            (3, ISR, 1),
            (4, DEVICE, 0x1000),
        ):
            body = struct.pack("<BBBxxxII", 16, kind, 0, offset, length)
            self.add_capability(CAPABILITY_VENDOR, body)
        notify = struct.pack("<BBBxxxIII", 20, 2, 0, NOTIFY, 0x1000, NOTIFY_MULTIPLIER)
        self.add_capability(CAPABILITY_VENDOR, notify)
        # The window for drivers that cannot reach the memory range (4.1.4.7)
        window = struct.pack("<BBBxxxIII", 20, 5, 0, 0, 0, 0)
        self._window = self.add_capability(CAPABILITY_VENDOR, window)
        self.set_writable(self._window + 4, b"\xff" + b"\0\0\0" + b"\xff" * 12)
        self._reset_device()

    def _reset_device(self) -> None:
        self.status = 0
        self._feature_select = self._driver_select = 0
        self._driver_features = 0
        self._queue_select = 0
        for queue in self.queues:
            queue.reset()
        self._device.accepted = 0
        self._device.reset()
        self._isr = 0
        self.set_irq(False)

    # Transport

    @property
    def running(self) -> bool:
        return bool(self.status & DRIVER_OK) and not self.status & NEEDS_RESET

    def give_back(self, queue: Queue, chain: Chain, written: int) -> None:
        try:
            if queue.push(chain, written):
                self._interrupt(ISR_QUEUE)
        except QueueError:
            self.fail()

    def wrote(self, gpa: int, length: int) -> None:
        self._invalidate(gpa, length)

    def fail(self) -> None:
        self.status |= NEEDS_RESET
        if self.status & DRIVER_OK:
            self._interrupt(ISR_CONFIGURATION)

    def _interrupt(self, cause: int) -> None:
        self._isr |= cause
        self.set_irq(True)

    # Registers

    def read(self, offset: int, size: int) -> int:
        if offset >= NOTIFY:
            return 0
        if offset >= DEVICE:
            return self._slice(self._device.configuration(), offset - DEVICE, size)
        if offset >= ISR:
            if offset != ISR:
                return 0
            value, self._isr = self._isr, 0
            self.set_irq(False)
            return value
        return self._slice(self._common(), offset, size)

    @staticmethod
    def _slice(data: bytes, offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    def _common(self) -> bytes:
        select, features = self._feature_select, self._device.features
        offered = features >> 32 * select & 0xFFFF_FFFF if select < 2 else 0
        select = self._driver_select
        accepted = self._driver_features >> 32 * select & 0xFFFF_FFFF if select < 2 else 0
        queue = self._queue()
        return COMMON_LAYOUT.pack(
            self._feature_select,
            offered,
            self._driver_select,
            accepted,
            NO_VECTOR,
            len(self.queues),
            self.status,
            0,
            self._queue_select,
            queue.size if queue else 0,
            NO_VECTOR,
            queue.enabled if queue else 0,
            self._queue_select if queue else 0,
            queue.descriptors if queue else 0,
            queue.available if queue else 0,
            queue.used if queue else 0,
        )

    def _queue(self) -> Queue | None:
        return self.queues[self._queue_select] if self._queue_select < len(self.queues) else None

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= NOTIFY:
            self._notify((offset - NOTIFY) // NOTIFY_MULTIPLIER)
        elif offset < COMMON_SIZE:
            self._write_common(offset, size, value)

    def _notify(self, number: int) -> None:
        if number >= len(self.queues) or not self.queues[number].enabled:
            return
        if self.running:
            try:
                self._device.serve(self.queues[number])
            except QueueError:
                self.fail()

    def _write_common(self, offset: int, size: int, value: int) -> None:
        queue = self._queue()
        if offset == 0x00:
            self._feature_select = value
        elif offset == 0x08:
            self._driver_select = value
        elif offset == 0x0C and self._driver_select < 2 and not self.status & FEATURES_OK:
            shift = 32 * self._driver_select
            kept = self._driver_features & ~(0xFFFF_FFFF << shift)
            self._driver_features = kept | (value & 0xFFFF_FFFF) << shift
        elif offset == 0x14:
            self._write_status(value & 0xFF)
        elif offset == 0x16:
            self._queue_select = value & 0xFFFF
        elif queue is not None and not queue.enabled:
            self._write_queue(queue, offset, size, value)

    def _write_queue(self, queue: Queue, offset: int, size: int, value: int) -> None:
        """A queue's registers; they are fixed once it is enabled."""
        if offset == 0x18:
            if 0 < value <= MAX_SIZE and not value & (value - 1):
                queue.size = value
        elif offset == 0x1C:
            queue.event_index = bool(self._driver_features & RING_EVENT_INDEX)
            queue.enabled = value == 1
        elif offset >= 0x20:
            name = ("descriptors", "available", "used")[(offset - 0x20) >> 3]
            shift = 8 * (offset & 7)
            mask = (1 << 8 * size) - 1 << shift
            address = getattr(queue, name) & ~mask | value << shift & mask
            setattr(queue, name, address & (1 << 64) - 1)

    def _write_status(self, value: int) -> None:
        if value == 0:
            self._reset_device()
            return
        if value & FEATURES_OK and not self.status & FEATURES_OK:
            features = self._driver_features
            if features & ~self._device.features or not features & VERSION_1:
                value &= ~FEATURES_OK
            else:
                self._device.accepted = features
        self.status = value | self.status & NEEDS_RESET

    # The window in configuration space

    def _window_target(self) -> tuple[int, int] | None:
        at = self._window
        bar, (offset, length) = self.config[at + 4], struct.unpack_from("<II", self.config, at + 8)
        valid = bar == 0 and length in (1, 2, 4) and offset + length <= self.bar_size
        return (offset, length) if valid and not offset % length else None

    def read_config(self, offset: int, size: int) -> int:
        target = self._window_target() if offset == self._window + 16 else None
        if target is not None:
            return self.read(*target)
        return super().read_config(offset, size)

    def write_config(self, offset: int, size: int, value: int) -> None:
        super().write_config(offset, size, value)
        target = self._window_target() if offset == self._window + 16 else None
        if target is not None:
            self.write(*target, value & (1 << 8 * target[1]) - 1)
