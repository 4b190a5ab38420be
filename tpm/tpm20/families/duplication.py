"""Duplication (part 3, 13; part 1, 23)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, objects, secrets, templates
from tpm.tpm20.codec import decode, encode, write_buffer
from tpm.tpm20.constants import ALG, RC, RH, TPMA_OBJECT, H, P, TpmError, about
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import Digest, Public, Sensitive, SymDefObject

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_LABEL = b"DUPLICATE"
_NO_IV = bytes(16)
_FIXED = TPMA_OBJECT.FIXED_TPM | TPMA_OBJECT.FIXED_PARENT
_STORAGE = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT


def _storage_key(tpm: Tpm, handle: int, number: int) -> Object:
    """An asymmetric storage key, of which the public area is enough; else `TPM_RC_TYPE`."""
    held = tpm.slot(handle)
    if (
        not isinstance(held, Object)
        or held.public.type not in (ALG.RSA, ALG.ECC)
        or held.public.attributes & (_STORAGE | TPMA_OBJECT.SIGN) != _STORAGE
    ):
        raise TpmError(RC.TYPE + H(number))
    return held


def _new_parent(tpm: Tpm, handle: int) -> Object | None:
    return None if handle == RH.NULL else _storage_key(tpm, handle, 2)


def _wrapped(tpm: Tpm, parent: Object | None, name: bytes, content: bytes) -> tuple[bytes, bytes]:
    """A duplicate with an outer wrapper for a new parent, and its encrypted seed."""
    if parent is None:
        return content, b""
    seed, secret = secrets.encrypt(parent.public, _LABEL, tpm.random)
    return objects.outer_wrap(parent, name, seed, content), secret


def _key_size_is_wrong(symmetric: SymDefObject, key: bytes) -> bool:
    return len(key) * 8 != symmetric.key_bits


def duplicate(
    tpm: Tpm,
    handle: int,
    new_parent: int,
    encryption_key_in: bytes,
    symmetric: SymDefObject,
) -> tuple[bytes, bytes, bytes]:
    """Part 3, 13.1."""
    held = tpm.slot(handle)
    if not isinstance(held, Object) or held.public.name_alg == ALG.NULL:
        raise TpmError(RC.TYPE + H(1))
    if held.has(TPMA_OBJECT.FIXED_PARENT):
        raise TpmError(RC.ATTRIBUTES + H(1))
    parent = _new_parent(tpm, new_parent)
    if held.has(TPMA_OBJECT.ENCRYPTED_DUPLICATION):
        if symmetric.algorithm == ALG.NULL:
            raise TpmError(RC.SYMMETRIC + P(2))
        if parent is None:
            raise TpmError(RC.HIERARCHY + H(2))
    if encryption_key_in and _key_size_is_wrong(symmetric, encryption_key_in):
        raise TpmError(RC.SIZE + P(1))
    assert held.sensitive is not None
    content = write_buffer(encode(Sensitive, _padded(held.sensitive, held.public.name_alg)))
    key_out = b""
    if symmetric.algorithm != ALG.NULL:
        key = encryption_key_in
        if not key:
            key = key_out = tpm.random(symmetric.key_bits // 8)
        content = _inner_wrap(key, held.public.name_alg, held.name, content)
    made, secret = _wrapped(tpm, parent, held.name, content)
    return key_out, made, secret


def _padded(sensitive: Sensitive, name_alg: int) -> Sensitive:
    """The sensitive area of a size that does not tell the authValue's."""
    auth = objects.pad_auth(sensitive.auth, name_alg)
    return sensitive if auth is None else sensitive._replace(auth=auth)


def _inner_wrap(key: bytes, name_alg: int, name: bytes, content: bytes) -> bytes:
    """Part 1, 23.3.2.2."""
    integrity = crypto.digest(name_alg, content + name)
    return crypto.cfb_encrypt(key, _NO_IV, write_buffer(integrity) + content)


