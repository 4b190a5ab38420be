"""Named blobs on a medium of fixed size, changed together or not at all.

A commit is one record, appended to a journal and synced before ``commit`` returns: one write and
one sync whatever the size of the state, where writing all of it to a new file and renaming that
would be two syncs and the whole state, and could not be done on a device.

The medium has two areas, of which one is current.  When the current one is full, the other gets
the whole state as its first record, then the next generation's header; until that header is there
the old area counts.  An area, with numbers big-endian::

    0    8  magic          8   8  generation      16  16  store's identity
    32  32  salt           64 16  HMAC of the above    80  8  SHA-256 of the above, cut off
    512     records, one behind the other, and at the area's end 512 bytes with the header again:
            8  mark, the salt's first bytes        8   4  index in this area
            12 4  length of what follows           16 12  nonce
            28    AES-256-GCM of msgpack {name: contents, or nil if deleted}

A record's key is derived from the store's and the area's salt; its associated data are generation,
index and the tag of the record before, so that records cannot be moved, left out or repeated.

The copy is written with the first record, before the header itself: where a header was torn or has
rotted, it says what the area is, so that nothing goes back silently to the other one.

**A crash** leaves at most one incomplete record, which was not acknowledged: it is overwritten by
the next.  A record that cannot be read although a later one is there is damage, and is reported
instead of going back silently to what was before it.  A *copy of an older medium* put in its place
is a valid one: whoever can keep a counter elsewhere compares ``position``, which grows with every
commit.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PAGE: Final = 4096
SMALLEST: Final = 16 * PAGE
"""Bytes of a medium at least."""
RECORDS_AT: Final = 512
MAGIC: Final = b"cltpm\0\0\1"
_FIELDS: Final = struct.Struct(">8sQ16s32s")
_HEADER_SIZE: Final = _FIELDS.size + 16 + 8
_RECORD: Final = struct.Struct(">8sII12s")
_POSITION: Final = struct.Struct(">QI16s")
_TAG: Final = 16

Changes = Mapping[str, bytes | None]
"""Name -> new contents, or None to delete it."""
Key = bytes | Callable[[bytes], bytes]
"""32 bytes, or a function that makes them from the store's identity (16 bytes)."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes | None]).decode


class StoreError(Exception):
    """The state cannot be used; the text is one sentence."""


class StoreDamaged(StoreError):
    """What is there is not what was written."""


class WrongKey(StoreError):
    """The state was written under another key."""


class StoreFull(StoreError):
    """The state does not fit the medium; nothing was changed."""


