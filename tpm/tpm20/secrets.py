"""Secrets shared with a key of this TPM (part 1, annexes B.10 and C.6): salts and seeds."""

from __future__ import annotations

import struct

from tpm.tpm20 import crypto
from tpm.tpm20.codec import codec, encode
from tpm.tpm20.constants import ALG, RC, TpmError
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import DIGEST_SIZE, EccPoint, Public


def _oaep_hash(public: Public) -> int:
    """The key's OAEP hash, else its nameAlg."""
    scheme = public.parameters.scheme
    if scheme.scheme == ALG.OAEP and scheme.hash_alg != ALG.NULL:
        return int(scheme.hash_alg)
    return public.name_alg


def decrypt(key: Object, label: bytes, secret: bytes) -> bytes:
    """The secret that was encrypted to an asymmetric key; `label` without its final zero.

    Raises `TPM_RC_VALUE`, `TPM_RC_SIZE`, `TPM_RC_INSUFFICIENT` or `TPM_RC_ECC_POINT`.
    """
    public = key.public
    if public.type == ALG.RSA:
        return _rsa_decrypt(key, label, secret)
    if public.type != ALG.ECC:
        raise TpmError(RC.KEY)
    return _ecc_decrypt(key, label, secret)


def _rsa_decrypt(key: Object, label: bytes, secret: bytes) -> bytes:
    public = key.public
    if len(secret) != public.parameters.key_bits // 8:
        raise TpmError(RC.SIZE)
    hash_alg = _oaep_hash(public)
    try:
        data: bytes = key.private_key().decrypt(secret, crypto.oaep(hash_alg, label + b"\0"))
    except ValueError:
        raise TpmError(RC.VALUE) from None
    if len(data) > DIGEST_SIZE[public.name_alg]:
        raise TpmError(RC.VALUE)
    return data


def _ecc_decrypt(key: Object, label: bytes, secret: bytes) -> bytes:
    public = key.public
    try:
        point, end = codec(EccPoint).read(secret, 0)
    except struct.error:
        raise TpmError(RC.INSUFFICIENT) from None
    if end != len(secret):
        raise TpmError(RC.SIZE)
    curve = public.parameters.curve
    try:
        z = crypto.ecdh(key.private_key(), crypto.ecc_public(curve, point))
    except ValueError:
        raise TpmError(RC.ECC_POINT) from None
    return _ecc_seed(public, label, z, point)


def _ecc_seed(public: Public, label: bytes, z: bytes, ephemeral: EccPoint) -> bytes:
    bits = DIGEST_SIZE[public.name_alg] * 8
    return crypto.kdfe(public.name_alg, z, label, ephemeral.x, public.unique.x, bits)


def encrypt(public: Public, label: bytes, random: crypto.Random) -> tuple[bytes, bytes]:
    """A new secret and its encryption to an asymmetric key; `TPM_RC_KEY` if that cannot be."""
    try:
        if public.type == ALG.RSA:
            data = random(DIGEST_SIZE[public.name_alg])
            padding = crypto.oaep(_oaep_hash(public), label + b"\0")
            return data, crypto.rsa_public(public).encrypt(data, padding)
        if public.type == ALG.ECC:
            curve = public.parameters.curve
            scalar, ephemeral = crypto.ecc_generate(curve, random)
            own = crypto.ecc_private(curve, scalar)
            z = crypto.ecdh(own, crypto.ecc_public(curve, public.unique))
            return _ecc_seed(public, label, z, ephemeral), encode(EccPoint, ephemeral)
    except ValueError:
        pass
    raise TpmError(RC.KEY)
