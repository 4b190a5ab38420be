"""An ATA disk: the general feature set, 48-bit addresses, SMART (ATA/ATAPI-7 and ATA8-ACS).

Sectors have 512 bytes.  Of old disks it has addresses by cylinder, head and sector in a geometry
that the host may choose; of newer ones no command queues, no security and no trimming.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from vmm.backends import SECTOR, Block, BlockOperation
from vmm.devices.ata import identify
from vmm.devices.ata.action import (
    ABRT,
    DEVICE_LBA,
    IDNF,
    PASSED,
    READY,
    UNC,
    Action,
    CommandError,
    Done,
    Flush,
    Identity,
    Registers,
    Reply,
    Transfer,
)

HEADS, SECTORS_PER_TRACK, MOST_CYLINDERS = 16, 63, 16383
MOST_28 = (1 << 28) - 1
MOST_48 = (1 << 48) - 1
MOST_MULTIPLE = 16
"""Sectors in a block of READ MULTIPLE."""
SMART_KEY = (0x4F, 0xC2)
SMART_FAILING = (0xF4, 0x2C)
ULTRA_DEFAULT, MULTIWORD_DEFAULT = 1 << 5, 0


class Access(NamedTuple):
    """A command that moves sectors."""

    operation: BlockOperation
    wide: bool = False
    """48-bit address and 16-bit count."""
    dma: bool = False
    multiple: bool = False
    durable: bool = False


_READ, _WRITE = BlockOperation.READ, BlockOperation.WRITE

ACCESSES = {
    0x20: Access(_READ),
    0x21: Access(_READ),
    0x24: Access(_READ, wide=True),
    0x25: Access(_READ, wide=True, dma=True),
    0x29: Access(_READ, wide=True, multiple=True),
    0x30: Access(_WRITE),
    0x31: Access(_WRITE),
    0x34: Access(_WRITE, wide=True),
    0x35: Access(_WRITE, wide=True, dma=True),
    0x39: Access(_WRITE, wide=True, multiple=True),
    0x3D: Access(_WRITE, wide=True, dma=True, durable=True),
    0xC4: Access(_READ, multiple=True),
    0xC5: Access(_WRITE, multiple=True),
    0xC8: Access(_READ, dma=True),
    0xC9: Access(_READ, dma=True),
    0xCA: Access(_WRITE, dma=True),
    0xCB: Access(_WRITE, dma=True),
    0xCE: Access(_WRITE, wide=True, multiple=True, durable=True),
}
"""READ and WRITE SECTORS, MULTIPLE and DMA, and their EXT and FUA forms."""
VERIFIES = {0x40: False, 0x41: False, 0x42: True}
"""READ VERIFY SECTORS -> whether it has a 48-bit address."""


class Disk:
    """A drive in front of a block backend."""

    def __init__(self, backend: Block, identity: Identity, serial_ata: bool = False) -> None:
        """``serial_ata``: it is on a serial cable, as AHCI's are, and says so."""
        self.backend = backend
        self._serial_ata = serial_ata
        self.registers = Registers()
        self._identity = identity
        self._sectors = min(backend.sectors, MOST_48)
        self._cylinders = min(MOST_CYLINDERS, max(1, self._sectors // (HEADS * SECTORS_PER_TRACK)))
        self._commands = self._table()
        self.reset(hard=True)

    def _table(self) -> dict[int, Callable[[], Action]]:
        done = Done
        commands: dict[int, Callable[[], Action]] = {
            0x27: lambda: self._native_size(wide=True),
            0xF8: lambda: self._native_size(wide=False),
            0x70: done,  # SEEK
            0x91: self._initialize_parameters,
            0xB0: self._smart,
            0xC6: self._set_multiple,
            0xE5: self._check_power,
            0xE7: Flush,
            0xEA: Flush,
            0xEC: lambda: Reply(self._identify()),
            0xEF: self._set_features,
        }
        commands |= dict.fromkeys(range(0x10, 0x20), done)  # RECALIBRATE
        # STANDBY, IDLE and SLEEP, with IMMEDIATE and without, by their old and new numbers
        for first in (0x94, 0xE0):
            commands |= dict.fromkeys(range(first, first + 4), done)
        commands |= {0x98: self._check_power, 0x99: done, 0xE6: done}
        commands |= {code: partial(self._access, access) for code, access in ACCESSES.items()}
        commands |= {code: partial(self._verify, wide) for code, wide in VERIFIES.items()}
        return commands

    def reset(self, hard: bool) -> None:
        registers = self.registers
        registers.count, registers.low, registers.middle, registers.high = 1, 1, 0, 0
        registers.device = 0
        registers.status, registers.error = READY, PASSED
        if hard:
            self._multiple = MOST_MULTIPLE
            self._write_cache = self._look_ahead = True
            self._smart_enabled = True
            self._multiword, self._ultra = MULTIWORD_DEFAULT, ULTRA_DEFAULT
            self._heads, self._track = HEADS, SECTORS_PER_TRACK

    def execute(self, command: int) -> Action:
        begin = self._commands.get(command)
        if begin is None:
            raise CommandError
        return begin()

    def packet(self, packet: bytes) -> Action:
        raise CommandError

    def failed(self, operation: BlockOperation) -> CommandError:
        return CommandError(UNC if operation is BlockOperation.READ else ABRT)

    # Sectors

    def _range(self, wide: bool) -> tuple[int, int]:
        """First sector and number of sectors, checked."""
        registers = self.registers
        count = registers.count if wide else registers.count & 0xFF
        count = count or (0x1_0000 if wide else 0x100)
        if registers.device & DEVICE_LBA:
            first = registers.lba48 if wide else registers.lba28
        elif wide:
            raise CommandError
        else:
            first = self._linear()
        if first + count > self._sectors:
            raise CommandError(IDNF)
        return first, count

    def _linear(self) -> int:
        """The address in cylinder, head and sector, which count from 0, 0 and 1."""
        registers = self.registers
        sector = registers.low & 0xFF
        head = registers.device & 0xF
        if not 1 <= sector <= self._track or head >= self._heads:
            raise CommandError(IDNF)
        cylinder = registers.middle & 0xFF | (registers.high & 0xFF) << 8
        return (cylinder * self._heads + head) * self._track + sector - 1

    def _access(self, access: Access) -> Action:
        if access.multiple and not self._multiple:
            raise CommandError
        first, count = self._range(access.wide)
        writing = access.operation is BlockOperation.WRITE
        if writing and self.backend.read_only:
            raise CommandError
        block = SECTOR * (self._multiple if access.multiple else 1)
        durable = writing and (access.durable or not self._write_cache)
        return Transfer(access.operation, first, count, access.dma, block, durable)

    def _verify(self, wide: bool) -> Action:
        self._range(wide)
        return Done()

    def _native_size(self, wide: bool) -> Action:
        last = self._sectors - 1
        registers = self.registers
        if wide:
            registers.set_lba48(last)
            return Done()
        last = min(last, MOST_28)
        registers.set_lba48(last & 0xFF_FFFF)
        registers.device = registers.device & 0xF0 | last >> 24
        return Done()

    # Settings

    def _initialize_parameters(self) -> Action:
        """Choose the geometry for addresses by cylinder, head and sector."""
        track = self.registers.count & 0xFF
        if not track:
            raise CommandError
        self._heads, self._track = (self.registers.device & 0xF) + 1, track
        return Done()

    def _set_multiple(self) -> Action:
        count = self.registers.count & 0xFF
        if count > MOST_MULTIPLE or count & (count - 1):
            raise CommandError
        self._multiple = count
        return Done()

    def _check_power(self) -> Action:
        self.registers.count = 0xFF  # active or idle
        return Done()

    def _set_features(self) -> Action:
        feature = self.registers.features & 0xFF
        if feature == 0x03:
            self._set_mode(self.registers.count & 0xFF)
        elif feature in (0x02, 0x82):
            self._write_cache = feature == 0x02
            if not self._write_cache:
                return Flush()
        elif feature in (0x55, 0xAA):
            self._look_ahead = feature == 0xAA
        elif feature not in (0x66, 0xCC):  # defaults after a software reset: kept either way
            raise CommandError
        return Done()

    def _set_mode(self, value: int) -> None:
        """Bits 7:3 are the kind of transfer, 2:0 the mode."""
        kind, mode = value >> 3, value & 7
        if kind == 0b00100 and mode <= 2:
            self._multiword, self._ultra = 1 << mode, 0
        elif kind == 0b01000 and mode <= 5:
            self._multiword, self._ultra = 0, 1 << mode
        elif not (kind == 0 and mode <= 1) and not (kind == 1 and mode <= 4):
            raise CommandError

    # SMART

    def _smart(self) -> Action:
        registers = self.registers
        if (registers.middle & 0xFF, registers.high & 0xFF) != SMART_KEY:
            raise CommandError
        action = registers.features & 0xFF
        if action == 0xD8:
            self._smart_enabled = True
        elif not self._smart_enabled:
            raise CommandError
        elif action == 0xD9:
            self._smart_enabled = False
        elif action in (0xD0, 0xD1):
            return Reply(_smart_data())
        elif action not in (0xD2, 0xD4, 0xDA):  # DA: the key stays in place, which says healthy
            raise CommandError
        return Done()

    # Identity

    def _identify(self) -> bytes:
        words = [0] * 256
        words[0] = 0x0040  # a fixed disk
        words[1], words[3], words[6] = self._cylinders, HEADS, SECTORS_PER_TRACK
        identify.names(words, self._identity)
        words[47] = 0x8000 | MOST_MULTIPLE
        words[48] = 0x0001
        words[49] = 0x0F00  # LBA, DMA, IORDY
        words[50] = 0x4000
        words[51] = 0x0200
        identify.timings(words, self._multiword, self._ultra)
        words[53] |= 1
        size = min(self._sectors, MOST_28)
        cylinder = self._heads * self._track
        cylinders = min(size // cylinder, 0xFFFF)
        words[54], words[55], words[56] = cylinders, self._heads, self._track
        _pair(words, 57, cylinders * cylinder)
        words[59] = 0x0100 | self._multiple if self._multiple else 0
        _pair(words, 60, size)
        words[80] = 0x00F0  # ATA/ATAPI-4 to 7
        words[82] = 0x0061  # look-ahead, write cache, SMART
        words[83] = 0x7400  # FLUSH CACHE, FLUSH CACHE EXT, 48-bit addresses
        words[84] = 0x4040  # WRITE DMA FUA EXT
        words[85] = self._look_ahead << 6 | self._write_cache << 5 | self._smart_enabled
        words[86], words[87] = 0x3400, 0x4040
        identify.cable(words, self._serial_ata)
        words[100:104] = struct.unpack("<4H", struct.pack("<Q", self._sectors))
        words[106] = 0x4000
        words[217] = 0x0001  # not a rotating medium
        return identify.seal(words)


def _pair(words: list[int], at: int, value: int) -> None:
    words[at], words[at + 1] = value & 0xFFFF, value >> 16


def _smart_data() -> bytes:
    """No attributes, and no self-test (ATA8-ACS, 7.48.6)."""
    data = bytearray(SECTOR)
    data[0] = 1
    data[511] = -sum(data) & 0xFF
    return bytes(data)
