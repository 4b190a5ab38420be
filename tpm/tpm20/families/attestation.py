"""Attestation commands (part 3, 18). NV_Certify is with the other NV commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, pcrs, tickets
from tpm.tpm20.attestation import FIRMWARE, Attested, Signer
from tpm.tpm20.constants import RC, RH, ST, H, P, TpmError
from tpm.tpm20.properties import time_info
from tpm.tpm20.structures import (
    CertifyInfo,
    CommandAuditInfo,
    CreationInfo,
    PcrSelection,
    QuoteInfo,
    Scheme,
    SessionAuditInfo,
    Ticket,
    TimeAttestInfo,
)

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


def certify(
    tpm: Tpm, handle: int, sign: int, qualifying_data: bytes, in_scheme: Scheme
) -> Attested:
    """Part 3, 18.2."""
    signer = Signer.of(tpm, sign, 2, in_scheme, 2)
    held = tpm.object(handle)
    qualified = b"" if signer.is_anonymous else held.qualified_name
    info = CertifyInfo(held.name, qualified)
    return signer.attest(tpm, ST.ATTEST_CERTIFY, qualifying_data, info)


def certify_creation(
    tpm: Tpm,
    sign: int,
    handle: int,
    qualifying_data: bytes,
    creation_hash: bytes,
    in_scheme: Scheme,
    creation_ticket: Ticket,
) -> Attested:
    """Part 3, 18.3."""
    signer = Signer.of(tpm, sign, 1, in_scheme, 3)
    held = tpm.object(handle)
    if not tickets.is_genuine(tpm, creation_ticket, held.name + creation_hash):
        raise TpmError(RC.TICKET + P(4))
    info = CreationInfo(held.name, creation_hash)
    return signer.attest(tpm, ST.ATTEST_CREATION, qualifying_data, info)


def quote(
    tpm: Tpm,
    sign: int,
    qualifying_data: bytes,
    in_scheme: Scheme,
    pcr_select: list[PcrSelection],
) -> Attested:
    """Part 3, 18.4. Without a key there is no scheme, and so no algorithm to digest PCRs with."""
    signer = Signer.of(tpm, sign, 1, in_scheme, 2)
    if signer.key is None:
        raise TpmError(RC.SCHEME + P(2))
    selection = pcrs.implemented(tpm, pcr_select)
    digest = pcrs.values_digest(tpm, signer.scheme.hash_alg, selection)
    return signer.attest(tpm, ST.ATTEST_QUOTE, qualifying_data, QuoteInfo(selection, digest))


def get_session_audit_digest(
    tpm: Tpm,
    privacy_admin: int,
    sign: int,
    session: int,
    qualifying_data: bytes,
    in_scheme: Scheme,
) -> Attested:
    """Part 3, 18.5."""
    signer = Signer.of(tpm, sign, 2, in_scheme, 2)
    held = tpm.sessions[session]
    if not held.is_audit:
        raise TpmError(RC.TYPE + H(3))
    info = SessionAuditInfo(tpm.exclusive_session == session, held.audit_digest)
    return signer.attest(tpm, ST.ATTEST_SESSION_AUDIT, qualifying_data, info)


def get_command_audit_digest(
    tpm: Tpm, privacy: int, sign: int, qualifying_data: bytes, in_scheme: Scheme
) -> Attested:
    """Part 3, 18.6: a digest that was signed ends, and the next audited command begins another."""
    signer = Signer.of(tpm, sign, 2, in_scheme, 2)
    state = tpm.state
    codes = b"".join(code.to_bytes(4, "big") for code in sorted(state.audit_commands))
    info = CommandAuditInfo(
        state.audit_counter,
        state.audit_alg,
        tpm.reset.command_audit_digest,
        crypto.digest(state.audit_alg, codes),
    )
    attested = signer.attest(tpm, ST.ATTEST_COMMAND_AUDIT, qualifying_data, info)
    if sign != RH.NULL:
        tpm.reset.command_audit_digest = b""
        tpm.void_shutdown()
    return attested


def get_time(
    tpm: Tpm, privacy_admin: int, sign: int, qualifying_data: bytes, in_scheme: Scheme
) -> Attested:
    """Part 3, 18.7: what is attested is in no disguise, the privacy administrator allows it."""
    signer = Signer.of(tpm, sign, 2, in_scheme, 2)
    info = TimeAttestInfo(time_info(tpm), FIRMWARE)
    return signer.attest(tpm, ST.ATTEST_TIME, qualifying_data, info)
