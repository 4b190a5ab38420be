"""Where the log is kept: a device of fixed size, or memory.

On the device, which begins as zeros, entries follow each other from offset 0::

    u32 big-endian   length of the entry, 1 to ``LONGEST``
    length bytes     msgpack [number, time, source, event, detail, hash]
    ...
    u32              0: the end

An entry is written together with the 0 behind it and synced before it is acknowledged.  When the
writer is cut off in the middle, what is there was never acknowledged: at the next start an entry
that does not decode or does not continue the chain, and has nothing but zeros behind it, is taken
for that and overwritten.  Any other damage is somebody's doing: it is kept and reported by
``verify``, and if it hides what follows, nothing is appended any more, which would destroy what is
left of the evidence.
"""

from __future__ import annotations

import struct
from array import array
from collections import deque
from typing import Final, Protocol

import msgspec

from servers.audit.chain import GENESIS, fits
from servers.audit.interface import Record
from servers.runtime import Device, Failed

LONGEST: Final = 2048
"""Bytes of one encoded entry at most."""
MEMORY: Final = 4096
"""Entries that are kept without a device."""
_LENGTH: Final = struct.Struct(">I")
_WINDOW: Final = LONGEST + 2 * _LENGTH.size
_STEP: Final = 1 << 16
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Store(Protocol):
    """The entries of the log."""

    head: bytes
    """The hash of the last entry."""

    @property
    def count(self) -> int:
        """How many entries there are; they are numbered from 1."""

    @property
    def first(self) -> int:
        """The number of the first one that is still there."""

    def add(self, record: Record) -> None:
        """Keep the next entry; raises ``Failed``, and has changed nothing then."""

    def get(self, number: int) -> Record | None:
        """An entry, or None if it is not there or cannot be read any more."""

    def bad(self) -> int:
        """The number of the first entry that is not what was stored, or 0."""


class MemoryStore:
    """The last ``MEMORY`` entries."""

    def __init__(self) -> None:
        self.count = 0
        self.head = GENESIS
        self._kept: deque[Record] = deque(maxlen=MEMORY)

    @property
    def first(self) -> int:
        return self.count - len(self._kept) + 1

    def add(self, record: Record) -> None:
        self._kept.append(record)
        self.count, self.head = record.number, bytes.fromhex(record.hash)

    def get(self, number: int) -> Record | None:
        index = number - self.first
        return self._kept[index] if 0 <= index < len(self._kept) else None

    def bad(self) -> int:
        before = GENESIS if self.first == 1 else None
        for record in self._kept:
            if before is not None and not fits(before, record.number, record):
                return record.number
            before = bytes.fromhex(record.hash)
        return 0


class DeviceStore:
    """A log on a device."""

    first = 1

    def __init__(self, device: Device) -> None:
        """Find the end of what is there."""
        self._access = device.access
        self._size = device.size
        self._places = array("Q")  # where each entry is
        self.head = GENESIS
        self._damaged = False  # where the chain cannot be followed any more
        self._end = self._scan()
        if not self._damaged:
            self._clear()

    @property
    def count(self) -> int:
        return len(self._places)

    def _frame(self, place: int) -> bytes | None:
        """What is framed at a place: empty at the end, None if that makes no sense."""
        if place + _LENGTH.size > self._size:
            return b""
        (length,) = _LENGTH.unpack(self._access.read_at(place, _LENGTH.size))
        if not length:
            return b""
        if length > LONGEST or place + _LENGTH.size + length > self._size:
            return None
        return self._access.read_at(place + _LENGTH.size, length)

    def _scan(self) -> int:
        """Go through all entries; where the next one belongs."""
        place = 0
        before: bytes | None = GENESIS  # None after an entry that cannot be believed
        while frame := self._frame(place):
            record, number = _record(frame), self.count + 1
            good = record is not None and record.number == number
            if good and record is not None and before is not None:
                good = fits(before, number, record)
            following = place + _LENGTH.size + len(frame)
            if not good and self._empty(following):
                return place  # it was never acknowledged
            self._places.append(place)
            place = following
            self.head = bytes.fromhex(record.hash) if record is not None else GENESIS
            before = self.head if good else None
        self._damaged = not self._empty(place + _WINDOW)
        return place

    def _empty(self, start: int) -> bool:
        """Whether there is nothing but zeros from ``start`` on."""
        for place in range(start, self._size, _STEP):
            data = self._access.read_at(place, min(_STEP, self._size - place))
            if data.count(0) != len(data):
                return False
        return True

    def _clear(self) -> None:
        """Wipe what was left behind the end by a writer that was cut off."""
        size = min(_WINDOW, self._size - self._end)
        if size > 0 and any(self._access.read_at(self._end, size)):
            self._write(self._end, bytes(size))

    def _write(self, place: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = self._access.write_from(place, [view])
            if count <= 0:
                raise OSError(5, "the device takes no more")
            view, place = view[count:], place + count
        self._access.sync()

    def add(self, record: Record) -> None:
        data = _encode(record)
        data = _LENGTH.pack(len(data)) + data
        if self._damaged:
            raise Failed(
                f"the audit log is damaged after entry {self.count}; "
                "nothing is added, so as not to overwrite what is left"
            )
        room = self._size - self._end
        if len(data) > room:
            raise Failed(
                f"the audit log is full: {self._end} of {self._size} bytes hold "
                f"{self.count} entries; give it a larger device"
            )
        end = bytes(min(_LENGTH.size, room - len(data)))
        try:
            self._write(self._end, data + end)
        except OSError as error:
            raise Failed(f"the audit log cannot be written: {error.strerror}") from None
        self._places.append(self._end)
        self._end += len(data)
        self.head = bytes.fromhex(record.hash)

    def get(self, number: int) -> Record | None:
        if not 1 <= number <= self.count:
            return None
        frame = self._frame(self._places[number - 1])
        return _record(frame) if frame else None

    def bad(self) -> int:
        before = GENESIS
        for number in range(1, self.count + 1):
            record = self.get(number)
            if record is None or not fits(before, number, record):
                return number
            before = bytes.fromhex(record.hash)
        if self._damaged:
            return self.count + 1
        return 0 if before == self.head else self.count


def _record(frame: bytes) -> Record | None:
    """The entry in a frame, or None."""
    try:
        record = _decode(frame)
        return record if len(bytes.fromhex(record.hash)) == len(GENESIS) else None
    except (msgspec.MsgspecError, ValueError):
        return None
