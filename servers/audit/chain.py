"""The hash chain: what makes a change of the log visible.

Entry ``n`` has the hash::

    SHA-256( hash of entry n - 1 | msgpack [number, time, source, event, detail] )

where the hash before entry 1 is 32 zero bytes, ``|`` joins bytes, and msgpack is in its shortest
form, as the specification of msgpack recommends to serializers.  Whoever changes one entry has to
change all that follow.  Whoever can write to the device can do that, or cut off the end: to notice
it, keep the last hash elsewhere, for instance extend it into a PCR.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from servers.audit.interface import Record

GENESIS: Final = bytes(32)
"""The hash before the first entry."""
_encode = msgspec.msgpack.Encoder().encode


def digest(before: bytes, number: int, time: int, source: str, event: str, detail: str) -> bytes:
    """An entry's hash, given the hash of the entry before."""
    return hashlib.sha256(before + _encode((number, time, source, event, detail))).digest()


def link(before: bytes, number: int, time: int, source: str, event: str, detail: str) -> Record:
    """The entry that follows the one with the hash ``before``."""
    found = digest(before, number, time, source, event, detail)
    return Record(number, time, source, event, detail, found.hex())


def fits(before: bytes, number: int, record: Record) -> bool:
    """Whether ``record`` is entry ``number`` after one with the hash ``before``."""
    found = digest(before, number, record.time, record.source, record.event, record.detail)
    return record.number == number and record.hash == found.hex()
