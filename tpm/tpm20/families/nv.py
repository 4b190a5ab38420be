"""NV Indices (part 3, 31; part 1, 37).

Every change is in non-volatile memory when the answer goes out, of an orderly Index too: an orderly
counter therefore never jumps after a loss of power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, entities
from tpm.tpm20.attestation import Attested, Signer
from tpm.tpm20.constants import (
    MAX_NV_BUFFER,
    MAX_NV_INDICES,
    NT,
    NV_MEMORY_SIZE,
    RC,
    RH,
    ST,
    TPMA_NV,
    H,
    P,
    TpmError,
)
from tpm.tpm20.state import NvIndex
from tpm.tpm20.structures import (
    DIGEST_SIZE,
    NvCertifyInfo,
    NvDigestCertifyInfo,
    NvPublic,
    Scheme,
)

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_LOCKS_AND_WRITTEN = TPMA_NV.WRITELOCKED | TPMA_NV.READLOCKED | TPMA_NV.WRITTEN
_READERS = TPMA_NV.PPREAD | TPMA_NV.OWNERREAD | TPMA_NV.AUTHREAD | TPMA_NV.POLICYREAD
_WRITERS = TPMA_NV.PPWRITE | TPMA_NV.OWNERWRITE | TPMA_NV.AUTHWRITE | TPMA_NV.POLICYWRITE

_WORD = 8
"""The size of a counter, of bits, and of a PIN's count and limit."""

_FORBIDDEN = {
    NT.ORDINARY: 0,
    NT.COUNTER: TPMA_NV.CLEAR_STCLEAR,
    NT.BITS: 0,
    NT.EXTEND: 0,
    NT.PIN_FAIL: TPMA_NV.AUTHWRITE | TPMA_NV.GLOBALLOCK | TPMA_NV.WRITEDEFINE,
    NT.PIN_PASS: TPMA_NV.AUTHWRITE | TPMA_NV.GLOBALLOCK | TPMA_NV.WRITEDEFINE,
}
"""For each type that there is, the attributes that it cannot have."""

_NOT_WRITTEN_WHOLE = (NT.COUNTER, NT.BITS, NT.EXTEND)
"""The types that have a command of their own instead of NV_Write."""


# Definition.


def nv_define_space(tpm: Tpm, auth: int, auth_value: bytes, public_info: NvPublic) -> None:
    """Part 3, 31.3."""
    auth_value = auth_value.rstrip(b"\0")
    size = DIGEST_SIZE[public_info.name_alg]
    if len(public_info.auth_policy) not in (0, size):
        raise TpmError(RC.SIZE + P(2))
    if len(auth_value) > size:
        raise TpmError(RC.SIZE + P(1))
    if auth == RH.PLATFORM and not tpm.clear.platform_nv_enabled:
        raise TpmError(RC.HIERARCHY + H(1))
    index = NvIndex(public_info, auth_value, bytes(public_info.data_size))
    _check_size(index, size)
    _check_attributes(index, auth)
    handle = public_info.nv_index
    if handle in tpm.state.nv:
        raise TpmError(RC.NV_DEFINED)
    used = sum(len(one.data) for one in tpm.state.nv.values())
    if len(tpm.state.nv) >= MAX_NV_INDICES or used + len(index.data) > NV_MEMORY_SIZE:
        raise TpmError(RC.NV_SPACE)
    tpm.state.nv[handle] = index
    tpm.state.changed = True


def _check_size(index: NvIndex, digest_size: int) -> None:
    if index.kind not in _FORBIDDEN:
        raise TpmError(RC.ATTRIBUTES + P(2))
    if index.kind == NT.ORDINARY:
        return
    wanted = digest_size if index.kind == NT.EXTEND else _WORD
    if index.public.data_size != wanted:
        raise TpmError(RC.SIZE + P(2))


def _check_attributes(index: NvIndex, auth: int) -> None:
    bits = index.public.attributes
    wrong = (
        bits & _FORBIDDEN[index.kind]
        or (index.kind == NT.PIN_FAIL and not bits & TPMA_NV.NO_DA)
        or bits & _LOCKS_AND_WRITTEN
        or not bits & _READERS
        or not bits & _WRITERS
        or (bits & TPMA_NV.CLEAR_STCLEAR and bits & TPMA_NV.WRITEDEFINE)
    )
    if wrong:
        raise TpmError(RC.ATTRIBUTES + P(2))
    if bool(bits & TPMA_NV.PLATFORMCREATE) != (auth == RH.PLATFORM):
        raise TpmError(RC.ATTRIBUTES + H(1))
    if bits & TPMA_NV.POLICY_DELETE and auth != RH.PLATFORM:
        raise TpmError(RC.ATTRIBUTES + P(2))
    if bits & TPMA_NV.WRITEALL and index.public.data_size > MAX_NV_BUFFER:
        raise TpmError(RC.SIZE + P(2))


