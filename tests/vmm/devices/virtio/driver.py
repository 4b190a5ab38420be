"""A virtio driver for tests: it drives a device through its registers and its queue."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.vmm.rig import new_memory
from vmm.config import MIB
from vmm.devices.virtio.device import VirtioDevice
from vmm.devices.virtio.pci import COMMON, DEVICE, ISR, NOTIFY, VirtioPci

DESCRIPTORS, AVAILABLE, USED = 0x1000, 0x3000, 0x5000
BUFFERS = 0x1_0000
VERSION_1, EVENT_INDEX = 1 << 32, 1 << 29


class Driver:
    """A device, its transport, and memory with one queue of ``SIZE`` entries."""

    SIZE = 16

    def __init__(self, device: VirtioDevice, features: int = VERSION_1) -> None:
        self.memory = new_memory(4 * MIB)
        self.invalidated: list[tuple[int, int]] = []
        self.interrupts = 0
        self.line = False
        self.pci = VirtioPci(device, self.memory, lambda a, n: self.invalidated.append((a, n)))
        self.pci.connect(self._set_line, 11)
        self.available = self.seen = 0
        self.next_descriptor = 0
        self.features = features

    def _set_line(self, level: bool) -> None:
        self.interrupts += level and not self.line
        self.line = level

    def put(self, offset: int, size: int, value: int) -> None:
        self.pci.write(COMMON + offset, size, value)

    def get(self, offset: int, size: int) -> int:
        return self.pci.read(COMMON + offset, size)

    @property
    def status(self) -> int:
        return self.get(0x14, 1)

    def offered(self) -> int:
        value = 0
        for select in (0, 1):
            self.put(0, 4, select)
            value |= self.get(4, 4) << 32 * select
        return value

    def start(self) -> None:
        """Initialise as 3.1.1 says."""
        for status in (0, 1, 3):
            self.put(0x14, 1, status)
        for select in (0, 1):
            self.put(8, 4, select)
            self.put(12, 4, self.features >> 32 * select & 0xFFFF_FFFF)
        self.put(0x14, 1, 11)
        self.put(0x16, 2, 0)
        self.put(0x18, 2, self.SIZE)
        for offset, address in ((0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)):
            self.put(offset, 4, address)
            self.put(offset + 4, 4, 0)
        self.put(0x1C, 2, 1)
        self.put(0x14, 1, 15)

    def describe(
        self, index: int, address: int, length: int, flags: int, following: int = 0
    ) -> None:
        raw = struct.pack("<QIHH", address, length, flags, following)
        self.memory.write(DESCRIPTORS + 16 * (index % self.SIZE), raw)

    def offer(self, head: int) -> None:
        """Put a chain into the available ring."""
        slot = AVAILABLE + 4 + 2 * (self.available % self.SIZE)
        self.memory.write(slot, struct.pack("<H", head % self.SIZE))
        self.available = (self.available + 1) & 0xFFFF
        self.memory.write(AVAILABLE + 2, struct.pack("<H", self.available))

    def notify(self, queue: int = 0) -> None:
        self.pci.write(NOTIFY + 4 * queue, 2, queue)

    def send(self, pieces: Sequence[tuple[int, int, bool]]) -> int:
        """Offer one chain of (address, length, device writes); returns its head."""
        head = self.next_descriptor
        for i, (address, length, writes) in enumerate(pieces):
            more = i + 1 < len(pieces)
            flags = more | writes << 1
            following = (head + i + 1) % self.SIZE if more else 0
            self.describe(head + i, address, length, flags, following)
        self.next_descriptor = (head + len(pieces)) % self.SIZE
        self.offer(head)
        self.notify()
        return head

    def used(self) -> list[tuple[int, int]]:
        """What came back since the last look: (head, length)."""
        (index,) = struct.unpack("<H", self.memory.read(USED + 2, 2))
        back = []
        while self.seen != index:
            slot = USED + 4 + 8 * (self.seen % self.SIZE)
            head, length = struct.unpack("<II", self.memory.read(slot, 8))
            back.append((head, length))
            self.seen = (self.seen + 1) & 0xFFFF
        return back

    def isr(self) -> int:
        return self.pci.read(ISR, 1)

    def configuration(self, offset: int, size: int) -> int:
        return self.pci.read(DEVICE + offset, size)
