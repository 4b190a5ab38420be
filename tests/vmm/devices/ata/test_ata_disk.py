"""ATA disks on an IDE channel: commands, registers, programmed input and output, DMA."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.backends import MemoryBlock
from tests.vmm.devices.ata.rig import BUFFER, IDENTITY, Controller, disk
from vmm.backends import BlockOperation, BlockStatus
from vmm.devices.ata.action import ABRT, BSY, DRQ, ERR, IDNF, UNC
from vmm.devices.ata.disk import Disk

IDENTIFY, DIAGNOSE, SET_FEATURES, FLUSH = 0xEC, 0x90, 0xEF, 0xE7


def words(controller: Controller, drive: int = 0) -> tuple[int, ...]:
    controller.command(IDENTIFY, drive=drive)
    assert controller.get(7) & DRQ
    return struct.unpack("<256H", controller.read_block())


def numbers(data: bytes) -> list[int]:
    return [struct.unpack_from("<Q", data, at)[0] for at in range(0, len(data), 512)]


def backend(drive: Disk) -> MemoryBlock:
    assert isinstance(drive.backend, MemoryBlock)
    return drive.backend


def test_a_disk_says_what_it_is() -> None:
    found = words(Controller(disk(1 << 20)))
    text = b"".join(struct.pack(">H", word) for word in found[27:47]).decode()
    assert text.strip() == "TEST DRIVE"
    assert found[60] | found[61] << 16 == 1 << 20
    assert found[100] | found[101] << 16 == 1 << 20
    assert found[1] * found[3] * found[6] <= 1 << 20
    assert found[83] & 1 << 10
    assert sum(struct.pack("<256H", *found)) & 0xFF == 0


@pytest.mark.parametrize(
    ("code", "wide", "block"),
    [(0x20, False, 1), (0x24, True, 1), (0xC4, False, 16), (0x29, True, 16)],
)
def test_reads_by_the_data_register(code: int, wide: bool, block: int) -> None:
    controller = Controller(disk())
    controller.command(code, 100, 40, wide=wide)
    data = b""
    while len(data) < 40 * 512:
        assert controller.line.level
        controller.get(7)
        data += controller.read_block(min(block * 512, 40 * 512 - len(data)))
    assert numbers(data) == list(range(100, 140))
    assert not controller.status & (DRQ | ERR)
    assert not controller.line.level


@pytest.mark.parametrize(
    ("code", "wide", "block"),
    [(0x30, False, 1), (0x34, True, 1), (0xC5, False, 16), (0xCE, True, 16)],
)
def test_writes_by_the_data_register(code: int, wide: bool, block: int) -> None:
    drive = disk()
    controller = Controller(None, drive)
    controller.command(code, 7, 33, drive=1, wide=wide)
    data = bytes(range(256)) * 66
    assert not controller.line.level  # the first block is not announced
    for at in range(0, len(data), block * 512):
        controller.write_block(data[at : at + block * 512])
        assert controller.line.level
        controller.get(7)
    assert not controller.status & (DRQ | ERR)
    assert backend(drive).data[7 * 512 : 40 * 512] == data
    assert numbers(bytes(backend(drive).data[40 * 512 : 41 * 512])) == [40]
    assert (BlockOperation.FLUSH in backend(drive).log) is (code == 0xCE)


def test_long_transfers_are_fetched_in_pieces() -> None:
    controller = Controller(disk(2000))
    controller.command(0x24, 0, 1000, wide=True)
    assert numbers(b"".join(controller.read_block() for _ in range(1000))) == list(range(1000))


def test_the_data_register_is_as_wide_as_the_access() -> None:
    controller = Controller(disk())
    controller.command(0x20, 0x1234)
    controller.put(7, 0x20)  # not heard: the drive is at work
    assert controller.ports.read(controller.base, 4) == 0
    controller = Controller(disk(0x2000))
    controller.command(0x20, 0x1234)
    assert controller.ports.read(controller.base, 1) == 0x34
    assert controller.ports.read(controller.base, 4) == 0x12


@pytest.mark.parametrize(
    ("code", "wide", "count", "sectors"),
    [(0xC8, False, 0, 256), (0xC8, False, 8, 8), (0x25, True, 300, 300)],
)
def test_reads_by_dma(code: int, wide: bool, count: int, sectors: int) -> None:
    controller = Controller(disk())
    size = sectors * 512
    controller.regions(
        (BUFFER, 1024), (BUFFER + 0x8_0000, 0), (BUFFER + 1024, 0), (BUFFER + 0x2_0000, 0)
    )
    controller.command(code, 50, count, wide=wide)
    assert not controller.line.level
    controller.start()
    data = controller.memory.read(BUFFER, 1024) + controller.memory.read(
        BUFFER + 0x8_0000, 0x1_0000
    )
    data += controller.memory.read(BUFFER + 1024, 0x1_0000) + controller.memory.read(
        BUFFER + 0x2_0000, 0x1_0000
    )
    assert numbers(data[:size]) == list(range(50, 50 + sectors))
    assert sum(length for _, length in controller.written) == size
    assert controller.master.read(2, 1) & 7 == 4
    assert controller.good()


@pytest.mark.parametrize(("code", "wide"), [(0xCA, False), (0x35, True), (0x3D, True)])
def test_writes_by_dma_that_starts_before_the_command(code: int, wide: bool) -> None:
    drive = disk()
    controller = Controller(drive)
    controller.memory.write(BUFFER, b"written!" * 512)
    controller.regions((BUFFER, 4096))
    controller.start(to_memory=False)
    controller.command(code, 4, 8, wide=wide)
    assert controller.good()
    assert backend(drive).data[4 * 512 : 12 * 512] == b"written!" * 512
    assert (BlockOperation.FLUSH in backend(drive).log) is (code == 0x3D)


def test_a_transfer_that_the_regions_do_not_hold_waits_for_a_reset() -> None:
    drive = disk()
    controller = Controller(drive)
    controller.regions((BUFFER, 512))
    controller.command(0xC8, 0, 2)
    controller.start()
    assert controller.master.read(2, 1) & 7 == 0
    assert not controller.line.level
    controller.ports.write(controller.control, 1, 4)
    controller.ports.write(controller.control, 1, 0)
    assert not controller.status & (BSY | DRQ)
    assert not backend(drive).log


@pytest.mark.parametrize("address", [0x40_0000, 0xFFFF_FFF0])
def test_dma_outside_of_memory_fails(address: int) -> None:
    controller = Controller(disk())
    controller.regions((address, 512))
    controller.command(0xC8)
    controller.start()
    assert controller.master.read(2, 1) & 7 == 6
    assert controller.get(7) & ERR
    controller.master.write(4, 4, 0xFFFF_FFF0)  # the table
    controller.stop()
    controller.command(0xC8)
    controller.start()
    assert controller.get(7) & ERR


def test_without_the_bus_nothing_moves() -> None:
    controller = Controller(disk())
    controller.ide.config[4] &= ~4
    controller.regions((BUFFER, 512))
    controller.command(0xC8, 9)
    controller.start()
    assert not controller.written
    assert not controller.line.level


def test_a_disk_is_busy_while_its_backend_is_at_work() -> None:
    drive = disk(held=True)
    controller = Controller(drive)
    controller.regions((BUFFER, 512))
    controller.command(0xC8, 3)
    controller.start()
    assert controller.status & BSY
    assert controller.master.read(2, 1) & 1
    assert controller.ide.busy
    backend(drive).release()
    assert controller.status & BSY  # the answer came on another thread
    controller.run_posted()
    assert controller.good()
    assert numbers(controller.memory.read(BUFFER, 512)) == [3]
    assert not controller.ide.busy


@pytest.mark.parametrize(("code", "error"), [(0xC8, UNC), (0xCA, ABRT)])
def test_errors_of_the_backend(code: int, error: int) -> None:
    drive = disk(held=True)
    controller = Controller(drive)
    controller.regions((BUFFER, 512))
    controller.command(code)
    controller.start()
    backend(drive).release(BlockStatus.ERROR)
    controller.run_posted()
    assert controller.get(7) & ERR
    assert controller.get(1) == error


def test_a_reset_waits_for_what_may_write_memory() -> None:
    drive = disk(held=True)
    controller = Controller(drive)
    controller.regions((BUFFER, 512))
    controller.command(0xC8)
    controller.start()
    controller.ports.write(controller.control, 1, 4)
    controller.ports.write(controller.control, 1, 0)
    assert controller.status & BSY
    backend(drive).release()
    controller.run_posted()
    assert not controller.status & (BSY | DRQ)
    assert not controller.line.level
    assert [controller.get(i) for i in (1, 2, 3, 4, 5)] == [1, 1, 1, 0, 0]


def test_addresses_beyond_the_end() -> None:
    controller = Controller(disk(100))
    for lba, count in ((100, 1), (99, 2), (0xFFF_FFFF, 1), (0, 0)):
        controller.command(0x20, lba, count)
        assert controller.get(7) & ERR
        assert controller.get(1) == IDNF


def test_addresses_by_cylinder_head_and_sector() -> None:
    controller = Controller(disk())

    def read(cylinder: int, head: int, sector: int) -> list[int] | int:
        for offset, value in ((2, 1), (3, sector), (4, cylinder & 0xFF), (5, cylinder >> 8)):
            controller.put(offset, value)
        controller.put(6, 0xA0 | head)
        controller.put(7, 0x20)
        if controller.get(7) & ERR:
            return controller.get(1)
        return numbers(controller.read_block())

    assert read(0, 0, 1) == [0]
    assert read(2, 3, 4) == [(2 * 16 + 3) * 63 + 3]
    assert read(0, 0, 0) == read(0, 0, 64) == IDNF
    controller.put(2, 17)
    controller.put(6, 0xA3)
    controller.put(7, 0x91)  # 17 sectors, 4 heads
    assert controller.good()
    assert read(2, 3, 4) == [(2 * 4 + 3) * 17 + 3]
    assert read(0, 4, 1) == IDNF
    found = words(controller)
    assert found[55:57] == (4, 17)


def test_a_read_only_disk_refuses_writes() -> None:
    controller = Controller(disk(read_only=True))
    controller.command(0x30)
    assert controller.get(7) & ERR
    assert controller.get(1) == ABRT


def test_without_a_write_cache_writes_are_flushed() -> None:
    drive = disk()
    controller = Controller(drive)
    assert words(controller)[85] & 1 << 5
    controller.put(1, 0x82)
    controller.command(SET_FEATURES)
    assert controller.good()
    assert not words(controller)[85] & 1 << 5
    del backend(drive).log[:]
    controller.command(0x30)
    controller.write_block(bytes(512))
    assert controller.good()
    assert backend(drive).log == [BlockOperation.WRITE, BlockOperation.FLUSH]


def test_transfer_modes_are_set_one_at_a_time() -> None:
    controller = Controller(disk())
    controller.put(1, 3)
    controller.command(SET_FEATURES, count=0x22)
    assert controller.good()
    found = words(controller)
    assert (found[63] >> 8, found[88] >> 8) == (4, 0)
    controller.put(1, 3)
    controller.command(SET_FEATURES, count=0x47)
    assert controller.get(7) & ERR


def test_multiple_is_set_and_switched_off() -> None:
    controller = Controller(disk())
    for count, error in ((4, False), (3, True), (32, True), (0, False)):
        controller.command(0xC6, count=count)
        assert bool(controller.get(7) & ERR) is error
    controller.command(0xC4)
    assert controller.get(7) & ERR
    assert not words(controller)[59]


def test_smart_says_that_all_is_well() -> None:
    controller = Controller(disk())
    controller.put(1, 0xDA)
    controller.command(0xB0, 0xC24F00)
    assert controller.good()
    assert (controller.get(4), controller.get(5)) == (0x4F, 0xC2)
    controller.put(1, 0xD0)
    controller.command(0xB0, 0xC24F00)
    assert sum(controller.read_block()) & 0xFF == 0
    controller.put(1, 0xDA)
    controller.command(0xB0, 0)
    assert controller.get(7) & ERR


def test_the_largest_address_of_a_disk() -> None:
    controller = Controller(disk(4000))
    controller.command(0xF8)
    assert controller.good()
    assert controller.get(3) | controller.get(4) << 8 | controller.get(5) << 16 == 3999
    controller.command(0x27, wide=True)
    assert controller.get(3) | controller.get(4) << 8 == 3999
    controller.ports.write(controller.control, 1, 0x80)
    assert controller.get(3) == 0


def test_diagnostics_answer_for_both_drives() -> None:
    controller = Controller(disk(), disk())
    controller.command(DIAGNOSE, drive=1)
    assert controller.line.level
    assert not controller.get(6) & 0x10
    assert [controller.get(i) for i in (1, 2, 3, 4, 5)] == [1, 1, 1, 0, 0]


def test_interrupts_can_be_switched_off() -> None:
    controller = Controller(disk())
    controller.ports.write(controller.control, 1, 2)
    controller.command(FLUSH)
    assert not controller.line.level
    controller.ports.write(controller.control, 1, 0)
    assert controller.line.level
    assert controller.good()


def test_drives_that_are_not_there() -> None:
    alone = Controller(disk())
    alone.put(6, 0x10)
    assert alone.get(7) == alone.status == 0
    alone.put(7, IDENTIFY)
    assert not alone.line.level
    assert alone.get(7) == 0
    nobody = Controller()
    assert nobody.get(7) == 0xFF
    nobody.put(7, DIAGNOSE)
    assert not nobody.line.level


def test_unknown_commands_are_aborted() -> None:
    controller = Controller(Disk(MemoryBlock(8), IDENTITY))
    for code in (0x00, 0x08, 0xA0, 0xA1, 0xF1, 0xFF):
        controller.command(code)
        assert controller.get(7) & ERR
        assert controller.get(1) == ABRT
