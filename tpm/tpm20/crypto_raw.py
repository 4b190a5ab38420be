"""Raw operations that `cryptography` does not offer, each with the reason it is needed.

`rsa_primes`: a primary RSA key is a function of the hierarchy's seed (part 1, 14.3), and the
library's generator cannot be seeded. Primes are searched here. What costs is the exponentiation of
the primality test: Python's `pow` takes 3.5 ms for 1024 bits, OpenSSL's 0.3 ms. The library gives
no modular exponentiation as such, but one is inside of the verification of an RSA signature, and
`_fermat` borrows it. `ctypes` into the system's libcrypto would be as fast and was rejected: which
libcrypto there is, and whether, differs from host to host, and a key must not depend on that.
"""

from __future__ import annotations

import hashlib
from math import gcd

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tpm.tpm20.crypto import Random

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
