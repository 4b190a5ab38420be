"""The ATAPI CD-ROM drive."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.backends import MemoryBlock
from tests.vmm.devices.ata.rig import BUFFER, Controller, cdrom, disk
from vmm.backends import BlockStatus
from vmm.devices.ata.action import BSY, DRQ, ERR


def ready(sectors: int = 64, held: bool = False) -> Controller:
    """A drive whose host has been told of the reset."""
    controller = Controller(cdrom(sectors, held))
    controller.packet(0x00)
    assert controller.get(7) & ERR
    assert sense(controller) == (6, 0x29)
    return controller


def sense(controller: Controller) -> tuple[int, int]:
    controller.packet(0x03, 0, 0, 0, 18)
    data = controller.collect()
    return data[2], data[12]


def refused(controller: Controller) -> tuple[int, int]:
    """Why the last command failed."""
    assert controller.line.level
    assert controller.get(7) & ERR
    assert controller.get(2) & 3 == 3
    key = controller.get(1) >> 4
    found = sense(controller)
    assert found[0] == key
    return found


def numbers(data: bytes) -> list[int]:
    return [struct.unpack_from("<Q", data, at)[0] for at in range(0, len(data), 2048)]


def test_the_signature_and_identity() -> None:
    controller = Controller(disk(), cdrom())
    controller.command(0xEC, drive=1)
    assert controller.get(7) & ERR
    assert (controller.get(4), controller.get(5)) == (0x14, 0xEB)
    controller.command(0xA1, drive=1)
    words = struct.unpack("<256H", controller.read_block())
    assert words[0] & 0x9F03 == 0x8500
    controller.command(0x08, drive=1)
    assert (controller.get(4), controller.get(5)) == (0x14, 0xEB)
    assert controller.get(7) == 0


@pytest.mark.parametrize("limit", [2048, 512, 4096, 65534, 3000, 0])
def test_reads_by_the_data_register(limit: int) -> None:
    controller = ready()
    controller.packet(0x28, 0, 0, 0, 0, 5, 0, 0, 7, limit=limit)
    assert numbers(controller.collect()) == list(range(5, 12))
    controller.packet(0xA8, 0, 0, 0, 0, 0, 0, 0, 0, 64, limit=limit)
    assert numbers(controller.collect()) == list(range(64))


def test_reads_by_dma() -> None:
    controller = ready()
    controller.regions((BUFFER, 2048), (BUFFER + 4096, 4096))
    controller.packet(0x28, 0, 0, 0, 0, 9, 0, 0, 3, dma=True)
    controller.start()
    assert controller.good()
    data = controller.memory.read(BUFFER, 2048) + controller.memory.read(BUFFER + 4096, 4096)
    assert numbers(data) == [9, 10, 11]
    assert controller.get(2) & 3 == 3


def test_other_data_by_dma() -> None:
    controller = ready()
    controller.regions((BUFFER, 36))
    controller.start()
    controller.packet(0x12, 0, 0, 0, 36, dma=True)
    assert controller.good()
    assert controller.memory.read(BUFFER, 16)[8:] == b"CLOISTER"


def test_a_drive_is_busy_while_its_backend_is_at_work() -> None:
    controller = ready(held=True)
    controller.packet(0x28, 0, 0, 0, 0, 0, 0, 0, 1)
    assert controller.status & BSY
    drive = controller.ide.channels[0]._drives[0]
    assert drive is not None and isinstance(drive.backend, MemoryBlock)
    drive.backend.release(BlockStatus.ERROR)
    controller.run_posted()
    assert refused(controller) == (3, 0x11)


def test_what_is_on_the_disc() -> None:
    controller = ready(1000)
    controller.packet(0x25)
    assert struct.unpack(">II", controller.collect()) == (999, 2048)
    controller.packet(0x43, 0, 0, 0, 0, 0, 0, 0, 255)
    toc = controller.collect()
    assert struct.unpack_from(">HBB", toc) == (18, 1, 1)
    assert struct.unpack_from(">I", toc, 16) == (1000,)
    controller.packet(0x43, 2, 0, 0, 0, 0, 0, 0, 255)
    assert controller.collect()[17:20] == bytes([0, 15, 25])  # 1150 frames
    controller.packet(0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40)
    assert controller.collect()[:4] == bytes([0, 10, 1, 1])
    controller.packet(0x46, 0, 0, 0, 0, 0, 0, 0, 255)
    assert controller.collect()[6:8] == bytes([0, 8])
    controller.packet(0x51, 0, 0, 0, 0, 0, 0, 0, 255)
    assert controller.collect()[2] & 3 == 2


def test_reading_raw_sectors_is_refused_and_user_data_is_not() -> None:
    controller = ready()
    controller.packet(0xBE, 0, 0, 0, 0, 2, 0, 0, 2, 0x10)
    assert numbers(controller.collect()) == [2, 3]
    controller.packet(0xBE, 0, 0, 0, 0, 2, 0, 0, 2, 0xF8)
    assert refused(controller) == (5, 0x64)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ((0x28, 0, 0, 0, 0, 64, 0, 0, 1), (5, 0x21)),
        ((0xA8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF), (5, 0x21)),
        ((0x2A, 0, 0, 0, 0, 0, 0, 0, 1), (5, 0x20)),
        ((0xFF,), (5, 0x20)),
        ((0x12, 1, 0, 0, 36), (5, 0x24)),
        ((0x5A, 0, 0x3E, 0, 0, 0, 0, 0, 255), (5, 0x24)),
        ((0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8), (5, 0x24)),
    ],
)
def test_what_is_refused(packet: tuple[int, ...], reason: tuple[int, int]) -> None:
    controller = ready()
    controller.packet(*packet)
    assert refused(controller) == reason


def test_the_tray() -> None:
    controller = ready()
    controller.packet(0x1E, 0, 0, 0, 1)
    assert controller.good()
    controller.packet(0x1B, 0, 0, 0, 2)
    assert refused(controller) == (5, 0x53)
    controller.packet(0x1E)
    assert controller.good()
    controller.packet(0x1B, 0, 0, 0, 2)
    assert controller.good()
    for packet in ((0x00,), (0x25,), (0x28, 0, 0, 0, 0, 0, 0, 0, 1)):
        controller.packet(*packet)
        assert refused(controller) == (2, 0x3A)
    controller.packet(0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8)
    assert controller.collect()[4:6] == bytes([3, 1])
    controller.packet(0x1B, 0, 0, 0, 3)
    assert controller.good()
    controller.packet(0x00)
    assert refused(controller) == (6, 0x28)
    controller.packet(0x00)
    assert controller.good()


def test_mode_pages() -> None:
    controller = ready()
    controller.packet(0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 255)
    page = controller.collect()
    assert page[0] << 8 | page[1] == len(page) - 2
    assert page[8:10] == bytes([0x2A, len(page) - 10])
    controller.packet(0x1A, 0, 0x3F, 0, 255)
    page = controller.collect()
    assert page[0] == len(page) - 1


def test_as_much_as_there_is_room_for() -> None:
    controller = ready()
    controller.packet(0x12, 0, 0, 0, 5)
    assert len(controller.collect()) == 5
    controller.packet(0x12, 0, 0, 0, 0)
    assert controller.good()
    assert not controller.status & DRQ
