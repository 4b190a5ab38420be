"""Commit with ECDAA signing, and exchanges in two phases: the mathematics, checked from outside."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tpm.tpm20.client import (
    DECRYPTS,
    FIXED,
    NO_DA,
    NULL,
    SHA256,
    SIGNS,
    WITH_AUTH,
    Client,
    Failed,
    b2,
    started,
    template,
    u16,
    u32,
)

_NO = u16(0x10)
_NO_TICKET = u16(0x8024) + u32(NULL) + b2(b"")
_NOTHING = b2(b2(b"") * 2)
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()

Point = tuple[int, int] | None
"""A point of P-256; None is the point at infinity."""


def add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    if one[0] == other[0] and (one[1] + other[1]) % _P == 0:
        return None
    if one == other:
        slope = 3 * (one[0] ** 2 - 1) * pow(2 * one[1], -1, _P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, _P)
    x = (slope * slope - one[0] - other[0]) % _P
    return x, (slope * (one[0] - x) - one[1]) % _P


def times(scalar: int, point: Point) -> Point:
    result: Point = None
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def key(client: Client, scheme: bytes, bits: int) -> tuple[int, Point]:
    parameters = _NO + scheme + u16(3) + _NO
    public = template(0x23, FIXED | WITH_AUTH | NO_DA | bits, parameters, b2(b"") * 2)
    handle, made = client.create_primary(public)
    return handle, _point(made[-68:])


def _point(octets: bytes) -> Point:
    if octets == b2(b"") * 2:
        return None
    assert octets[:2] == octets[34:36] == u16(32)
    return int.from_bytes(octets[2:34], "big"), int.from_bytes(octets[36:], "big")


def _wire(point: Point) -> bytes:
    assert point is not None
    x, y = point
    return b2(b2(x.to_bytes(32, "big")) + b2(y.to_bytes(32, "big")))


def points(parameters: bytes, count: int) -> tuple[list[Point], int]:
    """The points of a response, and the counter behind them."""
    found = []
    for _ in range(count):
        size = int.from_bytes(parameters[:2], "big")
        found.append(_point(parameters[2 : 2 + size]))
        parameters = parameters[2 + size :]
    return found, int.from_bytes(parameters, "big")


_ECDAA = u16(0x1A) + u16(SHA256) + u16(0)
_DIGEST = hashlib.sha256(b"message").digest()


def sign(client: Client, handle: int, counter: int) -> tuple[bytes, int]:
    scheme = u16(0x1A) + u16(SHA256) + u16(counter)
    made = client.call(0x15D, [handle], b2(_DIGEST) + scheme + _NO_TICKET, [b""]).parameters
    assert made[:4] == u16(0x1A) + u16(SHA256)
    return made[6:38], int.from_bytes(made[40:], "big")


def challenge(nonce: bytes) -> int:
    return int.from_bytes(hashlib.sha256(nonce + _DIGEST).digest(), "big") % _N


def test_an_ecdaa_signature_opens_its_commitment() -> None:
    _, client = started()
    handle, public = key(client, _ECDAA, SIGNS)
    counters = []
    for _ in range(3):
        made = client.call(0x18B, [handle], _NOTHING + b2(b"") * 2, [b""])
        (_, _, committed), counter = points(made.parameters, 3)
        counters.append(counter)
        nonce, response = sign(client, handle, counter)
        opened = add(times(response, (_G.x, _G.y)), times(_N - challenge(nonce), public))
        assert opened == committed
    assert counters == [0, 1, 2]


def test_commit_multiplies_the_points_it_is_given() -> None:
    _, client = started()
    handle, _ = key(client, _ECDAA, SIGNS)
    hashed, x = b"basename", 0
    for number in range(100):
        hashed = b"basename %d" % number
        x = int.from_bytes(hashlib.sha256(hashed).digest(), "big") % _P
        square = x**3 - 3 * x + 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
        if pow(square, (_P - 1) // 2, _P) == 1:
            break
    y = pow(square, (_P + 1) // 4, _P)
    base = times(12345, (_G.x, _G.y))
    made = client.call(0x18B, [handle], _wire(base) + b2(hashed) + b2(y.to_bytes(32, "big")), [b""])
    (point_k, point_l, point_e), counter = points(made.parameters, 3)
    nonce, response = sign(client, handle, counter)
    assert add(point_l, times(challenge(nonce), point_k)) == times(response, (x, y))
    assert point_e is not None and point_e not in (point_k, point_l)


def test_a_commitment_is_used_once() -> None:
    _, client = started()
    handle, _ = key(client, _ECDAA, SIGNS)
    client.call(0x18B, [handle], _NOTHING + b2(b"") * 2, [b""])
    sign(client, handle, 0)
    with pytest.raises(Failed):
        sign(client, handle, 0)


@pytest.mark.parametrize("kind", [0, 1])
def test_commitments_live_through_a_suspend_to_memory_alone(kind: int) -> None:
    tpm, client = started()
    handle, _ = key(client, _ECDAA, SIGNS)
    client.call(0x18B, [handle], _NOTHING + b2(b"") * 2, [b""])
    client.call(0x145, [], u16(kind))
    tpm.power_on()
    client.startup(kind)
    handle, _ = key(client, _ECDAA, SIGNS)
    if kind:
        sign(client, handle, 0)
    else:
        with pytest.raises(Failed):
            sign(client, handle, 0)


def test_both_sides_of_an_exchange_in_two_phases_agree() -> None:
    _, one = started()
    _, other = started()
    static, ephemeral, counters = {}, {}, {}
    handles = {}
    for client in (one, other):
        handles[id(client)], static[id(client)] = key(client, _NO, DECRYPTS)
        made = client.call(0x18E, [], u16(3))
        (ephemeral[id(client)],), counters[id(client)] = points(made.parameters, 1)
    results = []
    for client, peer in ((one, other), (other, one)):
        content = _wire(static[id(peer)]) + _wire(ephemeral[id(peer)])
        content += u16(0x19) + u16(counters[id(client)])
        made = client.call(0x18D, [handles[id(client)]], content, [b""])
        results.append(points(made.parameters, 2)[0])
        with pytest.raises(Failed):
            client.call(0x18D, [handles[id(client)]], content, [b""])
    assert results[0] == results[1]
