"""Hosts that do anything to an IDE controller: nothing breaks, and memory stays what it was."""

from __future__ import annotations

import random

import pytest

from tests.vmm.backends import MemoryBlock
from tests.vmm.devices.ata.rig import BUFFER, TABLE, Controller, cdrom, disk
from vmm.devices.ata.action import BSY, DRQ, ERR
from vmm.devices.ata.channel import CHUNK

COMMANDS = (
    *(0x20, 0x24, 0x25, 0x29, 0xC4, 0xC8, 0x30, 0x34, 0x35, 0x39, 0x3D, 0xC5, 0xCA, 0xCE),
    *(0xA0, 0xA1, 0xEC, 0x08, 0x90, 0x91, 0xC6, 0xEF, 0xE7, 0xB0, 0x27, 0x40),
)
PACKETS = (0x00, 0x03, 0x12, 0x1B, 0x25, 0x28, 0x42, 0x43, 0x46, 0x4A, 0x51, 0x5A, 0xA8, 0xBE)
SMALL = (0, 1, 2, 0x40, 0x50, 0xE0, 0xFF)


def backends(controller: Controller) -> list[MemoryBlock]:
    drives = controller.ide.channels[0]._drives
    return [d.backend for d in drives if d is not None and isinstance(d.backend, MemoryBlock)]


def one(controller: Controller, chance: random.Random) -> None:
    """One access."""
    what = chance.randrange(14)
    value = chance.choice(SMALL) if chance.random() < 0.7 else chance.getrandbits(8)
    if what < 3:
        controller.put(chance.randrange(1, 7), value)
    elif what == 3:
        controller.put(7, chance.choice(COMMANDS) if chance.random() < 0.9 else value)
    elif what == 4:
        controller.ports.write(controller.control, chance.choice((1, 2, 4)), value & 0x86)
    elif what == 5:
        controller.ports.read(controller.base + chance.randrange(8), chance.choice((1, 2, 4)))
    elif what == 6:
        for _ in range(chance.choice((1, 6, 256))):
            controller.ports.read(controller.base, chance.choice((1, 2, 4)))
    elif what == 7:
        code = chance.choice(PACKETS)
        for word in (code, *(chance.choice(SMALL) for _ in range(5))):
            controller.ports.write(controller.base, 2, word)
    elif what == 8:
        for _ in range(256):
            controller.ports.write(controller.base, chance.choice((2, 4)), chance.getrandbits(16))
    elif what == 9:
        size = chance.choice((1, 2, 4))
        controller.ide._write(chance.randrange(16), size, chance.getrandbits(8 * size))
        controller.ide._read(chance.randrange(16), size)
    elif what == 10:
        controller.master.write(4, 4, chance.choice((TABLE, 0, 0x3F_FFFC, 0xFFFF_FFFC)))
        controller.memory.write(TABLE, chance.randbytes(16))
        controller.regions((BUFFER, chance.choice((0, 512, 2048))), (BUFFER, 0))
        controller.master.write(0, 1, chance.choice((0, 1, 9)))
    elif what == 11:
        drive, wide = chance.randrange(2), chance.random() < 0.5
        code = chance.choice(COMMANDS)
        if chance.random() < 0.3:
            controller.put(6, 0x10)
            controller.put(1, chance.randrange(2))
            controller.put(7, 0xA0)
            packet = (0x28, 0, chance.randrange(42) << 8, 0, 1, 0)
            for word in packet:
                controller.ports.write(controller.base, 2, word)
            return
        controller.command(code, chance.randrange(610), chance.randrange(300), drive, wide)
    elif what == 12 and chance.random() < 0.5:
        controller.ports.write(controller.control, 1, 4)
        controller.ports.write(controller.control, 1, 0)
    else:
        for backend in backends(controller):
            backend.release()
        controller.run_posted()


@pytest.mark.parametrize("seed", range(6))
def test_any_access_is_harmless(seed: int) -> None:
    chance = random.Random(seed)
    held = bool(seed & 1)
    controller = Controller(disk(600, held), cdrom(40, held))
    before = controller.memory.read(0x20_0000, 0x1000)
    for _ in range(12_000):
        one(controller, chance)
        channel = controller.ide.channels[0]
        assert len(channel._data) <= max(CHUNK, 65536)
        assert len(controller.posted) < 10
    assert controller.memory.read(0x20_0000, 0x1000) == before
    assert all(len(backend.log) > 20 for backend in backends(controller))
    recovers(controller)


def recovers(controller: Controller) -> None:
    """After a reset all is as it should be."""
    controller.ports.write(controller.control, 1, 4)
    for backend in backends(controller):
        backend.held = False
        backend.release()
    controller.run_posted()
    controller.ports.write(controller.control, 1, 0)
    controller.run_posted()
    controller.command(0xEC)
    assert controller.get(7) & (BSY | DRQ | ERR) == DRQ
    assert len(controller.read_block()) == 512
    controller.stop()
    controller.regions((BUFFER, 512))
    controller.ide.config[4] |= 4
    controller.command(0xC8, 3)
    controller.start()
    assert controller.memory.read(BUFFER, 512) == backends(controller)[0].data[1536:2048]
    assert not controller.get(7) & (BSY | DRQ | ERR)
