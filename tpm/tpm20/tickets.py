"""Tickets (part 1, 11.4.6.3 and part 2, 10.7): HMACs with which the TPM recognizes its own word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto
from tpm.tpm20.constants import CONTEXT_HASH, RH, ST
from tpm.tpm20.structures import Ticket

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


def make(tpm: Tpm, tag: int, hierarchy: int, content: bytes) -> Ticket:
    """A ticket about `content`, for a hierarchy."""
    digest = crypto.hmac(CONTEXT_HASH, tpm.proof(hierarchy), tag.to_bytes(2, "big") + content)
    return Ticket(tag, hierarchy, digest)


def null(tag: int) -> Ticket:
    """The ticket that vouches for nothing."""
    return Ticket(tag, RH.NULL, b"")


def is_genuine(tpm: Tpm, ticket: Ticket, content: bytes) -> bool:
    """This TPM made the ticket about `content`, since the proof last changed."""
    expected = make(tpm, ticket.tag, ticket.hierarchy, content)
    return crypto.equal(expected.digest, ticket.digest)


def hashcheck(tpm: Tpm, hierarchy: int, hash_alg: int, digest: bytes) -> Ticket:
    """The ticket that says that this TPM computed `digest`, of data that a TPM would not make."""
    return make(tpm, ST.HASHCHECK, hierarchy, hash_alg.to_bytes(2, "big") + digest)


def is_hashcheck(tpm: Tpm, ticket: Ticket, hash_alg: int, digest: bytes) -> bool:
    """The ticket is `hashcheck`'s for that digest."""
    return is_genuine(tpm, ticket, hash_alg.to_bytes(2, "big") + digest)
