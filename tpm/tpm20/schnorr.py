"""EC Schnorr and ECDAA signatures (part 1, C.4.2 and C.4.3), which the library does not have.

The products of points are the library's; what is computed here is modulo the curve's order. Both
schemes draw a fresh secret for every signature, from the TPM's random numbers.
"""

from __future__ import annotations

from tpm.tpm20 import crypto, crypto_raw
from tpm.tpm20.crypto import Random
from tpm.tpm20.structures import EccPoint


def _challenge(curve: int, hash_alg: int, x: int, digest: bytes) -> int:
    """The hash of a point's x coordinate, modulo the order, and of what is signed."""
    order = crypto.CURVE_ORDER[curve]
    size = (order.bit_length() + 7) // 8
    made = crypto.digest(hash_alg, (x % order).to_bytes(size, "big") + digest)
    return int.from_bytes(made[:size], "big")


def sign(curve: int, secret: int, hash_alg: int, digest: bytes, random: Random) -> tuple[int, int]:
    """EC Schnorr: the challenge and the response."""
    order = crypto.CURVE_ORDER[curve]
    while True:
        scalar, point = crypto.ecc_generate(curve, random)
        r = _challenge(curve, hash_alg, int.from_bytes(point.x, "big"), digest)
        s = (int.from_bytes(scalar, "big") + r * secret) % order
        if r % order and s:
            return r, s


def verify(curve: int, public: EccPoint, hash_alg: int, digest: bytes, r: int, s: int) -> bool:
    """Whether an EC Schnorr signature is right; ValueError for points that are none."""
    order = crypto.CURVE_ORDER[curve]
    if not 0 < s < order or r % order == 0:
        return False
    response = crypto.ecc_generator_multiple(curve, s)
    challenge = crypto_raw.ecc_multiply(curve, -r % order, public)
    committed = crypto_raw.ecc_add(curve, response, challenge)
    return _challenge(curve, hash_alg, int.from_bytes(committed.x, "big"), digest) == r


def ecdaa_sign(
    curve: int, secret: int, committed: int, hash_alg: int, digest: bytes, random: Random
) -> tuple[int, int]:
    """ECDAA: a nonce, and the response for the scalar that TPM2_Commit committed to."""
    order = crypto.CURVE_ORDER[curve]
    while True:
        nonce, _ = crypto.ecc_generate(curve, random)
        made = crypto.digest(hash_alg, nonce + digest)
        s = (committed + int.from_bytes(made, "big") * secret) % order
        if s:
            return int.from_bytes(nonce, "big"), s
