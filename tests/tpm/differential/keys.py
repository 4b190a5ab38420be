"""Kinds of objects, as templates to create from and as keys that both TPMs can be given.

An object that is loaded from outside, or imported, is the same on both sides, and so is nearly
everything that it then does. `KINDS` says what there is; `template` and `known` make the wire
structures of it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.tpm.tpm20.client import (
    DECRYPTS,
    HASH,
    RESTRICTED,
    SHA1,
    SHA256,
    SHA384,
    SIGNS,
    b2,
    octets,
    u16,
    u32,
)
from tests.tpm.tpm20.client import template as wire

RSA, KEYEDHASH, ECC, SYMCIPHER = 1, 8, 0x23, 0x25
ORIGIN, ENCRYPTED_DUPLICATION = 0x20, 0x800
FIXED_TPM, FIXED_PARENT = 0x02, 0x10

_NO = u16(0x10)
_CFB = u16(6) + u16(128) + u16(0x43)
_P256, _P384 = u16(3) + _NO, u16(4) + _NO
_1024 = u16(1024) + u32(0)


def _hash(scheme: int, alg: int = SHA256) -> bytes:
    return u16(scheme) + u16(alg)


class Kind(NamedTuple):
    """A sort of object."""

    type: int
    parameters: bytes
    bits: int
    tags: frozenset[str]
    """What it is good for."""
    given: int = 0
    """Octets of content that whoever creates it gives; for 0 the TPM makes it."""
    curve: int = 3


def _kind(kind: int, parameters: bytes, bits: int, tags: str, **more: int) -> Kind:
    return Kind(kind, parameters, bits, frozenset(tags.split()), **more)


_PARENT = RESTRICTED | DECRYPTS
_BOTH = SIGNS | DECRYPTS
KINDS: dict[str, Kind] = {
    "ECC storage": _kind(ECC, _CFB + _NO + _P256, _PARENT, "parent seed"),
    "AES storage": _kind(SYMCIPHER, _CFB, _PARENT, "parent"),
    "RSA storage": _kind(RSA, _CFB + _NO + _1024, _PARENT, "parent seed rsa"),
    "derivation": _kind(KEYEDHASH, _hash(0xA) + u16(0x22), _PARENT, "derive", given=32),
    "ECC any": _kind(ECC, _NO + _NO + _P256, _BOTH, "sign ecc ecdh decrypt seed"),
    "ECDSA": _kind(ECC, _NO + _hash(0x18) + _P256, SIGNS, "sign ecc"),
    "ECDSA P-384": _kind(ECC, _NO + _hash(0x18, SHA384) + _P384, SIGNS, "sign ecc", curve=4),
    "ECDAA": _kind(ECC, _NO + _hash(0x1A) + u16(1) + _P256, SIGNS, "sign ecc daa"),
    "EC-Schnorr": _kind(ECC, _NO + _hash(0x1C) + _P256, SIGNS, "sign ecc"),
    "ECC attestation": _kind(ECC, _NO + _hash(0x18) + _P256, SIGNS | RESTRICTED, "sign ecc"),
    "ECDH": _kind(ECC, _NO + _hash(0x19) + _P256, DECRYPTS, "ecdh decrypt seed"),
    "RSA any": _kind(RSA, _NO + _NO + _1024, _BOTH, "sign rsa decrypt seed"),
    "RSASSA": _kind(RSA, _NO + _hash(0x14) + _1024, SIGNS, "sign rsa"),
    "RSAPSS": _kind(RSA, _NO + _hash(0x16, SHA1) + _1024, SIGNS, "sign rsa"),
    "RSA attestation": _kind(RSA, _NO + _hash(0x14) + _1024, SIGNS | RESTRICTED, "sign rsa"),
    "OAEP": _kind(RSA, _NO + _hash(0x17) + _1024, DECRYPTS, "rsa decrypt seed"),
    "RSAES": _kind(RSA, _NO + u16(0x15) + _1024, DECRYPTS, "rsa decrypt seed"),
    "HMAC": _kind(KEYEDHASH, _hash(5), SIGNS, "sign mac"),
    "HMAC given": _kind(KEYEDHASH, _hash(5), SIGNS, "sign mac", given=20),
    "HMAC any": _kind(KEYEDHASH, _NO, _BOTH, "sign mac", given=32),
    "HMAC restricted": _kind(KEYEDHASH, _hash(5), SIGNS | RESTRICTED, "sign mac"),
    "XOR": _kind(KEYEDHASH, _hash(0xA) + u16(0x22), DECRYPTS, "odd", given=16),
    "sealed": _kind(KEYEDHASH, _NO, 0, "seal", given=24),
    "AES": _kind(SYMCIPHER, _CFB, _BOTH, "cipher"),
    "AES CBC": _kind(SYMCIPHER, u16(6) + u16(256) + u16(0x42), DECRYPTS, "cipher"),
    "AES any": _kind(SYMCIPHER, u16(6) + u16(128) + _NO, _BOTH, "cipher mac"),
    "CMAC": _kind(SYMCIPHER, u16(6) + u16(128) + u16(0x3F), SIGNS, "mac"),
}
SLOW = frozenset(name for name, kind in KINDS.items() if kind.type == RSA)
"""Kinds whose creation needs prime numbers."""

_P = octets(
    "c803d924a437ab68b63cf0ee9b7e7eb78a9da3ee4d1c1e250fa5f9d63914892052c6ad7ca9f12f5efac31082"
    "9b1fe65fcc9abf027f2b229dc1f73be6d89280c3"
)
_Q = octets(
    "c51a5e528a9086284461a15f684af2021876d953486b1cb87fb0ba15289e8befe92eece5b8086f77b73d1d41"
    "866b7ed2748319dacc2be222d537c37607653235"
)
_N = int.from_bytes(_P, "big") * int.from_bytes(_Q, "big")
_SCALAR = 0x1B0F8C3D5E7A9246813579BDF02468ACE0F1E2D3C4B5A69788796A5B4C3D2E1F
_CURVES: dict[int, ec.EllipticCurve] = {3: ec.SECP256R1(), 4: ec.SECP384R1()}


def rsa_key() -> rsa.RSAPrivateKey:
    """The RSA key of every known object."""
    p, q = int.from_bytes(_P, "big"), int.from_bytes(_Q, "big")
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, _N)
    one, two = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, one, two, rsa.rsa_crt_iqmp(p, q), public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def ecc_key(curve: int = 3) -> ec.EllipticCurvePrivateKey:
    """The ECC key of every known object on a curve."""
    return ec.derive_private_key(_SCALAR, _CURVES[curve])


def coordinates(curve: int = 3) -> tuple[bytes, bytes]:
    """Its public point."""
    size = (_CURVES[curve].key_size + 7) // 8
    point = ecc_key(curve).public_key().public_numbers()
    return point.x.to_bytes(size, "big"), point.y.to_bytes(size, "big")


def template(
    name: str, attributes: int, policy: bytes = b"", alg: int = SHA256, unique: bytes | None = None
) -> bytes:
    """A TPMT_PUBLIC to create from; `attributes` are those that do not follow from the kind."""
    kind = KINDS[name]
    if unique is None:
        unique = b2(b"") * 2 if kind.type == ECC else b2(b"")
    return wire(kind.type, attributes | kind.bits, kind.parameters, unique, policy, alg)


def content(name: str) -> bytes:
    """What whoever creates an object of the kind gives."""
    return bytes(range(KINDS[name].given))


def _secret(kind: Kind, seed: bytes, alg: int) -> tuple[bytes, bytes]:
    """The sensitive value of a known object, and what its public area has about it."""
    if kind.type == RSA:
        return _P, b2(_N.to_bytes(128, "big"))
    if kind.type == ECC:
        x, y = coordinates(kind.curve)
        return _SCALAR.to_bytes(len(x), "big"), b2(x) + b2(y)
    size = int.from_bytes(kind.parameters[2:4], "big") // 8 if kind.type == SYMCIPHER else 32
    secret = bytes(range(1, 1 + (kind.given or size)))
    if kind.bits & _PARENT == _PARENT:
        return secret, b2(hmac.new(seed, secret, HASH[alg]).digest())
    return secret, b2(hashlib.new(HASH[alg], seed + secret).digest())


def known(
    name: str, attributes: int, auth: bytes = b"", policy: bytes = b"", alg: int = SHA256
) -> tuple[bytes, bytes]:
    """TPMT_SENSITIVE and TPMT_PUBLIC of the object of a kind that both TPMs are given."""
    kind = KINDS[name]
    bits = attributes | kind.bits
    is_parent = bits & RESTRICTED and bits & DECRYPTS
    needs_seed = kind.type in (KEYEDHASH, SYMCIPHER) or is_parent
    seed = b"s" * hashlib.new(HASH[alg]).digest_size if needs_seed else b""
    secret, unique = _secret(kind, seed, alg)
    public = wire(kind.type, bits, kind.parameters, unique, policy, alg)
    return u16(kind.type) + b2(auth) + b2(seed) + b2(secret), public
