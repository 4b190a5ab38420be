"""The AHCI controller, driven as a system drives it, and as no system should."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from tests.vmm.backends import MemoryBlock
from tests.vmm.devices.ata.rig import cdrom, disk
from tests.vmm.rig import Line, new_memory
from vmm.backends import BlockOperation, BlockStatus
from vmm.devices.ahci import Ahci
from vmm.devices.ata.action import Device

LIST, RECEIVED, TABLES, DATA = 0x1000, 0x2000, 0x1_0000, 0x10_0000
STATUS, ENABLE, COMMAND, TASK_FILE, ISSUE = 0x10, 0x14, 0x18, 0x20, 0x38
SATA_CONTROL = 0x2C
STARTED = 0x17


class Host:
    """A controller and a driver of its port 0."""

    def __init__(self, *drives: Device, started: bool = True) -> None:
        self.memory = new_memory()
        self.posted: list[Callable[[], None]] = []
        self.written = 0
        self.line = Line()
        self.ahci = Ahci(drives, self.memory, self._wrote, self.posted.append)
        self.ahci.connect(self.line, 11)
        self.ahci.config[4] |= 6
        if started:
            self.start()

    def _wrote(self, _gpa: int, length: int) -> None:
        self.written += length

    def get(self, offset: int, port: int = 0) -> int:
        return self.ahci._read(0x100 + 0x80 * port + offset, 4)

    def put(self, offset: int, value: int, port: int = 0) -> None:
        self.ahci._write(0x100 + 0x80 * port + offset, 4, value)

    def start(self, port: int = 0) -> None:
        self.ahci._write(4, 4, 1 << 31 | 2)
        self.put(COMMAND, STARTED & ~1, port)
        self.put(SATA_CONTROL, 0, port)
        for offset, value in ((0, LIST), (4, 0), (8, RECEIVED), (0xC, 0)):
            self.put(offset, value, port)
        self.put(STATUS, 0xFFFF_FFFF, port)
        self.put(ENABLE, 0xFFFF_FFFF, port)
        self.ahci._write(8, 4, 0xFFFF_FFFF)
        self.put(COMMAND, STARTED, port)

    def prepare(
        self,
        command: int,
        lba: int = 0,
        count: int = 1,
        *,
        slot: int = 0,
        packet: bytes = b"",
        regions: tuple[tuple[int, int], ...] = ((DATA, 4096),),
        features: int = 0,
    ) -> int:
        """Fill a slot; returns its bit."""
        table = TABLES + 0x1000 * slot
        flags = 5 | (1 << 5 if packet else 0)
        self.memory.write(LIST + 32 * slot, struct.pack("<HHIQ", flags, len(regions), 0, table))
        low, high = lba & 0xFF_FFFF, lba >> 24
        fis = bytes([0x27, 0x80, command, features]) + low.to_bytes(3, "little") + b"\x40"
        fis += high.to_bytes(3, "little") + b"\0" + struct.pack("<H", count & 0xFFFF) + bytes(6)
        self.memory.write(table, fis)
        self.memory.write(table + 0x40, packet.ljust(16, b"\0"))
        for i, (address, size) in enumerate(regions):
            self.memory.write(table + 0x80 + 16 * i, struct.pack("<QII", address, 0, size - 1))
        return 1 << slot

    def do(self, *arguments: int, **more: object) -> int:
        """Carry out a command; its interrupt status."""
        self.put(ISSUE, self.prepare(*arguments, **more))  # type: ignore[arg-type]
        return self.acknowledge()

    def acknowledge(self) -> int:
        assert self.line.level
        status = self.get(STATUS)
        self.put(STATUS, status)
        self.ahci._write(8, 4, 1)
        assert not self.line.level
        return status

    def run_posted(self) -> None:
        while self.posted:
            self.posted.pop(0)()


def numbers(data: bytes, step: int = 512) -> list[int]:
    return [struct.unpack_from("<Q", data, at)[0] for at in range(0, len(data), step)]


def backend(host: Host, port: int = 0) -> MemoryBlock:
    found = host.ahci.ports[port].drive.backend
    assert isinstance(found, MemoryBlock)
    return found


def test_the_controller_says_what_it_has() -> None:
    host = Host(disk(), cdrom(), started=False)
    assert host.ahci._read(0, 4) & 0x1F == 1
    assert host.ahci._read(0x0C, 4) == 3
    assert host.ahci._read(0x10, 4) == 0x10301
    assert [host.get(0x24, port) for port in (0, 1, 2)] == [0x101, 0xEB14_0101, 0]
    assert host.get(0x28) == 0x123


def test_a_disk_says_what_it_is() -> None:
    host = Host(disk(1 << 20, serial_ata=True))
    assert host.do(0xEC) == 2  # by a PIO set-up FIS, which has the status at its end
    words = struct.unpack("<256H", host.memory.read(DATA, 512))
    assert words[100] | words[101] << 16 == 1 << 20
    assert words[93] == 0 and words[76]
    assert host.memory.read(RECEIVED + 0x20, 1) == b"\x5f"
    assert host.memory.read(RECEIVED + 0x2F, 1) == b"\x50"
    assert struct.unpack("<I", host.memory.read(LIST + 4, 4)) == (512,)
    assert host.get(ISSUE) == 0


def test_reads_and_writes() -> None:
    host = Host(disk())
    regions = ((DATA, 512), (DATA + 0x1_0000, 3584))
    assert host.do(0x25, 77, 8, regions=regions) == 1
    data = host.memory.read(DATA, 512) + host.memory.read(DATA + 0x1_0000, 3584)
    assert numbers(data) == list(range(77, 85))
    assert host.written == 4096
    host.memory.write(DATA, b"written!" * 512)
    assert host.do(0x35, 5, 8) == 1
    assert backend(host).data[5 * 512 : 13 * 512] == b"written!" * 512
    assert host.memory.read(RECEIVED + 0x40, 4) == bytes([0x34, 0x40, 0x50, 0])
    assert host.do(0xEA) == 1
    assert backend(host).log[-1] is BlockOperation.FLUSH


def test_all_slots_are_served() -> None:
    host = Host(disk(held=True))
    bits = 0
    for slot in range(32):
        bits |= host.prepare(0x25, slot, slot=slot, regions=((DATA + 512 * slot, 512),))
    host.put(ISSUE, bits)
    assert host.get(ISSUE) == 0xFFFF_FFFF
    for slot in range(32):
        assert host.get(COMMAND) >> 8 & 0x1F == slot
        backend(host).release()
        host.run_posted()
    assert host.get(ISSUE) == 0
    assert numbers(host.memory.read(DATA, 32 * 512)) == list(range(32))


def test_an_error_stops_the_port_until_it_is_started_again() -> None:
    host = Host(disk(100))
    bits = host.prepare(0x25, 99, 2) | host.prepare(0x25, 1, slot=1)
    host.put(ISSUE, bits)
    assert host.acknowledge() & 1 << 30
    assert host.get(TASK_FILE) & 1
    assert host.get(TASK_FILE) >> 8 == 0x10
    assert host.get(ISSUE) == 3
    host.put(COMMAND, STARTED & ~1)
    assert host.get(ISSUE) == 0
    assert not host.get(COMMAND) & 1 << 15
    host.put(COMMAND, STARTED)
    assert host.do(0x25, 1, slot=1) == 1


@pytest.mark.parametrize(
    ("regions", "why"),
    [(((DATA, 512),), 1 << 24), (((1 << 40, 4096),), 1 << 29), (((0x3F_FE00, 4096),), 1 << 29)],
)
def test_regions_that_do_not_hold_the_data(regions: tuple[tuple[int, int], ...], why: int) -> None:
    host = Host(disk())
    assert host.do(0x25, 0, 8, regions=regions) & why
    assert not backend(host).log


def test_a_command_list_outside_of_memory() -> None:
    host = Host(disk())
    host.put(4, 0xFFFF)
    host.put(ISSUE, 1)
    assert host.acknowledge() & 1 << 29


def test_errors_of_the_backend() -> None:
    host = Host(disk(held=True))
    host.put(ISSUE, host.prepare(0x25))
    assert host.get(TASK_FILE) & 0x80
    assert host.ahci.busy
    backend(host).release(BlockStatus.ERROR)
    host.run_posted()
    assert host.acknowledge() & 1 << 30
    assert host.get(TASK_FILE) >> 8 == 0x40


def test_a_packet_command() -> None:
    host = Host(cdrom())
    read = bytes([0x28, 0, 0, 0, 0, 6, 0, 0, 2])
    assert host.do(0xA0, packet=read, features=1) & 1 << 30
    assert host.get(TASK_FILE) >> 12 == 6  # it was reset
    host.put(COMMAND, STARTED & ~1)
    host.put(COMMAND, STARTED)
    assert host.do(0xA0, packet=read, features=1) == 1
    assert numbers(host.memory.read(DATA, 4096), 2048) == [6, 7]
    assert host.do(0xA0, packet=bytes([0x12, 0, 0, 0, 36])) == 1
    assert host.memory.read(DATA + 8, 8) == b"CLOISTER"


def test_a_software_reset() -> None:
    host = Host(cdrom())
    for control in (4, 0):
        bit = host.prepare(0, regions=())
        host.memory.write(TABLES, bytes([0x27, 0]) + bytes(13) + bytes([control]))
        host.put(ISSUE, bit)
        assert host.get(ISSUE) == 0
    fis = host.memory.read(RECEIVED + 0x40, 20)
    assert fis[0] == 0x34
    assert fis[4:7] == bytes([1, 0x14, 0xEB])
    assert not host.get(TASK_FILE) & 0x88


def test_a_new_connection_waits_for_what_may_write_memory() -> None:
    host = Host(disk(held=True))
    host.put(ISSUE, host.prepare(0x25))
    host.put(SATA_CONTROL, 1)
    assert host.get(0x28) == 0
    host.put(SATA_CONTROL, 0)
    assert host.get(TASK_FILE) & 0x80
    backend(host).release()
    host.run_posted()
    assert host.get(TASK_FILE) == 0x50
    assert host.get(STATUS) & 1 << 6
    host.put(STATUS, 0xFFFF_FFFF)
    host.ahci._write(8, 4, 1)
    backend(host).held = False
    assert host.do(0x25, 3) == 1


def test_a_stopped_port_forgets() -> None:
    host = Host(disk(held=True))
    host.put(ISSUE, host.prepare(0x25))
    host.put(COMMAND, STARTED & ~1)
    assert host.get(COMMAND) & 1 << 15  # it still runs
    backend(host).release()
    host.run_posted()
    assert not host.get(COMMAND) & 1 << 15
    assert not host.line.level


def test_the_controller_resets() -> None:
    host = Host(disk(), cdrom())
    host.ahci._write(4, 4, 1)
    assert host.ahci._read(4, 4) == 1 << 31
    assert host.get(0) == 0
    host.start()
    assert host.do(0x25) == 1


@pytest.mark.parametrize("seed", range(4))
def test_any_access_is_harmless(seed: int) -> None:
    chance = random.Random(seed)
    held = bool(seed & 1)
    host = Host(disk(600, held), cdrom(40, held))
    commands = (0x25, 0x35, 0xC8, 0xEC, 0xA0, 0xA1, 0xEA, 0xEF, 0x08, 0x29, 0x90)
    before = host.memory.read(0x30_0000, 0x1000)
    moved = 0
    for _ in range(12_000):
        what = chance.randrange(8)
        port = chance.randrange(2)
        if what == 0:
            size = chance.choice((1, 2, 4, 8))
            host.ahci._write(chance.randrange(0x1000 - size), size, chance.getrandbits(8 * size))
        elif what == 1:
            size = chance.choice((1, 2, 4, 8))
            assert 0 <= host.ahci._read(chance.randrange(0x1000 - size), size) < 1 << 8 * size
        elif what == 2:
            host.put(chance.choice((0, 4, 8, 0xC, 0x18, 0x2C)), chance.choice((0, 1, LIST)), port)
        elif what == 3:
            host.start(port)
        elif what == 4:
            host.memory.write(TABLES + chance.randrange(0x90), chance.randbytes(8))
            host.memory.write(LIST + chance.randrange(64), chance.randbytes(2))
            host.put(ISSUE, chance.getrandbits(32), port)
        elif what < 7:
            packet = bytes([0x28, 0, 0, 0, 0, chance.randrange(42), 0, 0, 1])
            code = chance.choice(commands)
            regions = ((DATA, 4096), (DATA + 8192, chance.choice((512, 1 << 22))))
            lba, count = chance.randrange(610), chance.randrange(20)
            slot = chance.randrange(32)
            bit = host.prepare(
                code, lba, count, slot=slot, packet=packet, regions=regions, features=3
            )
            host.put(ISSUE, bit, port)
        else:
            for number in (0, 1):
                backend(host, number).release()
            host.run_posted()
        moved = sum(len(backend(host, number).log) for number in (0, 1))
    assert moved > 40
    assert host.memory.read(0x30_0000, 0x1000) == before
    for number in (0, 1):
        backend(host, number).held = False
        backend(host, number).release()
    host.run_posted()
    host.ahci._write(4, 4, 1)
    host.start()
    assert host.do(0x25, 3) == 1
    assert host.memory.read(DATA, 512) == backend(host).data[1536:2048]
