"""Writing, reading and replaying event logs; numbers in them are little-endian.

TPM 1.2, and the first record of TPM 2.0::

    u32 PCR    u32 type    20 bytes SHA-1    u32 size    event

Further records of TPM 2.0 ("crypto-agile")::

    u32 PCR    u32 type    u32 count    {u16 algorithm, digest} ...    u32 size    event

The first record of TPM 2.0 has type ``NO_ACTION``, a digest of zeros, and the event
"Spec ID Event03", 0, u32 platform class, u8 minor, major and errata version, u8 size of an unsigned
integer in units of 32 bits, u32 count, {u16 algorithm, u16 digest size} ..., u8 size of what a
vendor adds.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

SHA1, SHA256, SHA384, SHA512, SM3_256 = 0x04, 0x0B, 0x0C, 0x0D, 0x12
NAMES: Final = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384", SHA512: "sha512"}
"""Algorithms whose digests can be computed here: TPM 2.0's number -> Python's name."""
DIGEST_SIZES: Final = {SHA1: 20, SHA256: 32, SHA384: 48, SHA512: 64}
PCRS: Final = 24
SIGNATURE: Final = b"Spec ID Event03\0"
STARTUP_LOCALITY: Final = b"StartupLocality\0"
LARGEST_EVENT: Final = 1 << 24
"""Bytes of one event that a reader believes."""
_HEADER: Final = struct.Struct("<II")
_SPECIFICATION: Final = struct.Struct("<16sIBBBBI")
_U32: Final = struct.Struct("<I")


class EventType(enum.IntEnum):
    """What happened (Firmware Profile 1.05, 10.4.1).  There are others."""

    PREBOOT_CERT = 0
    POST_CODE = 1
    NO_ACTION = 3
    SEPARATOR = 4
    ACTION = 5
    EVENT_TAG = 6
    S_CRTM_CONTENTS = 7
    S_CRTM_VERSION = 8
    CPU_MICROCODE = 9
    PLATFORM_CONFIG_FLAGS = 10
    TABLE_OF_DEVICES = 11
    COMPACT_HASH = 12
    IPL = 13
    IPL_PARTITION_DATA = 14
    NONHOST_CODE = 15
    NONHOST_CONFIG = 16
    NONHOST_INFO = 17
    OMIT_BOOT_DEVICE_EVENTS = 18


class LogError(ValueError):
    """This is no event log, or it is cut off; the text is a sentence that says where."""


class Event(NamedTuple):
    """One measurement."""

    pcr: int
    type: int
    digests: dict[int, bytes]
    """Algorithm -> what the PCR of that bank was extended with."""
    data: bytes
    """What the log says about it."""


class Log(NamedTuple):
    """A log that was read."""

    algorithms: list[int]
    events: list[Event]
    """Without the record that says what the log is."""
    size: int
    """Bytes of it in what was parsed; zeros or nothing follow."""


def digests_of(data: bytes | memoryview, algorithms: Iterable[int]) -> dict[int, bytes]:
    """The digests that a measurement of ``data`` extends PCRs with."""
    return {one: hashlib.new(NAMES[one], data).digest() for one in algorithms}


def _record_1_2(pcr: int, kind: int, digest: bytes, data: bytes) -> bytes:
    return _HEADER.pack(pcr, kind) + digest + _U32.pack(len(data)) + data


class EventLog:
    """A log that grows."""

    def __init__(self, algorithms: Sequence[int] | None) -> None:
        """A log of TPM 2.0 with these banks, or with None one of TPM 1.2."""
        self.agile = algorithms is not None
        self.algorithms = list(algorithms) if algorithms is not None else [SHA1]
        self._data = bytearray()
        if self.agile:
            count = len(self.algorithms)
            event = _SPECIFICATION.pack(SIGNATURE, 0, 0, 2, 0, 2, count)
            for one in self.algorithms:
                event += struct.pack("<HH", one, DIGEST_SIZES[one])
            self._data += _record_1_2(0, EventType.NO_ACTION, bytes(20), event + b"\0")

    @property
    def data(self) -> bytes:
        return bytes(self._data)

    def append(self, event: Event) -> None:
        """Note an event, whose digests are of the log's algorithms."""
        if not self.agile:
            self._data += _record_1_2(event.pcr, event.type, event.digests[SHA1], event.data)
            return
        self._data += _HEADER.pack(event.pcr, event.type) + _U32.pack(len(self.algorithms))
        for one in self.algorithms:
            self._data += struct.pack("<H", one) + event.digests[one]
        self._data += _U32.pack(len(event.data)) + event.data

    def measure(self, pcr: int, kind: int, data: bytes | memoryview, said: bytes) -> Event:
        """Note that ``data`` is measured; ``said`` is what the log says about it."""
        event = Event(pcr, kind, digests_of(data, self.algorithms), said)
        self.append(event)
        return event


