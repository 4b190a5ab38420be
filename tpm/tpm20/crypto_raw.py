"""Raw operations that `cryptography` does not offer, each with the reason it is needed.

`rsa_primes`: a primary RSA key is a function of the hierarchy's seed (part 1, 14.3), and the
library's generator cannot be seeded. Primes are searched here. What costs is the exponentiation of
the primality test: Python's `pow` takes 3.5 ms for 1024 bits, OpenSSL's 0.3 ms. The library gives
no modular exponentiation as such, but one is inside of the verification of an RSA signature, and
`_fermat` borrows it. `ctypes` into the system's libcrypto would be as fast and was rejected: which
libcrypto there is, and whether, differs from host to host, and a key must not depend on that.

`ecc_multiply`: the library's ECDH gives the x coordinate of a product alone; many commands answer
with the whole point. `ecc_add`: it has no sum of points, which EC Schnorr's verification needs.

`rsa_public`, `rsa_private`: RSA without padding, which TPM_ALG_NULL as a scheme asks for (part 1,
B.4). The private operation is blinded, because `pow` takes a time that depends on its operands.
"""

from __future__ import annotations

import hashlib
from math import gcd

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tpm.tpm20 import crypto
from tpm.tpm20.crypto import Random
from tpm.tpm20.curves import CURVE
from tpm.tpm20.structures import EccPoint

_SIEVE_LIMIT = 1 << 15
_WINDOW = 4096
"""Odd numbers sieved at a time; a prime of 1536 bits is among 532 odd numbers on average."""

_ROUNDS = 4
"""Tests with bases of their own. For random candidates of 1024 bits already one leaves a composite
less often than once in 2^100 (Kim and Pomerance, The probability that a random probable prime is
composite, 1989); the candidates come from a generator that nobody outside can steer."""


def _small_primes() -> list[int]:
    sieve = bytearray((1,)) * _SIEVE_LIMIT
    for number in range(2, int(_SIEVE_LIMIT**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    return [number for number in range(3, _SIEVE_LIMIT) if sieve[number]]


_small: list[int] = []


def is_small_prime(number: int) -> bool:
    """Whether an integer of up to 32 bits is prime, by Miller and Rabin's test, exact there."""
    if number < 2 or any(number % one == 0 and number != one for one in (2, 3, 5, 7)):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 7, 61):
        power = pow(base, odd, number)
        if power in (0, 1, number - 1):
            continue
        if all((power := power * power % number) != number - 1 for _ in range(twos - 1)):
            return False
    return True


def _fermat(candidate: int, number: int) -> bool:
    """r^(n-1) = 1 modulo the candidate n, for a base r that `number` selects.

    The verification of a PKCS #1 signature s with the key (e, n) says whether s^e is a well-formed
    block. Take such a block r, an odd j prime to n - 1, s = r^j and e = 1/j modulo n - 1: then
    s^e = r^(1 + k(n-1)), and that is r if n is prime.
    """
    size = (candidate.bit_length() + 7) // 8
    data = hashlib.sha256(number.to_bytes(4, "big")).digest()
    block = b"\0\1" + b"\xff" * (size - 3 - len(data)) + b"\0" + data
    root = next(j for j in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31) if gcd(j, candidate - 1) == 1)
    signature = pow(int.from_bytes(block, "big"), root, candidate).to_bytes(size, "big")
    key = rsa.RSAPublicNumbers(pow(root, -1, candidate - 1), candidate).public_key()
    try:
        return key.recover_data_from_signature(signature, padding.PKCS1v15(), None) == data
    except InvalidSignature:
        return False


def _is_prime(candidate: int) -> bool:
    if candidate.bit_length() < 1024:
        # The library takes no moduli that short; `pow` is fast enough for them.
        return all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7, 11, 13, 17))
    return all(_fermat(candidate, number) for number in range(_ROUNDS))


