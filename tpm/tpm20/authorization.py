"""The checks and HMACs that authorize a command (part 1, 19).

The dispatcher calls `parse` for the session area, `authorize` for all that must hold before the
command's function runs, and `respond` for the session area of the response. Nothing in a session
changes before the function has succeeded, so a command that fails leaves nonces and policies as
they were. The exception is what part 1, 19.8 wants changed by a failure: the dictionary attack
counter and the count of a PIN Index.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tpm.tpm20 import audit, crypto, dictionary_attack, entities
from tpm.tpm20.codec import codec, write_buffer
from tpm.tpm20.constants import (
    ALG,
    CC,
    HT,
    LOCALITIES,
    MAX_SESSIONS_IN_COMMAND,
    NT,
    RC,
    RH,
    ROLE,
    SE,
    TPMA_NV,
    TPMA_SESSION,
    S,
    TpmError,
    about,
)
from tpm.tpm20.sessions import Area, Hashes, Session, Use
from tpm.tpm20.structures import DIGEST_SIZE, Auth, Nonce, ShAuthSession

if TYPE_CHECKING:
    from tpm.tpm20.commands import Command
    from tpm.tpm20.engine import Tpm

_CONTINUE = TPMA_SESSION.CONTINUE_SESSION
_EXCLUSIVE = TPMA_SESSION.AUDIT_EXCLUSIVE
_RESET = TPMA_SESSION.AUDIT_RESET
_DECRYPT = TPMA_SESSION.DECRYPT
_ENCRYPT = TPMA_SESSION.ENCRYPT
_AUDIT = TPMA_SESSION.AUDIT
_USES = _DECRYPT | _ENCRYPT | _AUDIT


# The session area of a command.

_read_handle = codec(ShAuthSession).read
_read_nonce = codec(Nonce).read
_read_auth = codec(Auth).read


def parse(tpm: Tpm, command: Command, octets: bytes) -> Area:
    """The session area `octets`, its consistency checked; no authorization is checked here."""
    area = Area()
    uses = area.uses
    at, end = 0, len(octets)
    while at < end:
        number = len(uses) + 1
        try:
            if number > MAX_SESSIONS_IN_COMMAND:
                raise TpmError(RC.SIZE)
            handle, at = _read_handle(octets, at)
            nonce, at = _read_nonce(octets, at)
            if at >= end:
                raise TpmError(RC.INSUFFICIENT)
            attributes = octets[at]
            if attributes & TPMA_SESSION.RESERVED:
                raise TpmError(RC.RESERVED_BITS)
            hmac, at = _read_auth(octets, at + 1)
            if handle == RH.PW:
                if attributes & ~_CONTINUE:
                    raise TpmError(RC.ATTRIBUTES)
                if nonce:
                    raise TpmError(RC.NONCE)
                uses.append(Use(handle, nonce, attributes, hmac, None))
                continue
            session = tpm.sessions.get(handle)
            if session is None:
                other = handle ^ entities.OTHER_KIND in tpm.sessions
                raise TpmError(RC.HANDLE if other else RC.REFERENCE_S0 + number - 1)
            use = Use(handle, nonce, attributes, hmac, session)
            _check_use(tpm, command, area, use)
            uses.append(use)
        except struct.error:
            raise TpmError(RC.INSUFFICIENT + S(number)) from None
        except TpmError as error:
            raise TpmError(about(error.code, S(number))) from None
    return area


def _check_use(tpm: Tpm, command: Command, area: Area, use: Use) -> None:
    session, attributes = use.session, use.attributes
    assert session is not None
    if any(other.handle == use.handle for other in area.uses):
        raise TpmError(RC.HANDLE)
    if attributes & _DECRYPT:
        if not command.can_decrypt or area.decrypt is not None:
            raise TpmError(RC.ATTRIBUTES)
        if session.symmetric.algorithm == ALG.NULL:
            raise TpmError(RC.SYMMETRIC)
        area.decrypt = use
    if attributes & _ENCRYPT:
        if not command.can_encrypt or area.encrypt is not None:
            raise TpmError(RC.ATTRIBUTES)
        if session.symmetric.algorithm == ALG.NULL:
            raise TpmError(RC.SYMMETRIC)
        area.encrypt = use
    if attributes & _AUDIT:
        if area.audit is not None or session.is_policy:
            raise TpmError(RC.ATTRIBUTES)
        follows = session.is_audit and not attributes & _RESET
        if follows and attributes & _EXCLUSIVE and tpm.exclusive_session != use.handle:
            raise TpmError(RC.EXCLUSIVE)
        area.audit = use


def authorize(tpm: Tpm, command: Command, area: Area, handles: list[int], hashes: Hashes) -> None:
    """Every check on the sessions of a command (part 1, 19.4 to 19.7; part 3, 5.6)."""
    uses = area.uses
    if command.auth_count > len(uses):
        raise TpmError(RC.AUTH_MISSING)
    for index in range(command.auth_count):
        uses[index].entity = handles[index]
    for index, use in enumerate(uses):
        try:
            _check(tpm, command, area, index, use, hashes)
        except TpmError as error:
            raise TpmError(about(error.code, S(index + 1))) from None
    if area.audit is not None and area.audit.session is not None:
        hashes.cp(area.audit.session.hash_alg)


def _check(tpm: Tpm, command: Command, area: Area, index: int, use: Use, hashes: Hashes) -> None:
    session = use.session
    if session is None:
        if use.entity is None:
            raise TpmError(RC.HANDLE)
    else:
        if session.kind == SE.TRIAL:
            raise TpmError(RC.ATTRIBUTES)
        if session.da_bound:
            dictionary_attack.check(tpm, session.lockout_bound)
    if use.entity is not None:
        _check_authorization(tpm, command, area, index, use, hashes)
        return
    assert session is not None
    if not use.attributes & _USES:
        raise TpmError(RC.ATTRIBUTES)
    use.include_auth = False
    _check_hmac(tpm, area, index, use, hashes)


def _check_authorization(
    tpm: Tpm, command: Command, area: Area, index: int, use: Use, hashes: Hashes
) -> None:
    entity, session, role = use.entity, use.session, command.roles[index]
    assert entity is not None
    if entity == RH.PLATFORM and command.code in tpm.state.pp_commands:
        tpm.require_physical_presence()
    if session is None:
        auth_used = True
    elif session.is_policy:
        auth_used = session.policy.auth_value or session.policy.password
    else:
        auth_used = not session.bound_to or session.bound_to != bind_value(tpm, entity)
    use.include_auth = auth_used
    if auth_used and not entities.da_exempt(tpm, entity):
        dictionary_attack.check(tpm, entity == RH.LOCKOUT)
    if session is None or not session.is_policy:
        if entities.requires_policy(tpm, entity, role):
            raise TpmError(RC.AUTH_TYPE)
        if not entities.auth_available(tpm, entity, command.code, role):
            raise TpmError(RC.AUTH_UNAVAILABLE)
    else:
        if not entities.policy_available(tpm, entity, command.code, role):
            raise TpmError(RC.AUTH_UNAVAILABLE)
        _check_policy(tpm, command, use, role, hashes)
    try:
        if session is None or session.policy.password:
            if not crypto.equal(use.hmac.rstrip(b"\0"), entities.auth_value(tpm, entity)):
                _fail(tpm, use)
        else:
            _check_hmac(tpm, area, index, use, hashes)
    except TpmError:
        if auth_used and entity >> 24 == HT.NV_INDEX:
            _count_pin(tpm, entity, succeeded=False)
        raise
    if auth_used and entity >> 24 == HT.NV_INDEX:
        _count_pin(tpm, entity, succeeded=True)


def _count_pin(tpm: Tpm, handle: int, succeeded: bool) -> None:
    """The pinCount of a PIN Index after its authValue was tried (part 1, 37.2.8)."""
    index = tpm.state.nv[handle]
    if not index.is_pin or not index.public.attributes & TPMA_NV.WRITTEN:
        return
    count = int.from_bytes(index.data[:4], "big")
    if index.kind == NT.PIN_FAIL:
        after = 0 if succeeded else count + 1
    else:
        after = count + 1 if succeeded else count
    if after != count:
        index.data = after.to_bytes(4, "big") + index.data[4:]
        tpm.state.changed = True


def _fail(tpm: Tpm, use: Use) -> None:
    """An authorization failed: count it if dictionary attack protection is on, and say so."""
    session, entity = use.session, use.entity
    if session is not None:
        if session.lockout_bound:
            entity = RH.LOCKOUT
        if not session.da_bound and not use.include_auth:
            raise TpmError(RC.BAD_AUTH)
        exempt = not session.da_bound and (entity is None or entities.da_exempt(tpm, entity))
    else:
        assert entity is not None
        exempt = entities.da_exempt(tpm, entity)
    if exempt:
        raise TpmError(RC.BAD_AUTH)
    dictionary_attack.register_failure(tpm, entity == RH.LOCKOUT)
    raise TpmError(RC.AUTH_FAIL)


def _check_hmac(tpm: Tpm, area: Area, index: int, use: Use, hashes: Hashes) -> None:
    """The HMAC of a command (part 1, 19.6.5)."""
    session = use.session
    assert session is not None
    key = session.key
    if use.include_auth and use.entity is not None:
        key += entities.auth_value(tpm, use.entity)
    if not key and not use.hmac:
        return
    extra = b""
    if index == 0 and use.entity is not None:
        decrypt, encrypt = area.decrypt, area.encrypt
        if decrypt is not None and decrypt is not use:
            extra += decrypt.session.nonce_tpm  # type: ignore[union-attr]
        if encrypt is not None and encrypt is not use and encrypt is not decrypt:
            extra += encrypt.session.nonce_tpm  # type: ignore[union-attr]
    content = hashes.cp(session.hash_alg) + use.nonce + session.nonce_tpm + extra
    expected = crypto.hmac(session.hash_alg, key, content + bytes((use.attributes,)))
    if not crypto.equal(expected, use.hmac):
        _fail(tpm, use)


def _check_policy(tpm: Tpm, command: Command, use: Use, role: int, hashes: Hashes) -> None:
    """A policy session against the entity and the command (part 1, 19.7.4)."""
    session, entity = use.session, use.entity
    assert session is not None and entity is not None
    policy = session.policy
    if command.code == CC.PolicySecret and not (policy.password or policy.auth_value):
        raise TpmError(RC.MODE)
    if policy.pcr_counter and policy.pcr_counter != tpm.reset.pcr_counter:
        raise TpmError(RC.PCR_CHANGED)
    hash_alg, wanted = entities.auth_policy(tpm, entity)
    if policy.digest != wanted or hash_alg != session.hash_alg:
        raise TpmError(RC.POLICY_FAIL)
    if policy.timeout and (policy.timeout < tpm.time or session.epoch != tpm.epoch):
        raise TpmError(RC.EXPIRED)
    if policy.command_code:
        if policy.command_code != command.code:
            raise TpmError(RC.POLICY_CC)
    elif role in (ROLE.ADMIN, ROLE.DUP):
        raise TpmError(RC.POLICY_FAIL)
    if policy.locality and not _locality_matches(policy.locality, tpm.locality):
        raise TpmError(RC.LOCALITY)
    if policy.physical_presence:
        tpm.require_physical_presence()
    _check_policy_hashes(session, command, hashes)
    if policy.nv_written is not None:
        if entity >> 24 != HT.NV_INDEX:
            raise TpmError(RC.POLICY_FAIL)
        written = bool(tpm.state.nv[entity].public.attributes & TPMA_NV.WRITTEN)
        if written != policy.nv_written:
            raise TpmError(RC.POLICY_FAIL)


def _locality_matches(wanted: int, locality: int) -> bool:
    if locality < LOCALITIES:
        return wanted < 32 and bool(wanted >> locality & 1)
    return wanted == locality


def _check_policy_hashes(session: Session, command: Command, hashes: Hashes) -> None:
    policy = session.policy
    if policy.cp_hash:
        ok = policy.cp_hash == hashes.cp(session.hash_alg)
    elif policy.name_hash:
        ok = policy.name_hash == crypto.digest(session.hash_alg, hashes.names)
    elif policy.template_hash:
        ok = policy.template_hash == _template_hash(session.hash_alg, command, hashes.parameters)
    else:
        ok = True
    if not ok:
        raise TpmError(RC.POLICY_FAIL)


def _template_hash(hash_alg: int, command: Command, parameters: bytes) -> bytes:
    """The digest of the second parameter, a TPM2B, of the commands that create an object."""
    if command.code not in (CC.Create, CC.CreatePrimary, CC.CreateLoaded):
        return b""
    at = 2 + int.from_bytes(parameters[:2], "big")
    size = int.from_bytes(parameters[at : at + 2], "big")
    template = parameters[at + 2 : at + 2 + size]
    return crypto.digest(hash_alg, template) if len(template) == size else b""


def bind_value(tpm: Tpm, handle: int) -> bytes:
    """What tells the entity that a session is bound to: its Name and authValue (part 1, 19.6.12).

    The sizes keep one entity's Name and authValue from being read as another's.
    """
    name = entities.name(tpm, handle)
    return write_buffer(name) + entities.auth_value(tpm, handle)


# Parameter encryption (part 1, 21).


def decrypt_parameter(tpm: Tpm, area: Area, parameters: bytes) -> bytes:
    """The parameters with the first one decrypted."""
    use = area.decrypt
    assert use is not None and use.session is not None
    number = S(area.uses.index(use) + 1)
    if len(parameters) < 2:
        raise TpmError(RC.INSUFFICIENT + number)
    end = 2 + int.from_bytes(parameters[:2], "big")
    if end > len(parameters):
        raise TpmError(RC.SIZE + number)
    key = use.session.key + _entity_auth(tpm, use)
    content = _crypt(use.session, key, use.nonce, use.session.nonce_tpm, parameters[2:end], False)
    return parameters[:2] + content + parameters[end:]


def _encrypt_parameter(tpm: Tpm, use: Use, parameters: bytes, auth: bytes) -> bytes:
    session = use.session
    assert session is not None
    end = 2 + int.from_bytes(parameters[:2], "big")
    key = session.key + auth
    content = _crypt(session, key, session.nonce_tpm, use.nonce, parameters[2:end], True)
    return parameters[:2] + content + parameters[end:]


def _crypt(
    session: Session, key: bytes, nonce_newer: bytes, nonce_older: bytes, octets: bytes, out: bool
) -> bytes:
    if not octets:
        return octets
    symmetric = session.symmetric
    if symmetric.algorithm == ALG.XOR:
        return crypto.xor_obfuscate(session.hash_alg, key, nonce_newer, nonce_older, octets)
    bits = symmetric.key_bits
    material = crypto.kdfa(session.hash_alg, key, b"CFB", nonce_newer, nonce_older, bits + 128)
    crypt = crypto.cfb_encrypt if out else crypto.cfb_decrypt
    return crypt(material[: bits // 8], material[bits // 8 :], octets)


def _entity_auth(tpm: Tpm, use: Use) -> bytes:
    """The authValue that goes into a session's keys; empty for what the command has deleted.

    A hierarchy that it has switched off is there still.
    """
    if use.entity is None:
        return b""
    if use.entity >> 24 != HT.PERMANENT and not entities.exists(tpm, use.entity):
        return b""
    return entities.auth_value(tpm, use.entity)


# The session area of a response.


def kept_auth(tpm: Tpm, command: Command, area: Area) -> dict[int, bytes]:
    """The authValues of the objects that the command flushes: they still sign its response."""
    if not command.flushed:
        return {}
    return {
        use.entity: entities.auth_value(tpm, use.entity)
        for use in area.uses
        if use.entity is not None and use.session is not None
    }


def respond(
    tpm: Tpm, area: Area, hashes: Hashes, parameters: bytes, kept: dict[int, bytes]
) -> tuple[bytes, bytes]:
    """The response's parameters, encrypted where asked for, and its session area."""
    if len(area.uses) == 1 and area.uses[0].session is None:
        tpm.exclusive_session = 0
        audit.record(tpm, hashes, parameters)
        return parameters, b"\0\0\x01\0\0"
    auths = [_response_auth(tpm, use, kept) for use in area.uses]
    for use in area.uses:
        if use.session is not None:
            use.session.nonce_tpm = tpm.random(len(use.session.nonce_tpm))
    if area.encrypt is not None:
        auth = auths[area.uses.index(area.encrypt)]
        parameters = _encrypt_parameter(tpm, area.encrypt, parameters, auth)
    hashes.answer(parameters)
    _update_audit_session(tpm, area, hashes)
    audit.record(tpm, hashes, parameters)
    out = b"".join(
        [_respond_one(tpm, use, hashes, auth) for use, auth in zip(area.uses, auths, strict=True)]
    )
    return parameters, out


