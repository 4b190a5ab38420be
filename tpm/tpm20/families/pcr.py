"""PCRs (part 3, 22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import entities, pcrs
from tpm.tpm20.constants import PCR_COUNT, PCR_SELECT_SIZE, RC, RH, P, TpmError
from tpm.tpm20.crypto import digest
from tpm.tpm20.structures import DIGEST_SIZE, HASHES, PcrSelection

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_READ_AT_ONCE = 8
_NEEDED = (0, 17)
"""The PCRs that some bank must have: the H-CRTM's and the D-RTM's."""


def _check_extend(tpm: Tpm, pcr: int) -> None:
    if not pcrs.ATTRIBUTES[pcr].extend >> tpm.locality & 1:
        raise TpmError(RC.LOCALITY)


def pcr_extend(tpm: Tpm, pcr: int, digests: list[tuple[int, bytes]]) -> None:
    """Part 3, 22.2."""
    if pcr == RH.NULL:
        return
    _check_extend(tpm, pcr)
    if pcr < pcrs.STATIC_COUNT:
        tpm.void_shutdown()  # even if there is nothing to extend it with
    for bank, value in digests:
        pcrs.extend(tpm, pcr, bank, value)


def pcr_event(tpm: Tpm, pcr: int, event_data: bytes) -> tuple[list[tuple[int, bytes]]]:
    """Part 3, 22.3."""
    if pcr != RH.NULL:
        _check_extend(tpm, pcr)
    digests = [(bank, digest(bank, event_data)) for bank in HASHES]
    if pcr != RH.NULL:
        for bank, value in digests:
            pcrs.extend(tpm, pcr, bank, value)
    return (digests,)


def pcr_read(
    tpm: Tpm, selection_in: list[PcrSelection]
) -> tuple[int, list[PcrSelection], list[bytes]]:
    """Part 3, 22.4: the first eight of those that are selected and exist."""
    values: list[bytes] = []
    selection_out = []
    for bank, select in selection_in:
        held = tpm.pcrs.get(bank)
        bits = 0
        if held is not None:
            for pcr in pcrs.selected(select):
                if len(values) == _READ_AT_ONCE:
                    break
                if held[pcr]:
                    values.append(held[pcr])
                    bits |= 1 << pcr
        selection_out.append(PcrSelection(bank, bits.to_bytes(PCR_SELECT_SIZE, "little")))
    return tpm.reset.pcr_counter, selection_out, values


def pcr_allocate(tpm: Tpm, auth: int, allocation: list[PcrSelection]) -> tuple[int, int, int, int]:
    """Part 3, 22.5: a bank that is not named stays; effective at the next TPM Reset."""
    wanted = {**tpm.state.pcr_allocation, **dict(allocation)}
    for pcr in _NEEDED:
        if not any(pcr in pcrs.selected(select) for select in wanted.values()):
            raise TpmError(RC.PCR)
    tpm.state.pcr_allocation = wanted
    tpm.state.changed = True
    tpm.pcr_reconfigured = True
    needed = sum(DIGEST_SIZE[bank] * len(pcrs.selected(wanted[bank])) for bank in wanted)
    available = sum(DIGEST_SIZE[bank] * PCR_COUNT for bank in HASHES)
    return 1, PCR_COUNT, needed, available


def pcr_set_auth_policy(tpm: Tpm, auth: int, auth_policy: bytes, hash_alg: int, pcr: int) -> None:
    """Part 3, 22.6."""
    if len(auth_policy) != DIGEST_SIZE.get(hash_alg, 0):
        raise TpmError(RC.SIZE + P(1))
    if pcr not in entities.AUTH_PCRS:
        raise TpmError(RC.VALUE + P(3))
    tpm.state.pcr_policy = (hash_alg, auth_policy)
    tpm.state.changed = True


def pcr_set_auth_value(tpm: Tpm, pcr: int, auth: bytes) -> None:
    """Part 3, 22.7."""
    if pcr not in entities.AUTH_PCRS:
        raise TpmError(RC.VALUE)
    tpm.void_shutdown()
    tpm.clear.pcr_auth = auth.rstrip(b"\0")


def pcr_reset(tpm: Tpm, pcr: int) -> None:
    """Part 3, 22.8."""
    if not pcrs.ATTRIBUTES[pcr].reset >> tpm.locality & 1:
        raise TpmError(RC.LOCALITY)
    pcrs.reset(tpm, pcr)
    pcrs.changed(tpm, pcr)
