"""Policy commands (part 3, 23; part 1, 19.7).

A policy command extends the session's policyDigest; one that is about the later command also leaves
its condition in `Session.policy`, where `authorization.authorize` looks for it. In a trial session
the digest alone matters: nothing is verified and no condition is of consequence.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tpm.tpm20 import conditions, crypto, entities, pcrs, policy_tickets, signatures, tickets
from tpm.tpm20.codec import codec, encode
from tpm.tpm20.constants import CC, NT, RC, SE, ST, H, P, TpmError, about
from tpm.tpm20.families.clock import read_clock
from tpm.tpm20.families.nv import readable
from tpm.tpm20.policy_tickets import Authorization
from tpm.tpm20.sessions import Session
from tpm.tpm20.structures import (
    DIGEST_SIZE,
    Ha,
    PcrSelection,
    PcrSelections,
    Signature,
    Ticket,
    TimeInfo,
)

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_EXTENDED_LOCALITY = 32
"""TPMA_LOCALITY: values below are a bit mask of localities 0 to 4, others one locality."""
_ALL_LOCALITIES = 0x1F


def extend(session: Session, code: int, content: bytes = b"") -> None:
    """policyDigest := H(policyDigest || commandCode || content)."""
    policy = session.policy
    octets = policy.digest + code.to_bytes(4, "big") + content
    policy.digest = crypto.digest(session.hash_alg, octets)


def extend_with_reference(session: Session, code: int, name: bytes, reference: bytes) -> None:
    """PolicyUpdate of part 3, 23.2.3: the Name, and in a second step policyRef, even if empty."""
    extend(session, code, name)
    policy = session.policy
    policy.digest = crypto.digest(session.hash_alg, policy.digest + reference)


def _clear_digest(session: Session) -> None:
    session.policy.digest = bytes(DIGEST_SIZE[session.hash_alg])


def _bound_hash(session: Session) -> bytes:
    """The one of cpHash, nameHash and templateHash that the session has, if any."""
    policy = session.policy
    return policy.cp_hash or policy.name_hash or policy.template_hash


# Authorizations that expire (part 3, 23.2).


def _timeout(tpm: Tpm, session: Session, expiration: int, nonce_tpm: bytes) -> int:
    """TPM time in milliseconds when an authorization ends, 0 for never (part 3, 23.2.2).

    `expiration` is in seconds, its sign only asks for a ticket. It counts from when nonceTPM was
    made; without a nonce it is a value of time itself, rounded so that it does not end too early.
    """
    if not expiration:
        return 0
    milliseconds = abs(expiration) * 1000
    return milliseconds + (session.start_time if nonce_tpm else tpm.time % 1000)


def _check_authorization(
    tpm: Tpm, session: Session, timeout: int, cp_hash: bytes, cp_place: int, time_place: int
) -> None:
    if timeout and (timeout < tpm.time or session.epoch != tpm.epoch):
        raise TpmError(RC.EXPIRED + P(time_place))
    if cp_hash:
        if len(cp_hash) != DIGEST_SIZE[session.hash_alg]:
            raise TpmError(RC.SIZE + P(cp_place))
        if _bound_hash(session) not in (b"", cp_hash):
            raise TpmError(RC.CPHASH)


def _authorize(session: Session, code: int, given: Authorization) -> None:
    """Extend the digest, and keep what the authorization is limited to."""
    extend_with_reference(session, code, given.name, given.policy_ref)
    policy = session.policy
    if given.timeout and (not policy.timeout or given.timeout < policy.timeout):
        policy.timeout = given.timeout
    if given.cp_hash:
        policy.cp_hash = given.cp_hash


def _given(
    tpm: Tpm,
    session: Session,
    entity: int,
    nonce_tpm: bytes,
    cp_hash: bytes,
    policy_ref: bytes,
    expiration: int,
) -> Authorization:
    """What an entity authorizes, checked unless the session is a trial."""
    timeout = 0
    if session.kind != SE.TRIAL:
        timeout = _timeout(tpm, session, expiration, nonce_tpm)
        if nonce_tpm and not crypto.equal(nonce_tpm, session.nonce_tpm):
            raise TpmError(RC.NONCE + P(1))
        _check_authorization(tpm, session, timeout, cp_hash, 2, 4)
    name = entities.name(tpm, entity)
    return Authorization(timeout, not nonce_tpm, cp_hash, policy_ref, name)


def policy_signed(
    tpm: Tpm,
    auth_object: int,
    session: int,
    nonce_tpm: bytes,
    cp_hash: bytes,
    policy_ref: bytes,
    expiration: int,
    auth: Signature,
) -> tuple[bytes, Ticket]:
    """Part 3, 23.3."""
    held = tpm.sessions[session]
    given = _given(tpm, held, auth_object, nonce_tpm, cp_hash, policy_ref, expiration)
    if held.kind != SE.TRIAL:
        hash_alg = signatures.hash_alg(auth)
        signed = nonce_tpm + struct.pack(">i", expiration) + cp_hash + policy_ref
        try:
            key = tpm.object(auth_object)
            signatures.verify(key, crypto.digest(hash_alg, signed), auth)
        except TpmError as error:
            raise TpmError(about(error.code, P(5))) from None
    _authorize(held, CC.PolicySigned, given)
    if expiration >= 0 or held.kind == SE.TRIAL:
        return b"", tickets.null(ST.AUTH_SIGNED)
    return policy_tickets.make(tpm, ST.AUTH_SIGNED, entities.hierarchy(tpm, auth_object), given)


def policy_secret(
    tpm: Tpm,
    auth_handle: int,
    session: int,
    nonce_tpm: bytes,
    cp_hash: bytes,
    policy_ref: bytes,
    expiration: int,
) -> tuple[bytes, Ticket]:
    """Part 3, 23.4. A PIN that passes only so often gives no ticket: that would pass more often."""
    held = tpm.sessions[session]
    given = _given(tpm, held, auth_handle, nonce_tpm, cp_hash, policy_ref, expiration)
    _authorize(held, CC.PolicySecret, given)
    index = tpm.state.nv.get(auth_handle)
    is_pin_pass = index is not None and index.kind == NT.PIN_PASS
    if expiration >= 0 or held.kind == SE.TRIAL or is_pin_pass:
        return b"", tickets.null(ST.AUTH_SECRET)
    return policy_tickets.make(tpm, ST.AUTH_SECRET, entities.hierarchy(tpm, auth_handle), given)


_TICKET_STANDS_FOR = {ST.AUTH_SIGNED: CC.PolicySigned, ST.AUTH_SECRET: CC.PolicySecret}


def policy_ticket(
    tpm: Tpm,
    session: int,
    timeout: bytes,
    cp_hash: bytes,
    policy_ref: bytes,
    auth_name: bytes,
    ticket: Ticket,
) -> None:
    """Part 3, 23.5."""
    held = tpm.sessions[session]
    if held.kind == SE.TRIAL:
        raise TpmError(RC.ATTRIBUTES + H(1))
    if len(timeout) != policy_tickets.TIMEOUT_SIZE:
        raise TpmError(RC.SIZE + P(1))
    given = policy_tickets.read(timeout, cp_hash, policy_ref, auth_name)
    _check_authorization(tpm, held, given.timeout, cp_hash, 2, 1)
    if not policy_tickets.is_genuine(tpm, ticket, given):
        raise TpmError(RC.TICKET + P(5))
    _authorize(held, _TICKET_STANDS_FOR[ticket.tag], given)


# Alternatives and approvals: the digest starts again.


def policy_or(tpm: Tpm, session: int, hash_list: list[bytes]) -> None:
    """Part 3, 23.6."""
    held = tpm.sessions[session]
    if held.kind != SE.TRIAL and held.policy.digest not in hash_list:
        raise TpmError(RC.VALUE + P(1))
    _clear_digest(held)
    extend(held, CC.PolicyOR, b"".join(hash_list))


def policy_authorize(
    tpm: Tpm,
    session: int,
    approved_policy: bytes,
    policy_ref: bytes,
    key_sign: bytes,
    check_ticket: Ticket,
) -> None:
    """Part 3, 23.16."""
    held = tpm.sessions[session]
    hash_alg = int.from_bytes(key_sign[:2], "big")
    if hash_alg not in DIGEST_SIZE:
        raise TpmError(RC.HASH + P(3))
    if len(key_sign) != 2 + DIGEST_SIZE[hash_alg]:
        raise TpmError(RC.SIZE + P(3))
    if held.kind != SE.TRIAL:
        if approved_policy != held.policy.digest:
            raise TpmError(RC.VALUE + P(1))
        signed = crypto.digest(hash_alg, approved_policy + policy_ref)
        if not tickets.is_genuine(tpm, check_ticket, signed + key_sign):
            raise TpmError(RC.VALUE + P(4))
    _clear_digest(held)
    extend_with_reference(held, CC.PolicyAuthorize, key_sign, policy_ref)


def policy_authorize_nv(tpm: Tpm, auth: int, nv_index: int, session: int) -> None:
    """Part 3, 23.22: the Index holds a TPMT_HA, the digest that is approved."""
    held = tpm.sessions[session]
    if held.kind != SE.TRIAL:
        index = readable(tpm, auth, nv_index)
        try:
            (hash_alg, approved), _ = codec(Ha).read(index.data, 0)
        except struct.error:
            raise TpmError(RC.INSUFFICIENT) from None
        if hash_alg != held.hash_alg:
            raise TpmError(RC.HASH)
        if approved != held.policy.digest:
            raise TpmError(RC.VALUE)
    _clear_digest(held)
    extend(held, CC.PolicyAuthorizeNV, entities.name(tpm, nv_index))


# The state of the TPM.


def policy_pcr(tpm: Tpm, session: int, pcr_digest: bytes, selection: list[PcrSelection]) -> None:
    """Part 3, 23.7."""
    held = tpm.sessions[session]
    selection = pcrs.implemented(tpm, selection)
    current = pcrs.values_digest(tpm, held.hash_alg, selection)
    if held.kind != SE.TRIAL:
        if held.policy.pcr_counter not in (0, tpm.reset.pcr_counter):
            raise TpmError(RC.PCR_CHANGED)
        if pcr_digest and pcr_digest != current:
            raise TpmError(RC.VALUE + P(1))
        held.policy.pcr_counter = tpm.reset.pcr_counter
    wanted = pcr_digest or current
    extend(held, CC.PolicyPCR, encode(PcrSelections, selection) + wanted)


def policy_nv(
    tpm: Tpm,
    auth: int,
    nv_index: int,
    session: int,
    operand_b: bytes,
    offset: int,
    operation: int,
) -> None:
    """Part 3, 23.9."""
    held = tpm.sessions[session]
    if held.kind != SE.TRIAL:
        index = readable(tpm, auth, nv_index)
        operand_a = _operand_a(index.data, operand_b, offset, RC.SIZE + P(1))
        if not conditions.holds(operation, operand_a, operand_b):
            raise TpmError(RC.POLICY)
    arguments = _argument_digest(held, operand_b, offset, operation)
    extend(held, CC.PolicyNV, arguments + entities.name(tpm, nv_index))


def policy_counter_timer(
    tpm: Tpm, session: int, operand_b: bytes, offset: int, operation: int
) -> None:
    """Part 3, 23.10: the octets of a TPMS_TIME_INFO are compared."""
    held = tpm.sessions[session]
    current = encode(TimeInfo, read_clock(tpm)[0])
    operand_a = _operand_a(current, operand_b, offset, RC.RANGE)
    if held.kind != SE.TRIAL and not conditions.holds(operation, operand_a, operand_b):
        raise TpmError(RC.POLICY)
    extend(held, CC.PolicyCounterTimer, _argument_digest(held, operand_b, offset, operation))


def _operand_a(content: bytes, operand_b: bytes, offset: int, too_long: int) -> bytes:
    """As much of `content` as is compared with operandB."""
    if offset > len(content):
        raise TpmError(RC.VALUE + P(2))
    operand_a = content[offset : offset + len(operand_b)]
    if len(operand_a) != len(operand_b):
        raise TpmError(too_long)
    return operand_a


def _argument_digest(session: Session, operand_b: bytes, offset: int, operation: int) -> bytes:
    arguments = operand_b + offset.to_bytes(2, "big") + operation.to_bytes(2, "big")
    return crypto.digest(session.hash_alg, arguments)


# Conditions on the command.


def policy_locality(tpm: Tpm, session: int, locality: int) -> None:
    """Part 3, 23.8."""
    held = tpm.sessions[session]
    before = held.policy.locality
    extended = locality >= _EXTENDED_LOCALITY
    if before and (before >= _EXTENDED_LOCALITY) != extended:
        raise TpmError(RC.RANGE + P(1))
    if extended:
        allowed = locality if before in (0, locality) else 0
    else:
        allowed = locality & (before or _ALL_LOCALITIES)
    if not allowed:
        raise TpmError(RC.RANGE + P(1))
    extend(held, CC.PolicyLocality, bytes((locality,)))
    held.policy.locality = allowed


def policy_command_code(tpm: Tpm, session: int, code: int) -> None:
    """Part 3, 23.11."""
    from tpm.tpm20.dispatcher import COMMANDS

    held = tpm.sessions[session]
    if held.policy.command_code not in (0, code):
        raise TpmError(RC.VALUE + P(1))
    if code not in COMMANDS:
        raise TpmError(RC.POLICY_CC + P(1))
    extend(held, CC.PolicyCommandCode, code.to_bytes(4, "big"))
    held.policy.command_code = code


def policy_physical_presence(tpm: Tpm, session: int) -> None:
    """Part 3, 23.12."""
    held = tpm.sessions[session]
    extend(held, CC.PolicyPhysicalPresence)
    held.policy.physical_presence = True


def _check_hash(session: Session, value: bytes, same_kind: bytes) -> None:
    """`value` has the right size, and no other hash was there before, but for an equal one."""
    if len(value) != DIGEST_SIZE[session.hash_alg]:
        raise TpmError(RC.SIZE + P(1))
    if _bound_hash(session) and value != same_kind:
        raise TpmError(RC.CPHASH)


def policy_cp_hash(tpm: Tpm, session: int, cp_hash: bytes) -> None:
    """Part 3, 23.13."""
    held = tpm.sessions[session]
    _check_hash(held, cp_hash, held.policy.cp_hash)
    extend(held, CC.PolicyCpHash, cp_hash)
    held.policy.cp_hash = cp_hash


def policy_name_hash(tpm: Tpm, session: int, name_hash: bytes) -> None:
    """Part 3, 23.14: not even the same nameHash a second time."""
    held = tpm.sessions[session]
    _check_hash(held, name_hash, b"")
    extend(held, CC.PolicyNameHash, name_hash)
    held.policy.name_hash = name_hash


def policy_template(tpm: Tpm, session: int, template_hash: bytes) -> None:
    """Part 3, 23.21."""
    held = tpm.sessions[session]
    before = held.policy.template_hash
    if before and before != template_hash:
        raise TpmError(RC.VALUE + P(1))
    if _bound_hash(held) != before:
        raise TpmError(RC.CPHASH)
    _check_hash(held, template_hash, before)
    extend(held, CC.PolicyTemplate, template_hash)
    held.policy.template_hash = template_hash


def policy_duplication_select(
    tpm: Tpm, session: int, object_name: bytes, new_parent_name: bytes, include_object: int
) -> None:
    """Part 3, 23.15."""
    held = tpm.sessions[session]
    if _bound_hash(held):
        raise TpmError(RC.CPHASH)
    if held.policy.command_code:
        raise TpmError(RC.COMMAND_CODE)
    names = object_name + new_parent_name
    content = (names if include_object else new_parent_name) + bytes((include_object,))
    extend(held, CC.PolicyDuplicationSelect, content)
    held.policy.name_hash = crypto.digest(held.hash_alg, names)
    held.policy.command_code = CC.Duplicate


def policy_nv_written(tpm: Tpm, session: int, written_set: int) -> None:
    """Part 3, 23.20."""
    held = tpm.sessions[session]
    written = bool(written_set)
    if held.policy.nv_written not in (None, written):
        raise TpmError(RC.VALUE + P(1))
    extend(held, CC.PolicyNvWritten, bytes((written_set,)))
    held.policy.nv_written = written


# Conditions on the session.


def policy_auth_value(tpm: Tpm, session: int) -> None:
    """Part 3, 23.17."""
    held = tpm.sessions[session]
    extend(held, CC.PolicyAuthValue)
    held.policy.auth_value, held.policy.password = True, False


def policy_password(tpm: Tpm, session: int) -> None:
    """Part 3, 23.18: the digest is PolicyAuthValue's, so that either can be used."""
    held = tpm.sessions[session]
    extend(held, CC.PolicyAuthValue)
    held.policy.auth_value, held.policy.password = False, True


def policy_get_digest(tpm: Tpm, session: int) -> tuple[bytes]:
    """Part 3, 23.19."""
    return (tpm.sessions[session].policy.digest,)
