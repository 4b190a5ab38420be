"""The virtio disk (Virtio 1.1, 5.2)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.vmm.backends import MemoryBlock
from tests.vmm.devices.virtio.driver import BUFFERS, Driver
from vmm.backends import SECTOR, BlockOperation, BlockStatus
from vmm.devices.virtio.blk import VirtioBlk

READ, WRITE, FLUSH, IDENTIFIER = 0, 1, 4, 8
DATA, STATUS = BUFFERS + 0x1000, BUFFERS + 0x100


class Disk:
    """A disk with its driver; what the backend answers late is posted to ``queue``."""

    def __init__(self, backend: MemoryBlock) -> None:
        self.backend = backend
        self.queue: list[Callable[[], None]] = []
        self.device = VirtioBlk(backend, self.queue.append)
        self.driver = Driver(self.device)
        self.driver.start()

    def run_posted(self) -> None:
        while self.queue:
            self.queue.pop(0)()

    def request(self, kind: int, sector: int, data: list[tuple[int, int]], at: int = 0) -> int:
        header, status = BUFFERS + at, STATUS + at
        self.driver.memory.write(header, struct.pack("<IIQ", kind, 0, sector))
        self.driver.memory.write(status, b"\xff")
        inward = kind != WRITE
        pieces = [(header, 16, False), *((a, n, inward) for a, n in data), (status, 1, True)]
        return self.driver.send(pieces)

    def status(self, at: int = 0) -> int:
        return self.driver.memory.read(STATUS + at, 1)[0]


def test_configuration() -> None:
    disk = Disk(MemoryBlock(1000))
    assert disk.driver.configuration(0, 4) == 1000
    assert disk.driver.configuration(20, 4) == SECTOR
    assert disk.driver.offered() >> 9 & 1  # flush
    assert not disk.driver.offered() >> 5 & 1
    assert Disk(MemoryBlock(1, read_only=True)).driver.offered() >> 5 & 1


def test_write_and_read_back_in_pieces() -> None:
    disk = Disk(MemoryBlock(100))
    content = bytes(i * 7 & 0xFF for i in range(3 * SECTOR))
    disk.driver.memory.write(DATA, content)
    disk.request(WRITE, 5, [(DATA, 700), (DATA + 700, 3 * SECTOR - 700)])
    assert disk.status() == 0
    assert disk.backend.data[5 * SECTOR : 8 * SECTOR] == content
    disk.request(READ, 5, [(DATA + 0x2000, 1000), (DATA + 0x3000, 3 * SECTOR - 1000)])
    got = disk.driver.memory.read(DATA + 0x2000, 1000)
    got += disk.driver.memory.read(DATA + 0x3000, 3 * SECTOR - 1000)
    assert got == content
    assert [length for _, length in disk.driver.used()] == [1, 3 * SECTOR + 1]
    assert (DATA + 0x2000, 1000) in disk.driver.invalidated


def test_header_and_status_in_any_buffers() -> None:
    disk = Disk(MemoryBlock(4))
    disk.backend.data[:SECTOR] = b"x" * SECTOR
    memory = disk.driver.memory
    memory.write(BUFFERS, struct.pack("<IIQ", READ, 0, 0))
    disk.driver.send([(BUFFERS, 4, False), (BUFFERS + 4, 12, False), (DATA, SECTOR + 1, True)])
    assert memory.read(DATA, SECTOR + 1) == b"x" * SECTOR + b"\0"


def test_identifier() -> None:
    disk = Disk(MemoryBlock(4))
    disk.request(IDENTIFIER, 0, [(DATA, 20)])
    assert disk.driver.memory.read(DATA, 8) == b"cloister"
    assert disk.status() == 0


@pytest.mark.parametrize(
    ("kind", "sector", "length"),
    [
        (READ, 100, SECTOR),
        (READ, 99, 2 * SECTOR),
        (WRITE, (1 << 64) - 1, SECTOR),
        (READ, 0, 100),
    ],
)
def test_ranges_are_checked(kind: int, sector: int, length: int) -> None:
    disk = Disk(MemoryBlock(100))
    disk.request(kind, sector, [(DATA, length)])
    assert disk.status() == 1
    assert not disk.backend.log


def test_unknown_requests_and_read_only_disks() -> None:
    disk = Disk(MemoryBlock(100, read_only=True))
    disk.request(77, 0, [])
    assert disk.status() == 2
    disk.request(WRITE, 0, [(DATA, SECTOR)])
    assert disk.status() == 1
    assert not disk.backend.log


def test_requests_without_header_or_status_need_a_reset() -> None:
    for pieces in ([(BUFFERS, 8, False), (DATA, 1, True)], [(BUFFERS, 16, False)]):
        disk = Disk(MemoryBlock(4))
        disk.driver.send(pieces)
        assert disk.driver.status & 0x40


def test_a_flush_is_complete_when_the_backend_says_so() -> None:
    disk = Disk(MemoryBlock(4, held=True))
    disk.request(FLUSH, 0, [])
    assert disk.device.busy
    assert not disk.driver.used()
    disk.backend.release()
    assert not disk.driver.used()  # not on this thread
    disk.run_posted()
    assert disk.driver.used()
    assert disk.status() == 0
    assert not disk.device.busy


def test_answers_in_any_order() -> None:
    disk = Disk(MemoryBlock(8, held=True))
    heads = [disk.request(READ, i, [(DATA + i * SECTOR, SECTOR)], at=32 * i) for i in range(3)]
    disk.backend.release()
    disk.run_posted()
    assert [head for head, _ in disk.driver.used()] == heads[::-1]


def test_errors_of_the_backend_are_reported() -> None:
    disk = Disk(MemoryBlock(8, held=True))
    disk.request(WRITE, 0, [(DATA, SECTOR)])
    disk.backend.release(BlockStatus.ERROR)
    disk.run_posted()
    assert disk.status() == 1


def test_answers_after_a_reset_are_dropped() -> None:
    disk = Disk(MemoryBlock(8, held=True))
    disk.request(READ, 0, [(DATA, SECTOR)])
    disk.driver.put(0x14, 1, 0)
    assert disk.device.busy
    disk.backend.release()
    disk.run_posted()
    assert not disk.device.busy
    assert not disk.driver.used()
    assert disk.status() == 0xFF
    assert disk.backend.log == [BlockOperation.READ]
