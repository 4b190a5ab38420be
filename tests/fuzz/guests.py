"""Evil guests: what a guest does to its devices never raises anything in the VMM."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from tests.fuzz.source import Source
from tests.vmm.backends import CountingEntropy, MemoryBlock
from tests.vmm.devices.virtio.driver import (
    AVAILABLE,
    BUFFERS,
    DESCRIPTORS,
    EVENT_INDEX,
    USED,
    VERSION_1,
    Driver,
)
from tests.vmm.rig import FakeClock, Machine, new_memory
from vmm.backends import BlockStatus
from vmm.boot import flat_cpu
from vmm.config import MIB
from vmm.devices.virtio.blk import VirtioBlk
from vmm.devices.virtio.device import VirtioDevice
from vmm.devices.virtio.rng import VirtioRng
from vmm.disassemble import report
from vmm.engine.interface import Registers, Segment, Table

MOST: Final = 16
"""Steps of one script at most."""
SECTORS: Final = 64
NEXT, WRITE, INDIRECT = 1, 2, 4
ADDRESSES: Final = (
    *(BUFFERS, BUFFERS + 0x1000, BUFFERS + 0x2000, 0x9000, DESCRIPTORS, AVAILABLE, USED, 0),
    *(4 * MIB - 1, 4 * MIB - 16, 4 * MIB, 1 << 32, (1 << 64) - 1, (1 << 64) - 16, 0xC000_0000),
)


class Rig:
    """A device, its driver, and backends that answer when the script says so."""

    def __init__(self, source: Source) -> None:
        self.posted: list[Callable[[], None]] = []
        self.block: MemoryBlock | None = None
        device: VirtioDevice
        if source.chance(3):
            device = VirtioRng(CountingEntropy(), self.posted.append)
        else:
            self.block = MemoryBlock(SECTORS, source.chance(4), source.chance(2))
            device = VirtioBlk(self.block, self.posted.append)
        features = source.pick((VERSION_1, VERSION_1 | EVENT_INDEX, VERSION_1 | 1 << 28, 0))
        self.driver = Driver(device, features)
        self.driver.start()

    def settle(self) -> None:
        """Deliver what was posted, as the board does between two stretches of the guest."""
        while self.posted:
            self.posted.pop(0)()


def _describe(rig: Rig, source: Source) -> None:
    """A descriptor, in the table or in an indirect one."""
    address = source.pick(ADDRESSES) if source.chance(2) else source.unsigned(64)
    length = source.pick((1, 16, 17, 512, 513, 4096, 0, 32, 0xFFFF_FFFF))
    flags, following = source.number() & 7, source.number() % 18
    raw = struct.pack("<QIHH", address, length, flags, following)
    table = source.pick((DESCRIPTORS, DESCRIPTORS, DESCRIPTORS, 0x9000))
    rig.driver.memory.write(table + 16 * (source.number() % 16), raw)


def _request(rig: Rig, source: Source) -> None:
    """A request that is nearly right."""
    header = struct.pack("<IIQ", source.pick((0, 1, 4, 8, 9)), 0, source.pick((0, 63, 64, 1 << 63)))
    rig.driver.memory.write(BUFFERS, header)
    length = source.pick((512, 1024, 511, 1, 40_000))
    pieces = [(BUFFERS, 16, False), (BUFFERS + 0x1000, length, source.chance(2))]
    if source.chance(3):
        pieces.insert(1, (source.pick(ADDRESSES), 512, source.chance(2)))
    rig.driver.send([*pieces, (BUFFERS + 0x100, 1, True)])


def _memory(rig: Rig, source: Source) -> None:
    """Anything, anywhere in the rings."""
    at = source.pick((DESCRIPTORS, AVAILABLE, USED, BUFFERS, 0x9000)) + source.number()
    rig.driver.memory.write(at, source.blob()[:4096])


def _register(rig: Rig, source: Source) -> None:
    size = source.pick((1, 2, 4))
    offset = source.number() if source.chance(2) else source.number(2) % 0x4000
    if source.chance(2):
        rig.driver.pci.write(offset, size, source.unsigned(8 * size))
    assert 0 <= rig.driver.pci.read(offset, size) < 1 << 8 * size


def _answer(rig: Rig, source: Source) -> None:
    """The backend answers what it has."""
    if rig.block is not None:
        rig.block.release(source.pick((BlockStatus.OK, BlockStatus.ERROR)))
    rig.settle()


def _offer(rig: Rig, source: Source) -> None:
    rig.driver.offer(source.number() % 18)
    rig.driver.notify(source.pick((0, 0, 0, 1, 0xFFFF)))


def _again(rig: Rig, _source: Source) -> None:
    rig.driver.start()
    rig.driver.available = rig.driver.seen = 0


STEPS: Final = (_describe, _describe, _request, _memory, _register, _answer, _offer, _offer, _again)


def queues(data: bytes) -> None:
    """A driver that breaks every rule, on a virtio disk or entropy source."""
    source = Source(data)
    rig = Rig(source)
    for _ in range(MOST):
        if not source:
            break
        source.pick(STEPS)(rig, source)
    _answer(rig, source)
    rig.driver.put(0x14, 1, 0)
    assert rig.driver.status == 0, "it cannot be reset"
    rig.driver.features = VERSION_1
    rig.driver.memory.write(DESCRIPTORS, bytes(0x5000))
    _again(rig, source)
    rig.driver.send([(BUFFERS, 16, False), (BUFFERS + 0x1000, 32, True)][rig.block is None :])
    _answer(rig, source)
    assert rig.driver.used(), "it does not work again after a reset"


@cache
def _machine() -> tuple[Machine, FakeClock]:
    clock = FakeClock()
    block = MemoryBlock(SECTORS)
    return Machine(block, block, entropy=CountingEntropy(), clock=clock), clock


PORTS: Final = (
    *range(0x20, 0x22), *range(0x40, 0x44), *range(0x60, 0x65), 0x70, 0x71, 0x92, 0xA0, 0xA1,
    *range(0x3F8, 0x400), *range(0x4D0, 0x4D2), *range(0xCF8, 0xD00), *range(0x600, 0x640), 0xB2,
)  # fmt: skip


def board(data: bytes) -> None:
    """A guest that reads and writes ports and device memory, while time passes."""
    source, (machine, clock) = Source(data), _machine()
    machine.board._build()  # as after power-on
    machine.board._end = None
    for _ in range(4 * MOST):
        if not source:
            break
        _access(machine.board, source)
        clock.now += source.pick((0, 1, 1000, 10**6, 10**9, 10**12))
        machine.board.timers.run_due()
        machine.board._call_posted()
        machine.board.acknowledge_irq()


def _access(board: Any, source: Source) -> None:
    size = source.pick((1, 2, 4))
    value = source.unsigned(8 * size)
    kind = source.number() % 5
    port = source.pick(PORTS) if kind < 3 else source.number(2)
    if kind == 0 or kind == 3:
        found = board.pio_in(port, size)
    elif kind == 1:
        found = board.pio_out(port, size, value) or 0
    elif kind == 2:  # a register of a PCI device, most often of a virtio one
        address = 1 << 31 | source.number() % 4 << 11 | source.number() & 0xFC
        board.pio_out(0xCF8, 4, address)
        at = 0xCFC + source.number() % 4
        found = board.pio_out(at, size, value) or board.pio_in(at, size)
    else:
        at = 0xE000_0000 + source.number(2)
        found = board.mmio_write(at, size, value) or board.mmio_read(at, size)
    assert 0 <= found < 1 << 8 * size, f"{found:#x} of {size} bytes"


def reports(data: bytes) -> None:
    """A guest that fails with any registers and any page tables: it is reported."""
    source = Source(data)
    memory = new_memory(MIB)
    registers = flat_cpu.long_mode(memory, 0x8000) if source.chance(2) else Registers()
    registers.general = [source.unsigned(64) for _ in range(16)]
    registers.rip = source.unsigned(64)
    flags = source.pick((0x00A0_9B00, 0x00C0_9B00, 0x9B00))
    registers.cs = Segment(source.unsigned(16), source.unsigned(64), source.unsigned(32), flags)
    registers.gdtr = Table(source.unsigned(64), source.unsigned(16))
    registers.cr0, registers.cr4 = source.pick((0, 1, 1 << 31 | 1)), source.pick((0, 1 << 5))
    registers.cr3, registers.efer = source.unsigned(64), source.pick((0, 1 << 10, 0x500))
    memory.write(source.number(2) & 0xFFF8, source.rest()[:4096])
    text = report(registers, memory)
    assert "=>" in text