def nv_undefine_space(tpm: Tpm, auth: int, nv_index: int) -> None:
    """Part 3, 31.4."""
    bits = tpm.state.nv[nv_index].public.attributes
    if bits & TPMA_NV.POLICY_DELETE:
        raise TpmError(RC.ATTRIBUTES + H(2))
    if auth == RH.OWNER and bits & TPMA_NV.PLATFORMCREATE:
        raise TpmError(RC.NV_AUTHORIZATION)
    tpm.state.delete_nv(nv_index)


def nv_undefine_space_special(tpm: Tpm, nv_index: int, platform: int) -> None:
    """Part 3, 31.5."""
    if not tpm.state.nv[nv_index].public.attributes & TPMA_NV.POLICY_DELETE:
        raise TpmError(RC.ATTRIBUTES + H(1))
    tpm.state.delete_nv(nv_index)


def nv_read_public(tpm: Tpm, nv_index: int) -> tuple[NvPublic, bytes]:
    """Part 3, 31.6."""
    index = tpm.state.nv[nv_index]
    return index.public, entities.nv_name(index)


def nv_change_auth(tpm: Tpm, nv_index: int, new_auth: bytes) -> None:
    """Part 3, 31.15."""
    new_auth = new_auth.rstrip(b"\0")
    index = tpm.state.nv[nv_index]
    if len(new_auth) > DIGEST_SIZE[index.public.name_alg]:
        raise TpmError(RC.SIZE + P(1))
    index.auth = new_auth
    tpm.state.changed = True


# Access (part 1, 37.2.2 and 37.2.3).


def _is_allowed(auth: int, nv_index: int, bits: int, owner: int, platform: int) -> bool:
    """The entity may access the Index; what of its own it needs was checked as it authorized."""
    if auth == RH.OWNER:
        return bool(bits & owner)
    if auth == RH.PLATFORM:
        return bool(bits & platform)
    return auth == nv_index


def _readable_error(auth: int, index: NvIndex) -> int:
    bits = index.public.attributes
    if bits & TPMA_NV.READLOCKED:
        return RC.NV_LOCKED
    if not _is_allowed(auth, index.public.nv_index, bits, TPMA_NV.OWNERREAD, TPMA_NV.PPREAD):
        return RC.NV_AUTHORIZATION
    return 0 if bits & TPMA_NV.WRITTEN else RC.NV_UNINITIALIZED


def _writable_error(auth: int, index: NvIndex) -> int:
    bits = index.public.attributes
    if bits & TPMA_NV.WRITELOCKED:
        return RC.NV_LOCKED
    if not _is_allowed(auth, index.public.nv_index, bits, TPMA_NV.OWNERWRITE, TPMA_NV.PPWRITE):
        return RC.NV_AUTHORIZATION
    return 0


def readable(tpm: Tpm, auth: int, nv_index: int) -> NvIndex:
    """The Index, if it may be read with that authorization and has been written.

    Raises `TPM_RC_NV_LOCKED`, `TPM_RC_NV_AUTHORIZATION` or `TPM_RC_NV_UNINITIALIZED`.
    """
    index = tpm.state.nv[nv_index]
    error = _readable_error(auth, index)
    if error:
        raise TpmError(error)
    return index


def _writable(tpm: Tpm, auth: int, nv_index: int) -> NvIndex:
    index = tpm.state.nv[nv_index]
    error = _writable_error(auth, index)
    if error:
        raise TpmError(error)
    return index


def _writable_as(tpm: Tpm, auth: int, nv_index: int, kind: int) -> NvIndex:
    index = _writable(tpm, auth, nv_index)
    if index.kind != kind:
        raise TpmError(RC.ATTRIBUTES + H(2))
    return index


def _set_attributes(tpm: Tpm, index: NvIndex, bits: int) -> None:
    index.public = index.public._replace(attributes=index.public.attributes | bits)
    index._name = b""
    tpm.state.changed = True


def _store(tpm: Tpm, index: NvIndex, data: bytes) -> None:
    index.data = data
    bits = index.public.attributes
    if bits & TPMA_NV.ORDERLY:
        tpm.void_shutdown()
    if not bits & TPMA_NV.WRITTEN:
        _set_attributes(tpm, index, TPMA_NV.WRITTEN)
    tpm.state.changed = True


# Writing.


def nv_write(tpm: Tpm, auth: int, nv_index: int, data: bytes, offset: int) -> None:
    """Part 3, 31.7. What a first write leaves out is ones, whatever was there before a reset.

    In a PIN Index it is zeros: a limit that nobody has written lets nobody in. In an orderly Index
    it is zeros too, what memory without power begins with.
    """
    index = _writable(tpm, auth, nv_index)
    if index.kind in _NOT_WRITTEN_WHOLE:
        raise TpmError(RC.ATTRIBUTES)
    size = index.public.data_size
    if offset > size:
        raise TpmError(RC.VALUE + P(2))
    end = offset + len(data)
    if end > size or (index.public.attributes & TPMA_NV.WRITEALL and len(data) < size):
        raise TpmError(RC.NV_RANGE)
    zeros = index.is_pin or index.public.attributes & TPMA_NV.ORDERLY
    blank = b"\0" if zeros else b"\xff"
    old = index.data if index.public.attributes & TPMA_NV.WRITTEN else blank * size
    _store(tpm, index, old[:offset] + data + old[end:])


