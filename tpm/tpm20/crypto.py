"""The cryptography that TPM 2.0 part 1, 11 and annexes B and C ask for, through `cryptography`.

Hashes and HMACs are `hashlib`'s and `hmac`'s, a tenth of the time of `cryptography`'s for the few
octets that a command hashes. What neither has is in `crypto_raw.py`.
"""

from __future__ import annotations

import hashlib
import hmac as _hmac
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

try:  # where cryptography keeps the modes that are no longer recommended to others
    from cryptography.hazmat.decrepit.ciphers.modes import CFB, OFB
except ImportError:
    from cryptography.hazmat.primitives.ciphers.modes import CFB, OFB

from tpm.tpm20.constants import ALG, ECC
from tpm.tpm20.structures import EccPoint, Public

Random = Callable[[int], bytes]
"""That many random octets."""

HASH_FUNCTIONS: dict[int, Callable[..., Any]] = {
    ALG.SHA1: hashlib.sha1,
    ALG.SHA256: hashlib.sha256,
    ALG.SHA384: hashlib.sha384,
    ALG.SHA512: hashlib.sha512,
}
HASH_NAMES = {
    ALG.SHA1: "sha1",
    ALG.SHA256: "sha256",
    ALG.SHA384: "sha384",
    ALG.SHA512: "sha512",
}
BLOCK_SIZE = {ALG.SHA1: 64, ALG.SHA256: 64, ALG.SHA384: 128, ALG.SHA512: 128}
HASH_CLASSES: dict[int, Callable[[], hashes.HashAlgorithm]] = {
    ALG.SHA1: hashes.SHA1,
    ALG.SHA256: hashes.SHA256,
    ALG.SHA384: hashes.SHA384,
    ALG.SHA512: hashes.SHA512,
}
CURVES: dict[int, ec.EllipticCurve] = {
    ECC.NIST_P256: ec.SECP256R1(),
    ECC.NIST_P384: ec.SECP384R1(),
    ECC.NIST_P521: ec.SECP521R1(),
}
CURVE_BYTES = {ECC.NIST_P256: 32, ECC.NIST_P384: 48, ECC.NIST_P521: 66}
CURVE_ORDER = {
    ECC.NIST_P256: 2**256 - 2**224 + 2**192
    - 0x4319055258E8617B0C46353D039CDAAF,
    ECC.NIST_P384: 2**384
    - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D,
    ECC.NIST_P521: 2**521
    - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7,
}  # fmt: skip
DEFAULT_EXPONENT = 65537


def digest(hash_alg: int, octets: bytes) -> bytes:
    """The digest; empty for TPM_ALG_NULL."""
    function = HASH_FUNCTIONS.get(hash_alg)
    if function is None:
        return b""
    result: bytes = function(octets).digest()
    return result


def hmac(hash_alg: int, key: bytes, octets: bytes) -> bytes:
    """HMAC (part 1, 11.4.3)."""
    return _hmac.digest(key, octets, HASH_NAMES[hash_alg])


equal = _hmac.compare_digest


def kdfa(
    hash_alg: int, key: bytes, label: bytes, context_u: bytes, context_v: bytes, bits: int
) -> bytes:
    """SP 800-108 in counter mode with HMAC (part 1, 11.4.10.2); `label` without its final zero."""
    fixed = label + b"\0" + context_u + context_v + bits.to_bytes(4, "big")
    size = (bits + 7) // 8
    name = HASH_NAMES[hash_alg]
    out = b""
    counter = 0
    while len(out) < size:
        counter += 1
        out += _hmac.digest(key, counter.to_bytes(4, "big") + fixed, name)
    return _first_bits(out[:size], bits)


def kdfe(hash_alg: int, z: bytes, label: bytes, party_u: bytes, party_v: bytes, bits: int) -> bytes:
    """SP 800-56A concatenation KDF (part 1, 11.4.10.3); `label` without its final zero."""
    fixed = z + label + b"\0" + party_u + party_v
    size = (bits + 7) // 8
    out = b""
    counter = 0
    while len(out) < size:
        counter += 1
        out += digest(hash_alg, counter.to_bytes(4, "big") + fixed)
    return _first_bits(out[:size], bits)


def _first_bits(octets: bytes, bits: int) -> bytes:
    """Bits beyond the first multiple of eight that was asked for are zero."""
    if bits % 8 == 0:
        return octets
    return bytes((octets[0] & (1 << bits % 8) - 1,)) + octets[1:]