class Medium(Protocol):
    """Bytes at offsets: a file, or a device that a process was handed."""

    @property
    def size(self) -> int:
        """In bytes."""

    def read_at(self, offset: int, size: int) -> bytes: ...

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of ``data``; raises ``OSError``."""

    def sync(self) -> None:
        """Return once all that was written is on stable storage."""


class _Area(NamedTuple):
    """The header of one area."""

    start: int
    generation: int
    identity: bytes
    salt: bytes

    @property
    def mark(self) -> bytes:
        return self.salt[:8]


def _derive(key: bytes, purpose: bytes, salt: bytes) -> bytes:
    """One block of HKDF-SHA256 (RFC 5869)."""
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, purpose + b"\1", "sha256")


def _pack_header(key: bytes, area: _Area) -> bytes:
    fields = _FIELDS.pack(MAGIC, area.generation, area.identity, area.salt)
    check = hmac.digest(_derive(key, b"header", area.salt), fields, "sha256")[:16]
    return fields + check + hashlib.sha256(fields + check).digest()[:8]


class Journal:
    """The state on one medium."""

    def __init__(self, medium: Medium, key: Key) -> None:
        """Load what is there; a medium of zeros is an empty state.

        Raises ``WrongKey``, ``StoreDamaged``, ``StoreFull`` for a medium that is too small, or
        ``OSError``.
        """
        self._medium = medium
        self._area_size = medium.size // (2 * PAGE) * PAGE
        if medium.size < SMALLEST:
            raise StoreFull(f"a TPM's state needs {SMALLEST} bytes, and here are {medium.size}")
        self._given = key
        self._blobs: dict[str, bytes] = {}
        self._broken = False
        self._end = self._index = 0  # of the current area's records
        self._chain = b""
        found = self._find()
        if found is None:
            identity = os.urandom(16)
            self._key = self._key_for(identity)
            self._begin(_Area(0, 1, identity, os.urandom(32)), {})
        else:
            self._area = found
            self._cipher = self._cipher_for(found)
            self._replay()

    # What is in it

    def load(self) -> dict[str, bytes]:
        """All blobs by their names."""
        return dict(self._blobs)

    @property
    def position(self) -> tuple[int, int]:
        """Generation and number of records: grows with every commit."""
        return self._area.generation, self._index

    @property
    def head(self) -> bytes:
        """The tag of the last record, which depends on all that the store ever held."""
        return self._chain

    # Changing it

    def commit(self, changes: Changes) -> None:
        """Make all changes or none; they are on stable storage when this returns.

        Raises ``StoreFull``, or ``OSError``, after which the store is not to be used any more.
        """
        if self._broken:
            raise StoreError("writing the TPM's state failed before, so that nothing is written")
        wanted = {name: data for name, data in changes.items() if data != self._blobs.get(name)}
        if not wanted:
            return
        blobs = {**self._blobs, **wanted}
        kept = {name: data for name, data in blobs.items() if data is not None}
        try:
            if not self._append(wanted):
                other = self._area_size - self._area.start
                next_one = (other, self._area.generation + 1, self._area.identity)
                self._begin(_Area(*next_one, os.urandom(32)), kept)
        except OSError:
            self._broken = True  # what is on the medium is not known
            raise
        self._blobs = kept

    def _append(self, changes: Changes) -> bool:
        """Write a record behind the last; whether there was room."""
        plain = _encode(changes)
        room = self._area.start + self._area_size - RECORDS_AT - self._end
        if _RECORD.size + len(plain) + _TAG > room:
            return False
        record, chain = self._seal(self._area, self._cipher, self._index, self._chain, plain)
        self._medium.write_at(self._end, record)
        self._medium.sync()
        self._end += len(record)
        self._index += 1
        self._chain = chain
        return True

    def _begin(self, area: _Area, blobs: Changes) -> None:
        """Make ``area`` the current one, with ``blobs`` as its contents."""
        cipher = self._cipher_for(area)
        record, chain = self._seal(area, cipher, 0, bytes(_TAG), _encode(blobs))
        room = self._area_size - 2 * RECORDS_AT
        if len(record) > room:
            raise StoreFull(f"the TPM's state has {len(record)} bytes, there is room for {room}")
        if area.generation <= 2:  # so that later writes change no metadata of a file
            self._medium.write_at(area.start + RECORDS_AT, bytes(room))
        header = _pack_header(self._key, area).ljust(RECORDS_AT, b"\0")
        self._medium.write_at(area.start + RECORDS_AT, record)
        self._medium.write_at(area.start + self._area_size - RECORDS_AT, header)
        self._medium.sync()
        self._medium.write_at(area.start, header)
        self._medium.sync()
        self._area, self._cipher = area, cipher
        self._end = area.start + RECORDS_AT + len(record)
        self._index, self._chain = 1, chain

    @staticmethod
    def _seal(
        area: _Area, cipher: AESGCM, index: int, chain: bytes, plain: bytes
    ) -> tuple[bytes, bytes]:
        """A record, and its tag."""
        nonce = os.urandom(12)
        sealed = cipher.encrypt(nonce, plain, _POSITION.pack(area.generation, index, chain))
        return _RECORD.pack(area.mark, index, len(sealed), nonce) + sealed, sealed[-_TAG:]

    # Finding it

    def _key_for(self, identity: bytes) -> bytes:
        return self._given if isinstance(self._given, bytes) else self._given(identity)

    def _cipher_for(self, area: _Area) -> AESGCM:
        return AESGCM(_derive(self._key, b"records", area.salt))

    def _find(self) -> _Area | None:
        """The current area, or None on a medium that was never used."""
        found = []
        for start in (0, self._area_size):
            raw = self._medium.read_at(start, _HEADER_SIZE)
            if any(raw):
                found.append(self._read_header(start, raw))
        if not found:
            return None
        area, raw = max(found, key=lambda entry: entry[0].generation)
        self._key = self._key_for(area.identity)
        if not hmac.compare_digest(_pack_header(self._key, area), raw):
            raise WrongKey("the TPM's state was written under another key")
        return area

    def _read_header(self, start: int, raw: bytes) -> tuple[_Area, bytes]:
        """An area by its header or the copy of that."""
        copy = self._medium.read_at(start + self._area_size - RECORDS_AT, _HEADER_SIZE)
        for candidate in (raw, copy):
            if hashlib.sha256(candidate[:-8]).digest()[:8] == candidate[-8:]:
                magic, generation, identity, salt = _FIELDS.unpack_from(candidate)
                if magic == MAGIC:
                    return _Area(start, generation, identity, salt), candidate
        raise StoreDamaged("this is no TPM state, or it is damaged")

    def _replay(self) -> None:
        """Read the current area's records."""
        start, size = self._area.start, self._area_size
        raw = self._medium.read_at(start, size - RECORDS_AT)
        at, index, chain = RECORDS_AT, 0, bytes(_TAG)
        while (found := self._open(raw, at, index, chain)) is not None:
            changes, length, chain = found
            for name, data in changes.items():
                if data is None:
                    self._blobs.pop(name, None)
                else:
                    self._blobs[name] = data
            at += length
            index += 1
        if not index or self._is_followed(raw, at, index):
            raise StoreDamaged(f"the TPM's state is damaged at byte {start + at}")
        self._end, self._index, self._chain = start + at, index, chain

    def _open(
        self, raw: bytes, at: int, index: int, chain: bytes
    ) -> tuple[Changes, int, bytes] | None:
        """The record at a place, its length and tag; None if there is no whole one."""
        if at + _RECORD.size + _TAG > len(raw):
            return None
        mark, number, length, nonce = _RECORD.unpack_from(raw, at)
        end = at + _RECORD.size + length
        if mark != self._area.mark or number != index or length < _TAG or end > len(raw):
            return None
        sealed = raw[at + _RECORD.size : end]
        position = _POSITION.pack(self._area.generation, index, chain)
        try:
            plain = self._cipher.decrypt(nonce, sealed, position)
        except InvalidTag:
            return None
        return _decode(plain), end - at, sealed[-_TAG:]

    def _is_followed(self, raw: bytes, at: int, index: int) -> bool:
        """Whether a record later than ``index`` begins somewhere behind ``at``."""
        mark = self._area.mark
        while (at := raw.find(mark, at + 1)) >= 0:
            if at + _RECORD.size <= len(raw) and _RECORD.unpack_from(raw, at)[1] > index:
                return True
        return False
