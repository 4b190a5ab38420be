"""The compression functions of SHA-1 and SHA-2 (FIPS 180-4), for a hash that is half-way.

A sequence's hash leaves the TPM before it is complete: TPM2_ContextSave puts it into 2.6 KB, and a
suspended TPM goes on elsewhere. Neither `hashlib` nor `cryptography` gives the chaining value of a
hash that has begun, or takes one. Here are functions that do; `running.py` uses them for what has
to leave, and the library for everything else, which is many hundred times as fast.

The functions are generated, a round a few lines with the variables' names rotated instead of their
values: a loop over the rounds takes three times as long.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from math import isqrt
from typing import Any, NamedTuple

from tpm.tpm20.constants import ALG

Compress = Callable[[tuple[int, ...], bytes], tuple[int, ...]]


class Shape(NamedTuple):
    """The sizes of a hash algorithm in octets."""

    word: int
    block: int
    digest: int
    words: int
    """Words of the chaining value."""


SHAPES = {
    ALG.SHA1: Shape(word=4, block=64, digest=20, words=5),
    ALG.SHA256: Shape(word=4, block=64, digest=32, words=8),
    ALG.SHA384: Shape(word=8, block=128, digest=48, words=8),
    ALG.SHA512: Shape(word=8, block=128, digest=64, words=8),
}

_SHA1_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_SHA1_ROUNDS = (
    ("(d ^ b & (c ^ d))", 0x5A827999),
    ("(b ^ c ^ d)", 0x6ED9EBA1),
    ("(b & c | d & (b | c))", 0x8F1BBCDC),
    ("(b ^ c ^ d)", 0xCA62C1D6),
)
_SHA2_SHIFTS = {
    4: {"S0": (2, 13, 22), "S1": (6, 11, 25), "s0": (7, 18, 3), "s1": (17, 19, 10)},
    8: {"S0": (28, 34, 39), "S1": (14, 18, 41), "s0": (1, 8, 7), "s1": (19, 61, 6)},
}
"""By octets of a word: the rotations; the last of s0 and s1 is a shift (FIPS 180-4, 4.1)."""


@cache
def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % one for one in found):
            found.append(number)
        number += 1
    return found


def _cube_root(number: int) -> int:
    root = 1 << (number.bit_length() + 2) // 3
    while (better := (2 * root + number // (root * root)) // 3) < root:
        root = better
    return root


def _constants(word: int, rounds: int) -> list[int]:
    """The first bits of the fractions of the primes' cube roots (FIPS 180-4, 4.2)."""
    bits = word * 8
    return [_cube_root(one << 3 * bits) % (1 << bits) for one in _primes(rounds)]


@cache
def start(hash_alg: int) -> tuple[int, ...]:
    """The chaining value of an empty hash (FIPS 180-4, 5.3)."""
    if hash_alg == ALG.SHA1:
        return _SHA1_START
    primes = _primes(16)[8:] if hash_alg == ALG.SHA384 else _primes(8)
    bits = SHAPES[hash_alg].word * 8
    # SHA-384's are those of the next primes' square roots.
    return tuple(isqrt(one << 2 * bits) % (1 << bits) for one in primes)


def _rotated(names: str, steps: int) -> list[str]:
    return [names[(index - steps) % len(names)] for index in range(len(names))]


def _sha1_lines() -> list[str]:
    lines = []
    for index in range(16, 80):
        terms = " ^ ".join(f"w{index - back}" for back in (3, 8, 14, 16))
        lines += [f"t = {terms}", f"w{index} = (t << 1 | t >> 31) & M"]
    for index in range(80):
        a, b, c, d, e = _rotated("abcde", index)
        function, constant = _SHA1_ROUNDS[index // 20]
        mixed = function.translate({ord("b"): b, ord("c"): c, ord("d"): d})
        lines += [
            f"{e} = (({a} << 5 | {a} >> 27) + {mixed} + {e} + {constant} + w{index}) & M",
            f"{b} = ({b} << 30 | {b} >> 2) & M",
        ]
    return lines


def _sha2_lines(word: int, rounds: int) -> list[str]:
    # A word beside itself (D = 2^bits + 1 times it) makes a rotation one shift; what is above the
    # word's bits falls away with the mask of the sum.
    shifts, lines = _SHA2_SHIFTS[word], []
    for index in range(16, rounds):
        early, late = f"w{index - 15}", f"w{index - 2}"
        (i, j, k), (x, y, z) = shifts["s0"], shifts["s1"]
        lines += [
            f"p = {early} * D",
            f"q = {late} * D",
            f"w{index} = (w{index - 16} + w{index - 7} + (p >> {i} ^ p >> {j} ^ {early} >> {k})"
            f" + (q >> {x} ^ q >> {y} ^ {late} >> {z})) & M",
        ]
    for index, constant in enumerate(_constants(word, rounds)):
        a, b, c, d, e, f, g, h = _rotated("abcdefgh", index)
        (i, j, k), (x, y, z) = shifts["S1"], shifts["S0"]
        lines += [
            f"p = {e} * D",
            f"t = {h} + (p >> {i} ^ p >> {j} ^ p >> {k}) + ({g} ^ {e} & ({f} ^ {g}))"
            f" + {constant} + w{index}",
            f"{d} = ({d} + t) & M",
            f"p = {a} * D",
            f"{h} = (t + (p >> {x} ^ p >> {y} ^ p >> {z}) + ({a} & {b} | {c} & ({a} | {b}))) & M",
        ]
    return lines


@cache
def compressor(hash_alg: int) -> Compress:
    """A function from a chaining value and whole blocks to the chaining value behind them."""
    shape = SHAPES[hash_alg]
    if hash_alg == ALG.SHA1:
        names, lines = "abcde", _sha1_lines()
    else:
        names, lines = "abcdefgh", _sha2_lines(shape.word, 64 if shape.word == 4 else 80)
    words = ", ".join(f"w{index}" for index in range(16))
    values = ", ".join(names)
    sums = ", ".join(f"({name} + {name}0) & M" for name in names)
    source = [
        "def compress(value, blocks):",
        f"    {values} = value",
        f"    for {words} in blocks_of(blocks):",
        f"        {', '.join(name + '0' for name in names)} = {values}",
        *[f"        {line}" for line in lines],
        f"        {values} = {sums}",
        f"    return {values}",
    ]
    bits = shape.word * 8
    scope: dict[str, Any] = {"M": (1 << bits) - 1, "D": (1 << bits) + 1}
    scope["blocks_of"] = _blocks(shape)
    exec("\n".join(source), scope)
    compress: Compress = scope["compress"]
    return compress


def _blocks(shape: Shape) -> Callable[[bytes], Any]:
    return struct.Struct(">16" + ("I" if shape.word == 4 else "Q")).iter_unpack
