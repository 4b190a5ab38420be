"""Attestation commands (part 3, 18). NV_Certify is with the other NV commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, pcrs, signatures, tickets, x509
from tpm.tpm20.attestation import FIRMWARE, Attested, Signer
from tpm.tpm20.constants import RC, RH, ST, H, P, TpmError, about
from tpm.tpm20.properties import time_info
from tpm.tpm20.structures import (
    CertifyInfo,
    CommandAuditInfo,
    CreationInfo,
    PcrSelection,
    QuoteInfo,
    Scheme,
    SessionAuditInfo,
    Signature,
    Ticket,
    TimeAttestInfo,
)

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_SERIAL_SIZE = 20
"""Octets of a serial number (RFC 5280, 4.1.2.2)."""


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


def certify_x509(
    tpm: Tpm, handle: int, sign: int, reserved: bytes, in_scheme: Scheme, partial: bytes
) -> tuple[bytes, bytes, Signature]:
    """Part 3, 18.8. The serial number is a digest of everything else in the certificate."""
    if reserved:
        raise TpmError(RC.SIZE + P(1))
    signer = Signer.of(tpm, sign, 2, in_scheme, 2)
    if signer.key is None:
        raise TpmError(RC.KEY + H(2))
    held = tpm.object(handle)
    try:
        subject_key = x509.public_key(held.public)
    except TpmError as error:
        raise TpmError(about(error.code, H(1))) from None
    try:
        pieces = x509.parse(partial)
    except TpmError as error:
        raise TpmError(about(error.code, P(3))) from None
    signature = x509.algorithm_identifier(signer.scheme)
    if signature is None:
        if not pieces.signature:
            raise TpmError(RC.SCHEME + H(2))
        signature = pieces.signature
    try:
        x509.check_extensions(pieces.extensions, held.public)
    except TpmError as error:
        whose = H(1) if error.code == RC.ATTRIBUTES else P(3)
        raise TpmError(about(error.code, whose)) from None
    content = partial + subject_key + signature + signer.key.name + held.name
    digest = crypto.digest(signer.key.public.name_alg, content)[: _SERIAL_SIZE - 1]
    serial = int.from_bytes(digest, "big") | 1
    added, whole = x509.complete(pieces, signature, subject_key, serial)
    tbs_digest = crypto.digest(signer.scheme.hash_alg, whole)
    return added, tbs_digest, signatures.sign(tpm, signer.key, signer.scheme, tbs_digest)
