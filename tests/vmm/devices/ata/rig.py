"""IDE hardware without a board, and a driver for it that does what the standards say."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.vmm.backends import MemoryBlock
from tests.vmm.rig import Line, new_memory
from vmm.bus import PortBus
from vmm.devices.ata.action import BSY, DRQ, ERR, Device, Identity
from vmm.devices.ata.cdrom import CdRom
from vmm.devices.ata.disk import Disk
from vmm.devices.ide import Ide

TABLE, BUFFER = 0x1000, 0x10_0000
LBA = 0x40
IDENTITY = Identity("TEST DRIVE", "0001")


def disk(
    sectors: int = 4096, held: bool = False, read_only: bool = False, serial_ata: bool = False
) -> Disk:
    """A disk whose sectors hold their numbers."""
    backend = MemoryBlock(sectors, read_only, held)
    for i in range(sectors):
        struct.pack_into("<Q", backend.data, 512 * i, i)
    return Disk(backend, IDENTITY, serial_ata)


def cdrom(sectors: int = 64, held: bool = False) -> CdRom:
    """A disc whose sectors of 2048 bytes hold their numbers."""
    backend = MemoryBlock(4 * sectors, True, held)
    for i in range(sectors):
        struct.pack_into("<Q", backend.data, 2048 * i, i)
    return CdRom(backend, IDENTITY)


class Controller:
    """An IDE function with its ports, and a driver of one of its channels."""

    def __init__(self, *drives: Device | None, channel: int = 0) -> None:
        self.memory = new_memory()
        self.posted: list[Callable[[], None]] = []
        self.written: list[tuple[int, int]] = []
        self.lines = [Line(), Line()]
        four = [*drives, *[None] * (4 - len(drives))]
        self.ide = Ide(
            four,
            self.memory,
            lambda gpa, length: self.written.append((gpa, length)),
            self.posted.append,
            self.lines,
        )
        self.ide.config[4] |= 4
        self.ports = PortBus()
        self.ide.attach(self.ports)
        self.base, self.control = ((0x1F0, 0x3F6), (0x170, 0x376))[channel]
        self.line = self.lines[channel]
        self.master = self.ide.masters[channel]

    def run_posted(self) -> None:
        while self.posted:
            self.posted.pop(0)()

    def get(self, offset: int) -> int:
        return self.ports.read(self.base + offset, 1)

    def put(self, offset: int, value: int) -> None:
        self.ports.write(self.base + offset, 1, value)

    @property
    def status(self) -> int:
        return self.ports.read(self.control, 1)

    def command(
        self, code: int, lba: int = 0, count: int = 1, drive: int = 0, wide: bool = False
    ) -> None:
        """Address by LBA."""
        self.put(6, LBA | drive << 4 | (0 if wide else lba >> 24))
        if wide:
            for offset, value in ((2, count >> 8), (3, lba >> 24), (4, lba >> 32), (5, lba >> 40)):
                self.put(offset, value & 0xFF)
        for offset, value in ((2, count), (3, lba), (4, lba >> 8), (5, lba >> 16)):
            self.put(offset, value & 0xFF)
        self.put(7, code)

    def read_block(self, size: int = 512) -> bytes:
        """A block by way of the data register."""
        assert self.status & (BSY | DRQ) == DRQ
        words = [self.ports.read(self.base, 2) for _ in range((size + 1) // 2)]
        return struct.pack(f"<{len(words)}H", *words)[:size]

    def write_block(self, data: bytes) -> None:
        assert self.status & (BSY | DRQ) == DRQ
        for (word,) in struct.iter_unpack("<H", data):
            self.ports.write(self.base, 2, word)

    def regions(self, *regions: tuple[int, int]) -> None:
        """Write the table of physical regions."""
        for i, (address, size) in enumerate(regions):
            last = 0x8000 if i == len(regions) - 1 else 0
            self.memory.write(TABLE + 8 * i, struct.pack("<IHH", address, size & 0xFFFF, last))
        self.master.write(4, 4, TABLE)

    def start(self, to_memory: bool = True) -> None:
        self.master.write(2, 1, 6)
        self.master.write(0, 1, 9 if to_memory else 1)

    def stop(self) -> None:
        self.master.write(0, 1, 0)

    def packet(self, *packet: int, limit: int = 2048, dma: bool = False, drive: int = 0) -> None:
        self.put(6, drive << 4)
        self.put(1, int(dma))
        self.put(4, limit & 0xFF)
        self.put(5, limit >> 8)
        self.put(7, 0xA0)
        assert self.get(2) & 3 == 1
        self.write_block(bytes(packet).ljust(12, b"\0"))

    def collect(self) -> bytes:
        """All that a packet command sends, and its end."""
        data = b""
        while self.status & DRQ:
            assert self.line.level
            assert self.get(2) & 3 == 2
            size = self.get(4) | self.get(5) << 8
            self.get(7)
            data += self.read_block(size)
        assert self.get(2) & 3 == 3
        assert self.line.level
        self.get(7)
        return data

    def good(self) -> bool:
        """The status, which is read as a driver's interrupt handler does."""
        assert self.line.level
        return not self.get(7) & (BSY | DRQ | ERR) and not self.line.level