def _response_auth(tpm: Tpm, use: Use, kept: dict[int, bytes]) -> bytes:
    if use.session is None:
        return b""
    if use.entity in kept:
        return kept[use.entity]
    return _entity_auth(tpm, use)


def _update_audit_session(tpm: Tpm, area: Area, hashes: Hashes) -> None:
    """The audit session's digest, and which session is the exclusive one (part 1, 19.10)."""
    use = area.audit
    if use is None:
        tpm.exclusive_session = 0
        return
    session = use.session
    assert session is not None
    if not session.is_audit or use.attributes & _RESET:
        session.is_audit = True
        session.bound_to = b""
        session.audit_digest = bytes(DIGEST_SIZE[session.hash_alg])
        tpm.exclusive_session = use.handle
    elif tpm.exclusive_session != use.handle:
        tpm.exclusive_session = 0
    if tpm.exclusive_session == use.handle:
        use.attributes |= _EXCLUSIVE
    else:
        use.attributes &= ~_EXCLUSIVE
    alg = session.hash_alg
    session.audit_digest = crypto.digest(
        alg, session.audit_digest + hashes.cp(alg) + hashes.rp(alg)
    )


def _respond_one(tpm: Tpm, use: Use, hashes: Hashes, auth: bytes) -> bytes:
    session = use.session
    if session is None:
        return b"\0\0\x01\0\0"
    hmac = b""
    if not session.policy.password:
        key = session.key + auth if use.include_auth else session.key
        if key or use.hmac:
            content = hashes.rp(session.hash_alg) + session.nonce_tpm + use.nonce
            content += bytes((use.attributes,))
            hmac = crypto.hmac(session.hash_alg, key, content)
    if use.attributes & _CONTINUE:
        if session.is_policy:
            session.restart(tpm.time, tpm.epoch)
    else:
        tpm.flush_session(use.handle)
    return write_buffer(session.nonce_tpm) + bytes((use.attributes,)) + write_buffer(hmac)