def _inner_unwrap(key: bytes, name_alg: int, name: bytes, blob: bytes) -> bytes:
    octets = crypto.cfb_decrypt(key, _NO_IV, blob)
    size = int.from_bytes(octets[:2], "big")
    integrity, content = decode(Digest, octets[: 2 + size]), octets[2 + size :]
    if integrity != crypto.digest(name_alg, content + name):
        raise TpmError(RC.INTEGRITY)
    return content


def rewrap(
    tpm: Tpm,
    old_parent: int,
    new_parent: int,
    in_duplicate: bytes,
    name: bytes,
    in_sym_seed: bytes,
) -> tuple[bytes, bytes]:
    """Part 3, 13.2."""
    if bool(in_sym_seed) == (old_parent == RH.NULL):
        raise TpmError(RC.HANDLE + H(1))
    content = in_duplicate
    if old_parent != RH.NULL:
        old = _storage_key(tpm, old_parent, 1)
        try:
            seed = secrets.decrypt(old, _LABEL, in_sym_seed)
        except TpmError:
            raise TpmError(RC.VALUE + P(3)) from None
        content = _outer_unwrap(old, name, seed, in_duplicate, 1)
    return _wrapped(tpm, _new_parent(tpm, new_parent), name, content)


def _outer_unwrap(parent: Object, name: bytes, seed: bytes, blob: bytes, number: int) -> bytes:
    try:
        return objects.outer_unwrap(parent, name, seed, blob)
    except TpmError as error:
        raise TpmError(about(error.code, P(number))) from None


def import_(
    tpm: Tpm,
    parent: int,
    encryption_key: bytes,
    object_public: Public,
    in_duplicate: bytes,
    in_sym_seed: bytes,
    symmetric: SymDefObject,
) -> tuple[bytes]:
    """Part 3, 13.3."""
    if object_public.attributes & _FIXED:
        raise TpmError(RC.ATTRIBUTES + P(2))
    above = tpm.slot(parent)
    if not isinstance(above, Object) or not above.is_parent:
        raise TpmError(RC.TYPE + H(1))
    if _key_size_is_wrong(symmetric, encryption_key):
        raise TpmError(RC.SIZE + P(1))
    if object_public.attributes & TPMA_OBJECT.ENCRYPTED_DUPLICATION:
        if symmetric.algorithm == ALG.NULL:
            raise TpmError(RC.ATTRIBUTES + P(1))
        if not in_sym_seed:
            raise TpmError(RC.ATTRIBUTES + P(4))
    content, name = in_duplicate, objects.object_name(object_public)
    if in_sym_seed:
        if above.public.type == ALG.SYMCIPHER:
            raise TpmError(RC.TYPE + H(1))
        try:
            seed = secrets.decrypt(above, _LABEL, in_sym_seed)
        except TpmError as error:
            raise TpmError(about(error.code, P(4))) from None
        content = _outer_unwrap(above, name, seed, content, 3)
    try:
        if symmetric.algorithm != ALG.NULL:
            content = _inner_unwrap(encryption_key, object_public.name_alg, name, content)
        if len(content) < 2:
            raise TpmError(RC.INSUFFICIENT)
        if int.from_bytes(content[:2], "big") != len(content) - 2:
            raise TpmError(RC.SIZE)
        sensitive: Sensitive = decode(Sensitive, content[2:])
    except TpmError as error:
        raise TpmError(about(error.code, P(3))) from None
    if above.has(TPMA_OBJECT.FIXED_TPM):
        _check(object_public, sensitive)
    sensitive = _padded(sensitive, object_public.name_alg)
    return (objects.sensitive_to_private(sensitive, name, above, tpm.random(16)),)


def _check(public: Public, sensitive: Sensitive) -> None:
    """What Load will not check again, because the new parent's objects come from this TPM."""
    try:
        templates.check_public(None, public)
    except TpmError as error:
        raise TpmError(about(error.code, P(2))) from None
    templates.check_key(public, sensitive, 2, 3)