class _Reader:
    """A place in a log."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self.at : self.at + size]
        if len(taken) < size:
            raise LogError(f"the event log is cut off at byte {len(self._data)}")
        self.at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def event_data(self) -> bytes:
        size = self.number(4)
        if size > LARGEST_EVENT:
            raise LogError(f"the event log has an event of {size} bytes at byte {self.at}")
        return self.take(size)

    def record_1_2(self) -> Event:
        pcr, kind, digest = self.number(4), self.number(4), self.take(20)
        return Event(pcr, kind, {SHA1: digest}, self.event_data())

    def record(self, sizes: Mapping[int, int]) -> Event:
        pcr, kind, count = self.number(4), self.number(4), self.number(4)
        if count > len(sizes):
            raise LogError(f"the event log has an event with {count} digests at byte {self.at}")
        digests = {}
        for _ in range(count):
            algorithm = self.number(2)
            if algorithm not in sizes:
                raise LogError(f"the event log has an unknown digest at byte {self.at}")
            digests[algorithm] = self.take(sizes[algorithm])
        return Event(pcr, kind, digests, self.event_data())

    @property
    def ended(self) -> bool:
        """Whether nothing but zeros follows, as in an area that is larger than its log."""
        rest = self._data[self.at :]
        return not rest or (not any(rest[:8]) and not any(rest))


def _specification(data: bytes) -> dict[int, int]:
    """The algorithms and digest sizes that the first record of TPM 2.0 announces."""
    reader = _Reader(data)
    *_, count = _SPECIFICATION.unpack(reader.take(_SPECIFICATION.size))
    if not 1 <= count <= 16:
        raise LogError(f"the event log announces {count} algorithms")
    return {reader.number(2): reader.number(2) for _ in range(count)}


def parse(data: bytes) -> Log:
    """Read a log of either kind; raises ``LogError``."""
    reader = _Reader(data)
    events: list[Event] = []
    if reader.ended:
        return Log([SHA1], events, 0)
    first = reader.record_1_2()
    if first.type == EventType.NO_ACTION and first.data.startswith(SIGNATURE):
        sizes = _specification(first.data)
        while not reader.ended:
            events.append(reader.record(sizes))
        return Log(list(sizes), events, reader.at)
    events.append(first)
    while not reader.ended:
        events.append(reader.record_1_2())
    return Log([SHA1], events, reader.at)


def replay(events: Iterable[Event], algorithm: int) -> dict[int, bytes]:
    """The values of PCR 0 to 23 of one bank after all events.

    An event that names the locality of startup gives PCR 0 its first value.  Raises ``LogError``
    for an event without a digest of the bank, or of a PCR that is not there.
    """
    size = DIGEST_SIZES[algorithm]
    values = {pcr: (b"\xff" if 17 <= pcr <= 22 else b"\0") * size for pcr in range(PCRS)}
    for event in events:
        if event.type == EventType.NO_ACTION:
            if event.data.startswith(STARTUP_LOCALITY) and len(event.data) > len(STARTUP_LOCALITY):
                values[0] = event.data[len(STARTUP_LOCALITY)].to_bytes(size, "big")
            continue
        if event.pcr not in values or algorithm not in event.digests:
            raise LogError(f"the event log has an event of PCR {event.pcr} that cannot be replayed")
        joined = values[event.pcr] + event.digests[algorithm]
        values[event.pcr] = hashlib.new(NAMES[algorithm], joined).digest()
    return values