def xor_obfuscate(
    hash_alg: int, key: bytes, context_u: bytes, context_v: bytes, octets: bytes
) -> bytes:
    """Parameter encryption by XOR (part 1, 11.4.7.3): its own inverse."""
    size = len(octets)
    mask = kdfa(hash_alg, key, b"XOR", context_u, context_v, size * 8)
    return (int.from_bytes(octets, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def cfb_encrypt(key: bytes, iv: bytes, octets: bytes) -> bytes:
    """AES in CFB mode."""
    return Cipher(algorithms.AES(key), CFB(iv)).encryptor().update(octets)


def cfb_decrypt(key: bytes, iv: bytes, octets: bytes) -> bytes:
    """The inverse of `cfb_encrypt`."""
    return Cipher(algorithms.AES(key), CFB(iv)).decryptor().update(octets)


_MODES: dict[int, Callable[[bytes], Any]] = {
    ALG.CTR: modes.CTR,
    ALG.OFB: OFB,
    ALG.CBC: modes.CBC,
    ALG.CFB: CFB,
    ALG.ECB: lambda iv: modes.ECB(),
}


def aes(key: bytes, mode: int, iv: bytes, octets: bytes, decrypt: bool) -> bytes:
    """AES of whole blocks in any mode; the IV is empty for ECB."""
    cipher = Cipher(algorithms.AES(key), _MODES[mode](iv))
    return (cipher.decryptor() if decrypt else cipher.encryptor()).update(octets)


class Drbg:
    """HMAC_DRBG with SHA-512 (SP 800-90A, 10.1.2): the same octets for the same seed, always.

    Primary keys are made from it. What is drawn, and in which order, is part of what a TPM's seed
    means: a change here changes every primary key of every existing TPM.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = bytes(64)
        self._value = b"\x01" * 64
        self._update(seed)

    def _update(self, provided: bytes) -> None:
        rounds = (b"\0", b"\1") if provided else (b"\0",)
        for number in rounds:
            self._key = _hmac.digest(self._key, self._value + number + provided, "sha512")
            self._value = _hmac.digest(self._key, self._value, "sha512")

    def generate(self, size: int) -> bytes:
        """The next `size` octets."""
        out = b""
        while len(out) < size:
            self._value = _hmac.digest(self._key, self._value, "sha512")
            out += self._value
        self._update(b"")
        return out[:size]


def kdf_stream(hash_alg: int, key: bytes, label: bytes, context: bytes) -> Random:
    """The random source of derived objects: KDFa read on and on (part 1, 28.4)."""
    bits = 8192
    fixed = label + b"\0" + context + bits.to_bytes(4, "big")
    name = HASH_NAMES[hash_alg]
    rest = b""
    counter = 0

    def generate(size: int) -> bytes:
        nonlocal rest, counter
        while len(rest) < size:
            counter += 1
            rest += _hmac.digest(key, counter.to_bytes(4, "big") + fixed, name)
        out, rest = rest[:size], rest[size:]
        return out

    return generate


# RSA.


def rsa_public(public: Public) -> rsa.RSAPublicKey:
    """The public key of an RSA object; ValueError if the modulus is none."""
    exponent = public.parameters.exponent or DEFAULT_EXPONENT
    return rsa.RSAPublicNumbers(exponent, int.from_bytes(public.unique, "big")).public_key()


def rsa_generate(bits: int, exponent: int) -> tuple[int, int]:
    """Modulus and a prime factor of a new key, by the library's generator."""
    numbers = rsa.generate_private_key(exponent, bits).private_numbers()
    return numbers.public_numbers.n, numbers.p


def rsa_private(modulus: int, prime: int, exponent: int) -> rsa.RSAPrivateKey:
    """The key of a modulus and one of its factors; ValueError if they do not belong together."""
    other, rest = divmod(modulus, prime)
    if rest or other < 2:
        raise ValueError("not a factor of the modulus")
    d = pow(exponent, -1, (prime - 1) * (other - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=prime,
        q=other,
        d=d,
        dmp1=d % (prime - 1),
        dmq1=d % (other - 1),
        iqmp=pow(other, -1, prime),
        public_numbers=rsa.RSAPublicNumbers(exponent, modulus),
    )
    # The factors were made by this TPM or checked when the object was loaded; the library would
    # test them for primality again, which takes longer than making a signature.
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def oaep(hash_alg: int, label: bytes) -> padding.OAEP:
    """OAEP with one hash for both of its uses; `label` with its final zero (part 1, B.4)."""
    function = HASH_CLASSES[hash_alg]
    return padding.OAEP(padding.MGF1(function()), function(), label)


# ECC.


def ecc_public(curve: int, point: EccPoint) -> ec.EllipticCurvePublicKey:
    """The public key; ValueError if the point is not on the curve."""
    x, y = int.from_bytes(point.x, "big"), int.from_bytes(point.y, "big")
    return ec.EllipticCurvePublicNumbers(x, y, CURVES[curve]).public_key()


def ecc_point(key: ec.EllipticCurvePublicKey, curve: int) -> EccPoint:
    """The point of a public key, coordinates as long as the field."""
    numbers = key.public_numbers()
    size = CURVE_BYTES[curve]
    return EccPoint(numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big"))


def ecc_generate(curve: int, random: Random) -> tuple[bytes, EccPoint]:
    """A private scalar and its point, by FIPS 186-4, B.4.1 (extra random bits)."""
    size = CURVE_BYTES[curve]
    extra = int.from_bytes(random(size + 8), "big")
    scalar = extra % (CURVE_ORDER[curve] - 1) + 1
    return scalar.to_bytes(size, "big"), ecc_generator_multiple(curve, scalar)


def ecc_generator_multiple(curve: int, scalar: int) -> EccPoint:
    """The curve's generator times a scalar between 0 and the order."""
    return ecc_point(ec.derive_private_key(scalar, CURVES[curve]).public_key(), curve)


def ecc_private(curve: int, scalar: bytes) -> ec.EllipticCurvePrivateKey:
    """The key of a private scalar; ValueError if it is not in range."""
    return ec.derive_private_key(int.from_bytes(scalar, "big"), CURVES[curve])


def ecdh(key: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey) -> bytes:
    """The x coordinate of the product."""
    return key.exchange(ec.ECDH(), peer)


def private_key(public: Public, sensitive: bytes) -> Any:
    """The private key of an RSA or ECC object; ValueError if public and private do not match."""
    if public.type == ALG.RSA:
        number = int.from_bytes(sensitive, "big")
        exponent = public.parameters.exponent or DEFAULT_EXPONENT
        return rsa_private(int.from_bytes(public.unique, "big"), number, exponent)
    return ecc_private(public.parameters.curve, sensitive)