def _prime(bits: int, exponent: int, random: Random) -> int:
    """A prime of exactly `bits` bits, the two highest set, with `exponent` prime to p - 1."""
    if not _small:
        _small.extend(_small_primes())
    while True:
        start = int.from_bytes(random(bits // 8), "big") | 3 << (bits - 2) | 1
        sieve = bytearray(_WINDOW)
        for small in _small:
            # start + 2 i is divisible by small for i = -start / 2 modulo small.
            first = -start * (small + 1 >> 1) % small
            if first < _WINDOW:
                sieve[first::small] = b"\1" * ((_WINDOW - 1 - first) // small + 1)
        at = sieve.find(0)
        while at >= 0:
            candidate = start + 2 * at
            if candidate.bit_length() > bits:
                break
            if gcd(exponent, candidate - 1) == 1 and _is_prime(candidate):
                return candidate
            at = sieve.find(0, at + 1)


def rsa_primes(bits: int, exponent: int, random: Random) -> tuple[int, int]:
    """Two primes whose product has exactly `bits` bits; the same ones for the same `random`.

    As FIPS 186-4, B.3.3, asks, they differ in their first 100 bits.
    """
    half = bits // 2
    first = _prime(half, exponent, random)
    while True:
        second = _prime(half, exponent, random)
        if abs(first - second).bit_length() > half - 100:
            return first, second


def ecc_multiply(curve: int, scalar: int, point: EccPoint) -> EccPoint:
    """scalar times a point, both coordinates as long as the field.

    Raises ValueError if the point is not on the curve or the product is the point at infinity.
    """
    peer = crypto.ecc_public(curve, point)
    numbers = peer.public_numbers()
    p, size, order = CURVE[curve].p, CURVE[curve].size, crypto.CURVE_ORDER[curve]
    scalar %= order
    own = ec.derive_private_key(scalar, crypto.CURVES[curve])
    x_octets = own.exchange(ec.ECDH(), peer)
    if scalar in (1, order - 1):
        y = numbers.y if scalar == 1 else p - numbers.y
        return EccPoint(x_octets, y.to_bytes(size, "big"))
    # Of the two points with this x coordinate it is the one whose sum with `point` has the x
    # coordinate of the next product.
    following = ec.derive_private_key(scalar + 1, crypto.CURVES[curve]).exchange(ec.ECDH(), peer)
    even = ec.EllipticCurvePublicKey.from_encoded_point(crypto.CURVES[curve], b"\2" + x_octets)
    x, y = int.from_bytes(x_octets, "big"), even.public_numbers().y
    slope = (y - numbers.y) * pow(x - numbers.x, -1, p)
    if (slope * slope - x - numbers.x - int.from_bytes(following, "big")) % p:
        y = p - y
    return EccPoint(x_octets, y.to_bytes(size, "big"))


def ecc_add(curve: int, one: EccPoint, other: EccPoint) -> EccPoint:
    """The sum of two public points of the curve; ValueError if it is the point at infinity."""
    p, size = CURVE[curve].p, CURVE[curve].size
    x1, y1, x2, y2 = [int.from_bytes(number, "big") for number in (*one, *other)]
    if x1 == x2:
        if y1 != y2:
            raise ValueError("the point at infinity")
        return ecc_multiply(curve, 2, one)
    slope = (y2 - y1) * pow(x2 - x1, -1, p) % p
    x = (slope * slope - x1 - x2) % p
    y = (slope * (x1 - x) - y1) % p
    return EccPoint(x.to_bytes(size, "big"), y.to_bytes(size, "big"))


def rsa_public(modulus: int, exponent: int, number: int) -> int:
    """RSAEP (RFC 8017, 5.1.1); ValueError if the number is not less than the modulus."""
    if number >= modulus:
        raise ValueError("message representative out of range")
    return pow(number, exponent, modulus)


def rsa_private(key: rsa.RSAPrivateKey, number: int, random: Random) -> int:
    """RSADP (RFC 8017, 5.1.2); ValueError if the number is not less than the modulus."""
    private = key.private_numbers()
    modulus, exponent = private.public_numbers.n, private.public_numbers.e
    if number >= modulus:
        raise ValueError("ciphertext representative out of range")
    blind = int.from_bytes(random((modulus.bit_length() + 7) // 8), "big") % modulus
    blind = max(blind, 2)
    blinded = number * pow(blind, exponent, modulus) % modulus
    first = pow(blinded, private.dmp1, private.p)
    second = pow(blinded, private.dmq1, private.q)
    result = second + private.q * ((first - second) * private.iqmp % private.p)
    return result * pow(blind, -1, modulus) % modulus
