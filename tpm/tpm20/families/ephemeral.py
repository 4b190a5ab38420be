"""Ephemeral keys (part 3, 19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import commits, crypto, crypto_raw
from tpm.tpm20.constants import ALG, RC, H, P, TpmError
from tpm.tpm20.curves import CURVE
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import EccPoint

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_NOTHING = EccPoint(b"", b"")


def commit(
    tpm: Tpm, sign: int, p1: EccPoint, s2: bytes, y2: bytes
) -> tuple[EccPoint, EccPoint, EccPoint, int]:
    """Part 3, 19.2: the first half of ECDAA signing."""
    held = tpm.slot(sign)
    if not isinstance(held, Object) or held.public.type != ALG.ECC:
        raise TpmError(RC.KEY + H(1))
    if held.public.parameters.scheme.scheme != ALG.ECDAA:
        raise TpmError(RC.SCHEME + H(1))
    if bool(s2) != bool(y2):
        raise TpmError(RC.SIZE + P(3))
    assert held.sensitive is not None
    curve = held.public.parameters.curve
    secret = int.from_bytes(held.sensitive.sensitive, "big")
    scalar = commits.next_scalar(tpm, curve, held.name)
    point_k = point_l = point_e = _NOTHING
    if s2:
        p2 = _hashed_point(held, s2, y2)
        point_k, point_l = _product(curve, secret, p2, 2), _product(curve, scalar, p2, 2)
    if p1 != _NOTHING:
        point_e = _product(curve, scalar, p1, 1)
    elif not s2:
        point_e = crypto.ecc_generator_multiple(curve, scalar)
    return point_k, point_l, point_e, commits.commit(tpm)


def _product(curve: int, scalar: int, point: EccPoint, parameter: int) -> EccPoint:
    try:
        return crypto_raw.ecc_multiply(curve, scalar, point)
    except ValueError:
        raise TpmError(RC.ECC_POINT + P(parameter)) from None


def _hashed_point(held: Object, s2: bytes, y2: bytes) -> EccPoint:
    """The point whose x coordinate is the digest of `s2` modulo the field's prime."""
    facts = CURVE[held.public.parameters.curve]
    x2 = int.from_bytes(crypto.digest(held.public.name_alg, s2), "big") % facts.p
    return EccPoint(x2.to_bytes(facts.size, "big"), y2)


def ec_ephemeral(tpm: Tpm, curve: int) -> tuple[EccPoint, int]:
    """Part 3, 19.3: the first half of a key exchange of two phases."""
    scalar = commits.next_scalar(tpm, curve, b"")
    return crypto.ecc_generator_multiple(curve, scalar), commits.commit(tpm)
