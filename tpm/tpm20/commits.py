"""Secret scalars that one command commits to and another uses up (part 1, C.2.2 and C.2.3).

Commit and EC_Ephemeral answer with points made from a scalar and with a counter. The scalar is not
kept: it is computed again from the counter when ECDAA signing or ZGen_2Phase names it. A bit for
each of the last `SLOTS` counters says that its scalar was not used yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto
from tpm.tpm20.constants import CONTEXT_HASH

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

SLOTS = 128
_WRAP = 0x10000
"""Counters have 16 bits in commands and responses."""


def _scalar(tpm: Tpm, counter: int, curve: int, name: bytes) -> int:
    """The scalar of a counter, for the key of a Name; empty for EC_Ephemeral."""
    order = crypto.CURVE_ORDER[curve]
    content = counter.to_bytes(8, "big")
    bits = order.bit_length() + 64
    key = tpm.reset.commit_nonce
    octets = crypto.kdfa(CONTEXT_HASH, key, b"ECDAA Commit", name, content, (bits + 7) // 8 * 8)
    return int.from_bytes(octets, "big") % (order - 1) + 1


def next_scalar(tpm: Tpm, curve: int, name: bytes) -> int:
    """The scalar that `commit` will commit to."""
    return _scalar(tpm, tpm.reset.commit_counter, curve, name)


def commit(tpm: Tpm) -> int:
    """Count the next scalar as waiting to be used; its counter."""
    counter = tpm.reset.commit_counter
    _mark(tpm, counter, waiting=True)
    tpm.reset.commit_counter = counter + 1
    return counter % _WRAP


def waiting_scalar(tpm: Tpm, counter: int, curve: int, name: bytes) -> int | None:
    """The scalar of a counter from a command; None if none waits there."""
    latest = tpm.reset.commit_counter - 1
    full = latest - (latest - counter) % _WRAP
    if latest - full >= SLOTS or not _bits(tpm) >> full % SLOTS & 1:
        return None
    return _scalar(tpm, full, curve, name)


def end(tpm: Tpm, counter: int) -> None:
    """The scalar of a counter was used: it cannot be used again."""
    _mark(tpm, counter, waiting=False)


def _bits(tpm: Tpm) -> int:
    return int.from_bytes(tpm.reset.commit_array, "big")


def _mark(tpm: Tpm, counter: int, waiting: bool) -> None:
    bit = 1 << counter % SLOTS
    bits = _bits(tpm) & ~bit | (bit if waiting else 0)
    tpm.reset.commit_array = bits.to_bytes(SLOTS // 8, "big")
    tpm.void_shutdown()
