"""Starting sessions (part 3, 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, entities, secrets
from tpm.tpm20.authorization import bind_value
from tpm.tpm20.constants import (
    ALG,
    HR,
    HT,
    MAX_ACTIVE_SESSIONS,
    MAX_LOADED_SESSIONS,
    RC,
    RH,
    SE,
    TPMA_OBJECT,
    H,
    P,
    TpmError,
)
from tpm.tpm20.objects import Object
from tpm.tpm20.sessions import Session
from tpm.tpm20.structures import DIGEST_SIZE, SymDef

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_SMALLEST_NONCE = 16


def start_auth_session(
    tpm: Tpm,
    tpm_key: int,
    bind: int,
    nonce_caller: bytes,
    encrypted_salt: bytes,
    session_type: int,
    symmetric: SymDef,
    auth_hash: int,
) -> tuple[int, bytes]:
    """Part 3, 11.1; the session key is of part 1, 19.6.8."""
    if not _SMALLEST_NONCE <= len(nonce_caller) <= DIGEST_SIZE[auth_hash]:
        raise TpmError(RC.SIZE + P(1))
    salt = _salt(tpm, tpm_key, encrypted_salt, nonce_caller)
    _check_bind(tpm, bind)
    if symmetric.algorithm not in (ALG.NULL, ALG.XOR) and symmetric.mode != ALG.CFB:
        raise TpmError(RC.MODE + P(4))
    handle = _free_handle(tpm, session_type)
    nonce_tpm = tpm.random(len(nonce_caller))
    key = b""
    if bind != RH.NULL or salt:
        secret = entities.auth_value(tpm, bind) + salt
        bits = DIGEST_SIZE[auth_hash] * 8
        key = crypto.kdfa(auth_hash, secret, b"ATH", nonce_tpm, nonce_caller, bits)
    session = Session(handle, session_type, auth_hash, symmetric, key, nonce_tpm)
    if bind != RH.NULL:
        if session_type == SE.HMAC:
            session.bound_to = bind_value(tpm, bind)
        session.da_bound = not entities.da_exempt(tpm, bind)
        session.lockout_bound = bind == RH.LOCKOUT
    if session_type != SE.HMAC:
        session.restart(tpm.time, tpm.epoch)
    tpm.sessions[handle] = session
    return handle, nonce_tpm


def _salt(tpm: Tpm, tpm_key: int, encrypted_salt: bytes, nonce_caller: bytes) -> bytes:
    if tpm_key == RH.NULL:
        if encrypted_salt:
            raise TpmError(RC.VALUE + P(2))
        return b""
    key = tpm.slot(tpm_key)
    if not isinstance(key, Object) or key.public.type not in (ALG.RSA, ALG.ECC):
        raise TpmError(RC.KEY + H(1))
    if not encrypted_salt:
        raise TpmError(RC.VALUE + P(2))
    if key.sensitive is None:
        raise TpmError(RC.HANDLE + H(1))
    if not key.has(TPMA_OBJECT.DECRYPT):
        raise TpmError(RC.ATTRIBUTES + H(1))
    try:
        return secrets.decrypt(key, b"SECRET", encrypted_salt)
    except TpmError:
        raise TpmError(RC.VALUE + P(2)) from None


def _check_bind(tpm: Tpm, bind: int) -> None:
    kind = bind >> 24
    if kind in (HT.TRANSIENT, HT.PERSISTENT):
        held = tpm.slot(bind)
        if isinstance(held, Object) and held.sensitive is None:
            raise TpmError(RC.HANDLE + H(2))
    elif kind == HT.NV_INDEX and tpm.state.nv[bind].is_pin:
        raise TpmError(RC.HANDLE + H(2))


def _free_handle(tpm: Tpm, session_type: int) -> int:
    if len(tpm.sessions) >= MAX_LOADED_SESSIONS:
        raise TpmError(RC.SESSION_MEMORY)
    taken = {handle & 0xFFFFFF for handle in (*tpm.sessions, *tpm.reset.saved_sessions)}
    first = HR.HMAC_SESSION if session_type == SE.HMAC else HR.POLICY_SESSION
    for number in range(MAX_ACTIVE_SESSIONS):
        if number not in taken:
            return first + number
    raise TpmError(RC.SESSION_HANDLES)


def policy_restart(tpm: Tpm, session: int) -> None:
    """Part 3, 11.2."""
    tpm.sessions[session].reset_policy()
