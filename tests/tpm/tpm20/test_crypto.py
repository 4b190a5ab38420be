"""Key derivation and generation: published vectors, and what must be the same for ever."""

from __future__ import annotations

import hashlib
import itertools
import math

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from tpm.tpm20 import crypto, crypto_raw
from tpm.tpm20.constants import ALG


@pytest.mark.parametrize("alg", [ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512])
@pytest.mark.parametrize("bits", [128, 256, 512, 1024])
def test_kdfa_is_sp800_108(alg: int, bits: int) -> None:
    key, label, u, v = b"key material", b"LABEL", b"party U", b"party V"
    fixed = label + b"\0" + u + v + bits.to_bytes(4, "big")
    expected = KBKDFHMAC(
        algorithm=crypto.HASH_CLASSES[alg](),
        mode=Mode.CounterMode,
        length=bits // 8,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=None,
        context=None,
        fixed=fixed,
    ).derive(key)
    assert crypto.kdfa(alg, key, label, u, v, bits) == expected


def test_kdfa_masks_the_bits_that_were_not_asked_for() -> None:
    made = crypto.kdfa(ALG.SHA256, b"k", b"L", b"", b"", 521)
    assert len(made) == 66
    assert made[0] < 2


@pytest.mark.parametrize("alg", [ALG.SHA1, ALG.SHA256, ALG.SHA384])
def test_kdfe_is_sp800_56a(alg: int) -> None:
    z, u, v = b"shared", b"party U", b"party V"
    expected = ConcatKDFHash(crypto.HASH_CLASSES[alg](), 64, b"DUPLICATE\0" + u + v).derive(z)
    assert crypto.kdfe(alg, z, b"DUPLICATE", u, v, 512) == expected


def test_xor_obfuscation_is_its_own_inverse() -> None:
    hidden = crypto.xor_obfuscate(ALG.SHA256, b"key", b"u", b"v", b"content of any length" * 5)
    assert crypto.xor_obfuscate(ALG.SHA256, b"key", b"u", b"v", hidden) == (
        b"content of any length" * 5
    )


def test_drbg_gives_the_same_for_the_same_seed() -> None:
    """The first octets for a seed are fixed: every primary key of every TPM hangs on them."""
    made = crypto.Drbg(b"seed").generate(100)
    assert made == crypto.Drbg(b"seed").generate(100)
    assert made != crypto.Drbg(b"seef").generate(100)
    assert made[:16].hex() == "076b344377e8c1df9cf357b8e0a3f680"
    source = crypto.Drbg(b"seed")
    assert source.generate(10) + source.generate(10) != made[:20]


def test_small_primes() -> None:
    def is_prime(number: int) -> bool:
        return number > 1 and all(number % one for one in range(2, math.isqrt(number) + 1))

    for number in itertools.chain(range(2000), range(65500, 65600), (3215031751, 4294967291)):
        assert crypto_raw.is_small_prime(number) == is_prime(number), number


@pytest.mark.parametrize("bits", [1024, 2048, 3072])
def test_rsa_primes_make_a_key(bits: int) -> None:
    first, second = crypto_raw.rsa_primes(bits, 65537, crypto.Drbg(b"one").generate)
    assert (first, second) == crypto_raw.rsa_primes(bits, 65537, crypto.Drbg(b"one").generate)
    assert (first * second).bit_length() == bits
    for prime in (first, second):
        assert all(pow(base, prime - 1, prime) == 1 for base in (2, 3, 5, 7))
        assert math.gcd(prime - 1, 65537) == 1
    key = crypto.rsa_private(first * second, first, 65537)
    signature = key.sign(b"message", padding.PKCS1v15(), hashes.SHA256())
    key.public_key().verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())


def test_composites_are_no_primes() -> None:
    first, second = crypto_raw.rsa_primes(1024, 65537, crypto.Drbg(b"two").generate)
    assert not crypto_raw._is_prime(first * second)
    assert not crypto_raw._is_prime(2**1279 + 1)
    assert crypto_raw._is_prime(2**1279 - 1)


def test_rsa_private_refuses_what_is_no_factor() -> None:
    first, second = crypto_raw.rsa_primes(1024, 65537, crypto.Drbg(b"two").generate)
    with pytest.raises(ValueError, match="factor"):
        crypto.rsa_private(first * second, first + 2, 65537)


@pytest.mark.parametrize("curve", list(crypto.CURVES))
def test_ecc_keys(curve: int) -> None:
    order = crypto.CURVE_ORDER[curve]
    last = ec.derive_private_key(order - 1, crypto.CURVES[curve]).public_key().public_numbers()
    first = ec.derive_private_key(1, crypto.CURVES[curve]).public_key().public_numbers()
    assert last.x == first.x
    assert last.y != first.y
    scalar, point = crypto.ecc_generate(curve, crypto.Drbg(b"three").generate)
    assert (scalar, point) == crypto.ecc_generate(curve, crypto.Drbg(b"three").generate)
    assert len(scalar) == len(point.x) == len(point.y) == crypto.CURVE_BYTES[curve]
    assert crypto.ecc_point(crypto.ecc_public(curve, point), curve) == point


def test_digest_of_null_is_empty() -> None:
    assert crypto.digest(ALG.NULL, b"x") == b""
    assert crypto.digest(ALG.SHA256, b"x") == hashlib.sha256(b"x").digest()
