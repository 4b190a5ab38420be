"""Tickets that stand for an authorization given earlier (part 2, 10.7.5; part 3, 23.2.5).

The timeout that goes with a ticket is eight octets of the TPM's own: milliseconds of TPM time, and
in the most significant bit that the authorization was not bound to a session's nonce. Such a ticket
ends with a TPM Reset; each one that has a timeout ends when TPM time starts again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tpm.tpm20 import tickets
from tpm.tpm20.codec import write_buffer
from tpm.tpm20.structures import Ticket

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

TIMEOUT_SIZE = 8
_EXPIRES_ON_RESET = 1 << 63


class Authorization(NamedTuple):
    """What an entity has authorized, by a signature or by its authValue."""

    timeout: int
    """TPM time in milliseconds when it ends, or 0."""
    expires_on_reset: bool
    cp_hash: bytes
    policy_ref: bytes
    name: bytes
    """The entity's Name."""


def _content(tpm: Tpm, given: Authorization) -> bytes:
    """What the ticket's HMAC is of. Sizes keep one field's octets from being read as another's."""
    content = given.timeout.to_bytes(8, "big")
    if given.timeout:
        content += tpm.epoch.to_bytes(4, "big")
    content += bytes((given.expires_on_reset,))
    if given.expires_on_reset:
        content += tpm.state.total_reset_count.to_bytes(4, "big")
    for one in (given.cp_hash, given.policy_ref, given.name):
        content += write_buffer(one)
    return content


def make(tpm: Tpm, tag: int, hierarchy: int, given: Authorization) -> tuple[bytes, Ticket]:
    """The timeout as its holder keeps it, and the ticket."""
    flag = _EXPIRES_ON_RESET if given.expires_on_reset else 0
    timeout = (given.timeout | flag).to_bytes(TIMEOUT_SIZE, "big")
    return timeout, tickets.make(tpm, tag, hierarchy, _content(tpm, given))


def read(timeout: bytes, cp_hash: bytes, policy_ref: bytes, name: bytes) -> Authorization:
    """The authorization that the holder of a ticket claims."""
    value = int.from_bytes(timeout, "big")
    expires_on_reset = bool(value & _EXPIRES_ON_RESET)
    milliseconds = value & ~_EXPIRES_ON_RESET
    return Authorization(milliseconds, expires_on_reset, cp_hash, policy_ref, name)


def is_genuine(tpm: Tpm, ticket: Ticket, given: Authorization) -> bool:
    """This TPM made the ticket for that authorization, and it has not ended with a reset."""
    return tickets.is_genuine(tpm, ticket, _content(tpm, given))
