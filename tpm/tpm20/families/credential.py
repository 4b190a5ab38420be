"""Credentials (part 3, 12.5 and 12.6; part 1, 24)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import objects, secrets
from tpm.tpm20.codec import decode, write_buffer
from tpm.tpm20.constants import ALG, RC, TPMA_OBJECT, H, P, TpmError, about
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import DIGEST_SIZE, Digest

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_LABEL = b"IDENTITY"
_STORAGE = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT


def _key(tpm: Tpm, handle: int, number: int) -> Object:
    """An asymmetric storage key: it has the symmetric algorithm that a credential needs."""
    held = tpm.slot(handle)
    if (
        not isinstance(held, Object)
        or held.public.type not in (ALG.RSA, ALG.ECC)
        or not held.has(_STORAGE)
    ):
        raise TpmError(RC.TYPE + H(number))
    return held


def activate_credential(
    tpm: Tpm, activate: int, key: int, credential_blob: bytes, secret: bytes
) -> tuple[bytes]:
    """Part 3, 12.5."""
    held = _key(tpm, key, 2)
    name = tpm.object(activate).name
    try:
        seed = secrets.decrypt(held, _LABEL, secret)
    except TpmError as error:
        raise TpmError(about(error.code, P(2))) from None
    try:
        return (decode(Digest, objects.outer_unwrap(held, name, seed, credential_blob)),)
    except TpmError as error:
        raise TpmError(about(error.code, P(1))) from None


def make_credential(
    tpm: Tpm, handle: int, credential: bytes, object_name: bytes
) -> tuple[bytes, bytes]:
    """Part 3, 12.6."""
    held = _key(tpm, handle, 1)
    if len(credential) > DIGEST_SIZE[held.public.name_alg]:
        raise TpmError(RC.SIZE + P(1))
    seed, secret = secrets.encrypt(held.public, _LABEL, tpm.random)
    return objects.outer_wrap(held, object_name, seed, write_buffer(credential)), secret