def _word(index: NvIndex, unwritten: int) -> int:
    """The number in a counter or in bits."""
    if not index.public.attributes & TPMA_NV.WRITTEN:
        return unwritten
    return int.from_bytes(index.data, "big")


def nv_increment(tpm: Tpm, auth: int, nv_index: int) -> None:
    """Part 3, 31.8: a new counter starts above every counter that was ever deleted."""
    index = _writable_as(tpm, auth, nv_index, NT.COUNTER)
    count = _word(index, tpm.state.nv_max_counter) + 1
    _store(tpm, index, (count & 0xFFFFFFFFFFFFFFFF).to_bytes(_WORD, "big"))


def nv_extend(tpm: Tpm, auth: int, nv_index: int, data: bytes) -> None:
    """Part 3, 31.9."""
    index = _writable_as(tpm, auth, nv_index, NT.EXTEND)
    written = index.public.attributes & TPMA_NV.WRITTEN
    old = index.data if written else bytes(index.public.data_size)
    _store(tpm, index, crypto.digest(index.public.name_alg, old + data))


def nv_set_bits(tpm: Tpm, auth: int, nv_index: int, bits: int) -> None:
    """Part 3, 31.10."""
    index = _writable_as(tpm, auth, nv_index, NT.BITS)
    _store(tpm, index, (_word(index, 0) | bits).to_bytes(_WORD, "big"))


def nv_write_lock(tpm: Tpm, auth: int, nv_index: int) -> None:
    """Part 3, 31.11: to lock what is locked is no error."""
    index = tpm.state.nv[nv_index]
    error = _writable_error(auth, index)
    if error == RC.NV_LOCKED:
        return
    if error:
        raise TpmError(error)
    if not index.public.attributes & (TPMA_NV.WRITEDEFINE | TPMA_NV.WRITE_STCLEAR):
        raise TpmError(RC.ATTRIBUTES + H(2))
    _set_attributes(tpm, index, TPMA_NV.WRITELOCKED)


def nv_global_write_lock(tpm: Tpm, auth: int) -> None:
    """Part 3, 31.12."""
    for index in tpm.state.nv.values():
        if index.public.attributes & TPMA_NV.GLOBALLOCK:
            _set_attributes(tpm, index, TPMA_NV.WRITELOCKED)


# Reading.


def nv_read(tpm: Tpm, auth: int, nv_index: int, size: int, offset: int) -> tuple[bytes]:
    """Part 3, 31.13."""
    index = readable(tpm, auth, nv_index)
    if size > MAX_NV_BUFFER:
        raise TpmError(RC.VALUE + P(1))
    held = index.public.data_size
    if offset > held:
        raise TpmError(RC.VALUE + P(2))
    if offset + size > held:
        raise TpmError(RC.NV_RANGE)
    return (index.data[offset : offset + size],)


def nv_read_lock(tpm: Tpm, auth: int, nv_index: int) -> None:
    """Part 3, 31.14: to lock what is locked is no error, and what is not written can be locked."""
    index = tpm.state.nv[nv_index]
    error = _readable_error(auth, index)
    if error == RC.NV_LOCKED:
        return
    if error == RC.NV_AUTHORIZATION:
        raise TpmError(error)
    if not index.public.attributes & TPMA_NV.READ_STCLEAR:
        raise TpmError(RC.ATTRIBUTES + H(2))
    _set_attributes(tpm, index, TPMA_NV.READLOCKED)


def nv_certify(
    tpm: Tpm,
    sign: int,
    auth: int,
    nv_index: int,
    qualifying_data: bytes,
    in_scheme: Scheme,
    size: int,
    offset: int,
) -> Attested:
    """Part 3, 31.16: the contents, or their digest where size and offset are zero."""
    signer = Signer.of(tpm, sign, 1, in_scheme, 2)
    index = readable(tpm, auth, nv_index)
    if offset + size > index.public.data_size:
        raise TpmError(RC.NV_RANGE)
    if size > MAX_NV_BUFFER:
        raise TpmError(RC.VALUE + P(3))
    name = entities.name(tpm, nv_index)
    if size == offset == 0:
        digest = crypto.digest(signer.scheme.hash_alg, index.data)
        attested = NvDigestCertifyInfo(name, digest)
        return signer.attest(tpm, ST.ATTEST_NV_DIGEST, qualifying_data, attested)
    contents = index.data[offset : offset + size]
    info = NvCertifyInfo(name, offset, contents)
    return signer.attest(tpm, ST.ATTEST_NV, qualifying_data, info)
