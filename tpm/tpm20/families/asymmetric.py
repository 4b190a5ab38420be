"""Asymmetric encryption and key exchange (part 3, 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import padding

from tpm.tpm20 import commits, crypto, crypto_raw
from tpm.tpm20.constants import ALG, RC, TPMA_OBJECT, H, P, TpmError
from tpm.tpm20.curves import CURVE
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import NO_SCHEME, EccDetail, EccPoint, Scheme

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_RESTRICTED = TPMA_OBJECT.RESTRICTED
_DECRYPT = TPMA_OBJECT.DECRYPT


def _key(tpm: Tpm, handle: int, kind: int) -> Object:
    """The key of a handle; `TPM_RC_KEY` if it is not of that type."""
    held = tpm.slot(handle)
    if not isinstance(held, Object) or held.public.type != kind:
        raise TpmError(RC.KEY + H(1))
    return held


def _private_key(tpm: Tpm, handle: int, kind: int) -> Object:
    """The same, for a private operation: `TPM_RC_ATTRIBUTES` if it is not to decrypt with."""
    held = _key(tpm, handle, kind)
    if held.public.attributes & (_RESTRICTED | _DECRYPT) != _DECRYPT:
        raise TpmError(RC.ATTRIBUTES + H(1))
    return held


# RSA.


def _rsa_scheme(held: Object, given: Scheme, label: bytes) -> Scheme:
    if label and label[-1]:
        raise TpmError(RC.VALUE + P(3))
    own: Scheme = held.public.parameters.scheme
    if own.scheme == ALG.NULL:
        return given
    if given.scheme != ALG.NULL and given != own:
        raise TpmError(RC.SCHEME + P(2))
    return own


def _padding(scheme: Scheme, label: bytes) -> padding.AsymmetricPadding:
    if scheme.scheme == ALG.RSAES:
        return padding.PKCS1v15()
    return crypto.oaep(scheme.hash_alg, label)


def rsa_encrypt(
    tpm: Tpm, key: int, message: bytes, in_scheme: Scheme, label: bytes
) -> tuple[bytes]:
    """Part 3, 14.2."""
    held = _key(tpm, key, ALG.RSA)
    if not held.has(_DECRYPT):
        raise TpmError(RC.ATTRIBUTES + H(1))
    scheme = _rsa_scheme(held, in_scheme, label)
    public = held.public
    try:
        if scheme.scheme != ALG.NULL:
            return (crypto.rsa_public(public).encrypt(message, _padding(scheme, label)),)
        modulus = int.from_bytes(public.unique, "big")
        exponent = public.parameters.exponent or crypto.DEFAULT_EXPONENT
        result = crypto_raw.rsa_public(modulus, exponent, int.from_bytes(message, "big"))
    except ValueError:
        raise TpmError(RC.VALUE) from None
    return (result.to_bytes(len(public.unique), "big"),)


def rsa_decrypt(
    tpm: Tpm, key: int, cipher_text: bytes, in_scheme: Scheme, label: bytes
) -> tuple[bytes]:
    """Part 3, 14.3."""
    held = _private_key(tpm, key, ALG.RSA)
    scheme = _rsa_scheme(held, in_scheme, label)
    size = len(held.public.unique)
    if len(cipher_text) != size:
        raise TpmError(RC.SIZE)
    try:
        if scheme.scheme == ALG.OAEP:
            return (held.private_key().decrypt(cipher_text, _padding(scheme, label)),)
        number = int.from_bytes(cipher_text, "big")
        block = crypto_raw.rsa_private(held.private_key(), number, tpm.random).to_bytes(size, "big")
    except ValueError:
        raise TpmError(RC.VALUE) from None
    return (block if scheme.scheme == ALG.NULL else _rsaes_message(block),)


def _rsaes_message(block: bytes) -> bytes:
    """The message in an RSAES block (RFC 8017, 7.2.2).

    The library would answer a block that is none with a made-up message (implicit rejection); part
    3, 14.3 wants TPM_RC_VALUE.
    """
    end = block.find(b"\0", 2)
    if not block.startswith(b"\0\2") or end < 10:
        raise TpmError(RC.VALUE)
    return block[end + 1 :]


# ECC.


def ecdh_key_gen(tpm: Tpm, key: int) -> tuple[EccPoint, EccPoint]:
    """Part 3, 14.4."""
    public = _key(tpm, key, ALG.ECC).public
    curve = public.parameters.curve
    scalar, ephemeral = crypto.ecc_generate(curve, tpm.random)
    try:
        z = crypto_raw.ecc_multiply(curve, int.from_bytes(scalar, "big"), public.unique)
    except ValueError:
        raise TpmError(RC.KEY + H(1)) from None
    return z, ephemeral


def ecdh_z_gen(tpm: Tpm, key: int, in_point: EccPoint) -> tuple[EccPoint]:
    """Part 3, 14.5."""
    held = _private_key(tpm, key, ALG.ECC)
    if held.public.parameters.scheme.scheme not in (ALG.ECDH, ALG.NULL):
        raise TpmError(RC.SCHEME + H(1))
    return (_product(held, in_point, 1),)


def _product(held: Object, point: EccPoint, parameter: int) -> EccPoint:
    """The key's private scalar times a point of a parameter."""
    assert held.sensitive is not None
    scalar = int.from_bytes(held.sensitive.sensitive, "big")
    try:
        return crypto_raw.ecc_multiply(held.public.parameters.curve, scalar, point)
    except ValueError:
        raise TpmError(RC.ECC_POINT + P(parameter)) from None


def ecc_parameters(tpm: Tpm, curve: int) -> tuple[EccDetail]:
    """Part 3, 14.6."""
    facts = CURVE[curve]
    order = crypto.CURVE_ORDER[curve]
    numbers = (facts.p, facts.p - 3, facts.b, facts.gx, facts.gy, order)
    p, a, b, gx, gy, n = [number.to_bytes(facts.size, "big") for number in numbers]
    kdf = Scheme(ALG.KDF1_SP800_56A, facts.hash_alg, 0)
    return (EccDetail(curve, facts.bits, kdf, NO_SCHEME, p, a, b, gx, gy, n, b"\1"),)


def z_gen_2_phase(
    tpm: Tpm, key_a: int, in_qs_b: EccPoint, in_qe_b: EccPoint, in_scheme: int, counter: int
) -> tuple[EccPoint, EccPoint]:
    """Part 3, 14.7: both products of an exchange with a static and an ephemeral key."""
    held = _private_key(tpm, key_a, ALG.ECC)
    if held.public.parameters.scheme.scheme not in (ALG.NULL, in_scheme):
        raise TpmError(RC.SCHEME + P(3))
    curve = held.public.parameters.curve
    for parameter, point in enumerate((in_qs_b, in_qe_b), 1):
        try:
            crypto.ecc_public(curve, point)
        except ValueError:
            raise TpmError(RC.ECC_POINT + P(parameter)) from None
    ephemeral = commits.waiting_scalar(tpm, counter, curve, b"")
    if ephemeral is None:
        raise TpmError(RC.VALUE + P(4))
    static_z = _product(held, in_qs_b, 1)
    ephemeral_z = crypto_raw.ecc_multiply(curve, ephemeral, in_qe_b)
    commits.end(tpm, counter)
    return static_z, ephemeral_z
