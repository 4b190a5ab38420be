"""An ATAPI CD-ROM drive with a disc of one data track (INF-8020i, SFF-8020; MMC-5, SPC-3).

The disc's sectors have 2048 bytes, four of the backend's.  The tray opens when the host ejects, and
closes when it loads; the disc stays in it.

  command packets, byte 0
  00 TEST UNIT READY  03 REQUEST SENSE  12 INQUIRY  1A/5A MODE SENSE  1B START STOP UNIT
  1E PREVENT ALLOW  25 READ CAPACITY  28/A8 READ  2B SEEK  42 READ SUB-CHANNEL  43 READ TOC
  46 GET CONFIGURATION  4A GET EVENT STATUS  51 READ DISC INFORMATION  BB SET SPEED
  BD MECHANISM STATUS  BE READ CD
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from vmm.backends import SECTOR, Block, BlockOperation
from vmm.devices.ata import identify
from vmm.devices.ata.action import (
    ABRT,
    PASSED,
    Action,
    AwaitPacket,
    CommandError,
    Done,
    Identity,
    Registers,
    Reply,
    Transfer,
)

SECTORS = 2048 // SECTOR
"""Of the backend in one of the disc."""
FRAMES = 75
"""Sectors of the disc in a second of its time."""
LEAD_IN = 150
"""Sectors before the first one, in addresses by minute, second and frame."""
SIGNATURE = (0x14, 0xEB)
PROFILE_CD, PROFILE_DVD = 0x08, 0x10
LARGEST_CD = 449_850
"""Sectors above which a disc is a DVD, for systems that ask: 100 minutes."""
LEAD_OUT = 0xAA


class Sense(NamedTuple):
    """Why a command failed: sense key, and additional sense code with qualifier (SPC-3, 4.5)."""

    key: int = 0
    code: int = 0
    qualifier: int = 0


GOOD = Sense()
NOT_READY_EMPTY = Sense(2, 0x3A, 0x02)
MEDIUM_ERROR = Sense(3, 0x11, 0x00)
ILLEGAL_COMMAND = Sense(5, 0x20, 0x00)
OUT_OF_RANGE = Sense(5, 0x21, 0x00)
ILLEGAL_FIELD = Sense(5, 0x24, 0x00)
ILLEGAL_TRACK_MODE = Sense(5, 0x64, 0x00)
REMOVAL_PREVENTED = Sense(5, 0x53, 0x02)
MEDIUM_CHANGED = Sense(6, 0x28, 0x00)
WAS_RESET = Sense(6, 0x29, 0x00)

QUIET = frozenset({0x03, 0x12, 0x46, 0x4A})
"""Commands that a drive obeys while there is something the host has not been told of."""


class PacketError(Exception):
    """A packet command fails."""

    def __init__(self, sense: Sense) -> None:
        super().__init__(sense)
        self.sense = sense


def _msf(lba: int) -> bytes:
    """An address as minute, second and frame, in the four bytes of a table of contents."""
    at = lba + LEAD_IN
    return bytes([0, min(at // (60 * FRAMES), 255), at // FRAMES % 60, at % FRAMES])


def _be16(packet: bytes, at: int) -> int:
    return packet[at] << 8 | packet[at + 1]


def _be32(packet: bytes, at: int) -> int:
    return _be16(packet, at) << 16 | _be16(packet, at + 2)


class CdRom:
    """A drive in front of a block backend, which is only read."""

    def __init__(self, backend: Block, identity: Identity, serial_ata: bool = False) -> None:
        self.backend = backend
        self.registers = Registers()
        self._identity = identity
        self._serial_ata = serial_ata
        self._sectors = min(backend.sectors // SECTORS, 0xFFFF_FFFF)
        self._open = self._locked = False
        self._dma = False
        self._limit = 0
        self._packets: dict[int, Callable[[bytes], Action]] = {
            0x00: self._test_unit_ready,
            0x03: self._request_sense,
            0x12: self._inquiry,
            0x1A: self._mode_sense_6,
            0x1B: self._start_stop,
            0x1E: self._prevent_allow,
            0x25: self._read_capacity,
            0x28: lambda packet: self._read(_be32(packet, 2), _be16(packet, 7)),
            0x2B: lambda packet: self._read(_be32(packet, 2), 0),
            0x42: self._read_sub_channel,
            0x43: self._read_toc,
            0x46: self._get_configuration,
            0x4A: self._get_event_status,
            0x51: self._read_disc_information,
            0x5A: self._mode_sense_10,
            0xA8: lambda packet: self._read(_be32(packet, 2), _be32(packet, 6)),
            0xBB: lambda _packet: Done(),
            0xBD: lambda packet: self._reply(bytes(8), _be16(packet, 8)),
            0xBE: self._read_cd,
        }
        self.reset(hard=True)

    def reset(self, hard: bool) -> None:
        registers = self.registers
        registers.count, registers.low = 1, 1
        registers.middle, registers.high = SIGNATURE
        registers.device = registers.status = 0
        registers.error = PASSED
        if hard:
            self._multiword, self._ultra = 0, 1 << 5
            self._sense = GOOD
            self._attention = WAS_RESET  # what the host has not been told of; GOOD is nothing
            self._event = 0
            self._locked = False

    # ATA commands

    def execute(self, command: int) -> Action:
        if command == 0xA0:
            return self._begin_packet()
        if command == 0xA1:
            return Reply(self._identify())
        if command == 0x08:
            self.reset(hard=False)
            return Done()
        if command == 0xEC:  # the signature says why it fails
            self.reset(hard=False)
            raise CommandError
        if command == 0xEF and self.registers.features & 0xFF == 0x03:
            return self._set_mode(self.registers.count & 0xFF)
        if command in (0xE0, 0xE1, 0xE6, 0xE7, 0xEA):
            return Done()
        if command == 0xE5:
            self.registers.count = 0xFF
            return Done()
        raise CommandError

    def _set_mode(self, value: int) -> Action:
        kind, mode = value >> 3, value & 7
        if kind == 0b00100 and mode <= 2:
            self._multiword, self._ultra = 1 << mode, 0
        elif kind == 0b01000 and mode <= 5:
            self._multiword, self._ultra = 0, 1 << mode
        elif kind > 1:
            raise CommandError
        return Done()

    def _begin_packet(self) -> Action:
        registers = self.registers
        self._dma = bool(registers.features & 1)
        limit = registers.middle & 0xFF | (registers.high & 0xFF) << 8
        self._limit = limit & ~1 or 0xFFFE
        return AwaitPacket()

    # Packets

    def packet(self, packet: bytes) -> Action:
        code = packet[0]
        if self._attention != GOOD and code not in QUIET:
            sense, self._attention = self._attention, GOOD
            raise self._fails(sense)
        begin = self._packets.get(code)
        try:
            if begin is None:
                raise PacketError(ILLEGAL_COMMAND)
            action = begin(packet)
        except PacketError as error:
            raise self._fails(error.sense) from None
        if code != 0x03:
            self._sense = GOOD
        return action

    def failed(self, operation: BlockOperation) -> CommandError:
        return self._fails(MEDIUM_ERROR)

    def _fails(self, sense: Sense) -> CommandError:
        self._sense = sense
        return CommandError(sense.key << 4 | ABRT)

    def _reply(self, data: bytes, allocation: int) -> Action:
        """As much of the data as the host has room for."""
        data = data[:allocation]
        if not data:
            return Done()
        return Reply(data, self._dma, self._limit)

    def _require_disc(self) -> None:
        if self._open:
            raise PacketError(NOT_READY_EMPTY)

    def _test_unit_ready(self, _packet: bytes) -> Action:
        self._require_disc()
        return Done()

    def _request_sense(self, packet: bytes) -> Action:
        sense = self._sense
        if sense == GOOD:
            sense, self._attention = self._attention, GOOD
        self._sense = GOOD
        data = bytearray(18)
        data[0], data[2], data[7] = 0x70, sense.key, 10
        data[12], data[13] = sense.code, sense.qualifier
        return self._reply(bytes(data), packet[4])

    def _inquiry(self, packet: bytes) -> Action:
        if packet[1] & 1 or packet[2]:  # vital product data
            raise PacketError(ILLEGAL_FIELD)
        names = "CLOISTER".ljust(8) + self._identity.model[:16].ljust(16)
        names += self._identity.firmware[:4].ljust(4)
        data = bytes([0x05, 0x80, 0x05, 0x32, 31, 0, 0, 0]) + names.encode("ascii", "replace")
        return self._reply(data, _be16(packet, 3))

    def _read_capacity(self, _packet: bytes) -> Action:
        self._require_disc()
        return self._reply(struct.pack(">II", max(self._sectors - 1, 0), 2048), 8)

    def _read(self, first: int, count: int) -> Action:
        self._require_disc()
        if first + count > self._sectors:
            raise PacketError(OUT_OF_RANGE)
        if not count:
            return Done()
        place, size = first * SECTORS, count * SECTORS
        return Transfer(BlockOperation.READ, place, size, self._dma, block=self._limit)

    def _read_cd(self, packet: bytes) -> Action:
        """User data of sectors; what is around it on a disc is not kept in images."""
        count = packet[6] << 16 | _be16(packet, 7)
        wanted = packet[9] & 0xF8
        if not count or not wanted:
            return self._read(_be32(packet, 2), 0)
        if wanted != 0x10 or packet[1] >> 2 & 7 not in (0, 2, 4):
            raise PacketError(ILLEGAL_TRACK_MODE)
        return self._read(_be32(packet, 2), count)

    def _start_stop(self, packet: bytes) -> Action:
        load_eject, start = packet[4] & 2, packet[4] & 1
        if load_eject and not start:
            if self._locked:
                raise PacketError(REMOVAL_PREVENTED)
            self._open, self._event = True, 3
        elif load_eject and self._open:
            self._open, self._event = False, 2
            self._attention = MEDIUM_CHANGED
        return Done()

    def _prevent_allow(self, packet: bytes) -> Action:
        self._locked = bool(packet[4] & 1)
        return Done()

    # What is on the disc

    def _read_toc(self, packet: bytes) -> Action:
        self._require_disc()
        msf, form = bool(packet[1] & 2), packet[2] & 0xF or packet[9] >> 6
        if form == 0:
            data = self._tracks(packet[6], msf)
        elif form == 1:
            data = bytes([1, 1]) + self._track(1, 0, msf)
        elif form == 2:
            data = bytes([1, 1]) + self._full_toc()
        else:
            raise PacketError(ILLEGAL_FIELD)
        return self._reply(struct.pack(">H", len(data)) + data, _be16(packet, 7))

    def _tracks(self, first: int, msf: bool) -> bytes:
        """The data track, and the lead-out after it."""
        if first > 1 and first != LEAD_OUT:
            raise PacketError(ILLEGAL_FIELD)
        data = bytes([1, 1])
        if first <= 1:
            data += self._track(1, 0, msf)
        return data + self._track(LEAD_OUT, self._sectors, msf)

    def _track(self, number: int, lba: int, msf: bool) -> bytes:
        return bytes([0, 0x14, number, 0]) + (_msf(lba) if msf else struct.pack(">I", lba))

    def _full_toc(self) -> bytes:
        points = ((0xA0, bytes([0, 1, 0, 0])), (0xA1, bytes([0, 1, 0, 0])))
        rows = (*points, (0xA2, _msf(self._sectors)), (1, _msf(0)))
        return b"".join(bytes([1, 0x14, 0, point, 0, 0, 0]) + msf for point, msf in rows)

    def _read_disc_information(self, packet: bytes) -> Action:
        self._require_disc()
        data = bytearray(34)
        struct.pack_into(">H", data, 0, 32)
        data[2] = 0x0E  # complete, one session
        data[3] = data[4] = data[5] = data[6] = 1
        data[7] = 0x20
        return self._reply(bytes(data), _be16(packet, 7))

    def _read_sub_channel(self, packet: bytes) -> Action:
        self._require_disc()
        return self._reply(bytes([0, 0x15, 0, 0]), _be16(packet, 7))

    # What the drive is, and what happened to it

    def _get_configuration(self, packet: bytes) -> Action:
        """Profiles, core, removable medium, and reading (MMC-5, 6.6)."""
        profile = PROFILE_DVD if self._sectors > LARGEST_CD else PROFILE_CD
        if self._open:
            profile = 0
        starting, kind = _be16(packet, 2), packet[1] & 3
        if kind == 3:
            raise PacketError(ILLEGAL_FIELD)
        features = {
            0x0000: _feature(0, 0x03, _profile(PROFILE_DVD, profile) + _profile(8, profile)),
            0x0001: _feature(1, 0x03, struct.pack(">I", 2)),  # ATAPI
            0x0003: _feature(3, 0x03, bytes([0x29, 0, 0, 0])),  # tray, eject, lock
            0x0010: _feature(0x10, 0x01, struct.pack(">IHBB", 2048, 1, 0, 0)),
        }
        data = b"".join(
            feature
            for number, feature in features.items()
            if (number == starting if kind == 2 else number >= starting)
        )
        head = struct.pack(">IHH", len(data) + 4, 0, profile)
        return self._reply(head + data, _be16(packet, 7))

    def _get_event_status(self, packet: bytes) -> Action:
        if not packet[1] & 1:  # by interrupt: not here
            raise PacketError(ILLEGAL_FIELD)
        if not packet[4] & 1 << 4:
            return self._reply(bytes([0, 2, 0x80, 0x10]), _be16(packet, 7))
        event, self._event = self._event, 0
        state = 1 if self._open else 2
        return self._reply(bytes([0, 6, 4, 0x10, event, state, 0, 0]), _be16(packet, 7))

    def _mode_sense_6(self, packet: bytes) -> Action:
        pages = self._pages(packet[2] & 0x3F)
        return self._reply(bytes([3 + len(pages), 0x01, 0, 0]) + pages, packet[4])

    def _mode_sense_10(self, packet: bytes) -> Action:
        pages = self._pages(packet[2] & 0x3F)
        head = struct.pack(">HB5x", 6 + len(pages), 0x70 if self._open else 0x01)
        return self._reply(head + pages, _be16(packet, 7))

    def _pages(self, wanted: int) -> bytes:
        """Mode pages: error recovery and capabilities (MMC-5, 7)."""
        recovery = bytes([0x01, 0x06, 0x00, 0x05, 0, 0, 0, 0])
        lock = 0x29 | (2 if self._locked else 0)
        speed = 706 * 4
        capabilities = struct.pack(
            ">BBBBBBBBHHHHHH", 0x2A, 0x12, 0x3B, 0, 0x71, 0x60, lock, 0, speed, 2, 512, speed, 0, 0
        )
        pages = {0x01: recovery, 0x2A: capabilities}
        if wanted == 0x3F:
            return b"".join(pages.values())
        if wanted not in pages:
            raise PacketError(ILLEGAL_FIELD)
        return pages[wanted]

    def _identify(self) -> bytes:
        words = [0] * 256
        words[0] = 0x85C0  # ATAPI, CD-ROM, removable, packets of 12 bytes
        identify.names(words, self._identity)
        words[49] = 0x0F00
        identify.timings(words, self._multiword, self._ultra)
        words[71] = words[72] = 30
        words[80] = 0x00F0
        words[82] = words[85] = 0x4210  # NOP, DEVICE RESET, PACKET
        words[83] = words[84] = words[87] = 0x4000
        identify.cable(words, self._serial_ata)
        return identify.seal(words)


def _feature(number: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HBB", number, flags, len(body)) + body


def _profile(number: int, current: int) -> bytes:
    return struct.pack(">HBB", number, number == current, 0)
