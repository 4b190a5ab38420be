"""Hashes, MACs and their sequences (part 3, 15.4 to 15.6 and 17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, pcrs, tickets
from tpm.tpm20.constants import ALG, GENERATED_VALUE, RC, RH, ST, TPMA_OBJECT, H, P, TpmError
from tpm.tpm20.objects import Object, Sequence
from tpm.tpm20.running import RunningCmac, RunningHash, RunningHmac
from tpm.tpm20.structures import HASHES, Ticket

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_MAGIC = GENERATED_VALUE.to_bytes(4, "big")
_HMACS: tuple[int, ...] = HASHES
_CMACS: tuple[int, ...] = (ALG.CMAC,)
_NO_TICKET = tickets.null(ST.HASHCHECK)


def _ticket(tpm: Tpm, hierarchy: int, hash_alg: int, digest: bytes, first: bytes) -> Ticket:
    """The ticket for a digest, unless what was hashed begins like a structure of the TPM's."""
    if hierarchy == RH.NULL or first.startswith(_MAGIC):
        return _NO_TICKET
    return tickets.hashcheck(tpm, hierarchy, hash_alg, digest)


def hash(tpm: Tpm, data: bytes, hash_alg: int, hierarchy: int) -> tuple[bytes, Ticket]:
    """Part 3, 15.4."""
    digest = crypto.digest(hash_alg, data)
    return digest, _ticket(tpm, hierarchy, hash_alg, digest, data)


def _mac(tpm: Tpm, handle: int, given: int) -> RunningHmac | RunningCmac:
    """The MAC that TPM2_HMAC and TPM2_MAC, and their Starts, begin with a key (part 3, 15.5)."""
    held = tpm.slot(handle)
    if not isinstance(held, Object) or held.public.type not in (ALG.KEYEDHASH, ALG.SYMCIPHER):
        raise TpmError(RC.TYPE + H(1))
    public = held.public
    if public.type == ALG.KEYEDHASH:
        own, possible = public.parameters.hash_alg, _HMACS
    else:
        own, possible = public.parameters.mode, _CMACS
    chosen = own if given == ALG.NULL else given
    if own not in (ALG.NULL, chosen) or chosen == ALG.NULL:
        raise TpmError(RC.VALUE + P(2))
    if chosen not in possible:
        raise TpmError(RC.SCHEME + P(2))
    if held.has(TPMA_OBJECT.RESTRICTED):
        raise TpmError(RC.ATTRIBUTES + H(1))
    if not held.has(TPMA_OBJECT.SIGN):
        raise TpmError(RC.KEY + H(1))
    assert held.sensitive is not None
    if chosen == ALG.CMAC:
        return RunningCmac(held.sensitive.sensitive)
    return RunningHmac.start(chosen, held.sensitive.sensitive)


def hmac(tpm: Tpm, handle: int, buffer: bytes, hash_alg: int) -> tuple[bytes]:
    """Part 3, 15.5 and 15.6: TPM2_HMAC and TPM2_MAC have one command code."""
    return (_mac(tpm, handle, hash_alg).finish(buffer),)


def hmac_start(tpm: Tpm, handle: int, auth: bytes, hash_alg: int) -> tuple[int]:
    """Part 3, 17.2 and 17.3: TPM2_HMAC_Start and TPM2_MAC_Start."""
    mac = _mac(tpm, handle, hash_alg)
    sequence = Sequence(auth.rstrip(b"\0"))
    if isinstance(mac, RunningCmac):
        sequence.cmac = mac
    else:
        sequence.hmac = mac
    return (_put(tpm, sequence),)


def _put(tpm: Tpm, sequence: Sequence) -> int:
    handle = tpm.free_handle()
    tpm.objects[handle] = sequence
    return handle


def hash_sequence_start(tpm: Tpm, auth: bytes, hash_alg: int) -> tuple[int]:
    """Part 3, 17.4: without an algorithm it is an event sequence."""
    is_event = hash_alg == ALG.NULL
    hashes = [RunningHash(alg) for alg in (HASHES if is_event else (hash_alg,))]
    return (_put(tpm, Sequence(auth.rstrip(b"\0"), hashes, is_event=is_event)),)


def _sequence(tpm: Tpm, handle: int, place: int) -> Sequence:
    found = tpm.slot(handle)
    if not isinstance(found, Sequence):
        raise TpmError(RC.MODE + H(place))
    return found


def sequence_update(tpm: Tpm, handle: int, buffer: bytes) -> None:
    """Part 3, 17.5."""
    sequence = _sequence(tpm, handle, 1)
    if sequence.first is None:
        sequence.first = buffer[: len(_MAGIC)]
    for one in sequence.running:
        one.update(buffer)


def sequence_complete(tpm: Tpm, handle: int, buffer: bytes, hierarchy: int) -> tuple[bytes, Ticket]:
    """Part 3, 17.6."""
    sequence = _sequence(tpm, handle, 1)
    if sequence.is_event:
        raise TpmError(RC.MODE + H(1))
    result = sequence.running[0].finish(buffer)
    ticket = _NO_TICKET
    if sequence.hashes:
        first = buffer if sequence.first is None else sequence.first
        if len(first) < len(_MAGIC):
            first = _MAGIC  # it could be the beginning of it
        ticket = _ticket(tpm, hierarchy, sequence.hashes[0].hash_alg, result, first)
    del tpm.objects[handle]
    return result, ticket


def event_sequence_complete(
    tpm: Tpm, pcr: int, handle: int, buffer: bytes
) -> tuple[list[tuple[int, bytes]]]:
    """Part 3, 17.7."""
    sequence = _sequence(tpm, handle, 2)
    if not sequence.is_event:
        raise TpmError(RC.MODE + H(2))
    if pcr != RH.NULL and not pcrs.ATTRIBUTES[pcr].extend >> tpm.locality & 1:
        raise TpmError(RC.LOCALITY)
    digests = [(one.hash_alg, one.finish(buffer)) for one in sequence.hashes]
    if pcr != RH.NULL:
        for bank, value in digests:
            pcrs.extend(tpm, pcr, bank, value)
    del tpm.objects[handle]
    return (digests,)
