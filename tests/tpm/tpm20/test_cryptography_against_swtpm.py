"""Hashing, symmetric and asymmetric cryptography, to this TPM and to swtpm: codes and outputs."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.tpm.tpm20.client import (
    DECRYPTS,
    ENDORSEMENT,
    FIXED,
    NO_DA,
    NULL,
    OWNER,
    PLATFORM,
    RESTRICTED,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    SIGNS,
    WITH_AUTH,
    b2,
    ecc_signing,
    ecc_storage,
    hmac_key,
    rsa_key,
    rsa_storage,
    sealed,
    template,
    u8,
    u16,
    u32,
)
from tests.tpm.tpm20.oracle import AVAILABLE, Oracle
from tests.tpm.tpm20.test_against_swtpm import Scenario, Side, compare

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="swtpm is not installed")

_NO = u16(0x10)
_USE = WITH_AUTH | NO_DA
_MODES = CTR, OFB, CBC, CFB, ECB = 0x40, 0x41, 0x42, 0x43, 0x44
_CMAC = 0x3F
_MAGIC = b"\xffTCG"


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Oracle() as running:
        yield running


def external(side: Side, kind: int, bits: int, parameters: bytes, key: bytes) -> int:
    """A symmetric key that both TPMs know; its handle."""
    seed = bytes(32)
    unique = b2(hashlib.sha256(seed + key).digest())
    private = u16(kind) + b2(b"") + b2(seed) + b2(key)
    public = template(kind, bits, parameters, unique)
    content = b2(private) + b2(public) + u32(NULL)
    reply = side.step("external", 0x167, [], content, handle_out=True)
    assert reply is not None
    side.client.names[reply.handle] = reply.tpm2b()
    return reply.handle


def same(
    side: Side,
    name: str,
    code: int,
    handles: list[int],
    parameters: bytes,
    auths: int = 1,
    sizes: bool = False,
) -> None:
    """A command whose answer is determined; with `sizes` only the answer's size is."""
    reply = side.step(name, code, handles, parameters, [b""] * auths)
    if reply:
        side.same(name, u32(len(reply.parameters)) if sizes else reply.parameters)


def hashes(side: Side) -> None:
    for alg in (SHA1, SHA256, SHA384, SHA512, 0x10, 0x12, 0x99):
        for data in (b"", b"abc", b"abcd", _MAGIC[:3], _MAGIC, _MAGIC + b"!", bytes(1024)):
            same(side, "hash", 0x17D, [], b2(data) + u16(alg) + u32(NULL), 0)
    for hierarchy in (OWNER, ENDORSEMENT, PLATFORM, 0x4000000A, 0):
        for data in (b"", b"abc", b"abcd", _MAGIC[:3], _MAGIC, _MAGIC + b"!", bytes(1025)):
            content = b2(data) + u16(SHA256) + u32(hierarchy)
            same(side, f"hash {data!r}", 0x17D, [], content, 0, sizes=True)


def macs(side: Side) -> None:
    kinds = [
        (8, u16(5) + u16(SHA256), SIGNS, 64),
        (8, u16(5) + u16(SHA1), SIGNS, 3),
        (8, _NO, SIGNS | DECRYPTS, 128),
        (8, _NO, 0, 7),
        (8, u16(0xA) + u16(SHA256) + u16(0x22), DECRYPTS, 32),
        *[
            (0x25, u16(6) + u16(bits) + u16(mode), use, bits // 8)
            for bits in (128, 256)
            for mode in (0x10, _CMAC, CFB)
            for use in (SIGNS, DECRYPTS, SIGNS | DECRYPTS)
            if mode != _CMAC or not use & DECRYPTS
        ],
    ]
    for kind, parameters, bits, size in kinds:
        handle = external(side, kind, WITH_AUTH | bits, parameters, b"k" * size)
        for alg in (SHA1, SHA256, SHA384, SHA512, 0x10, _CMAC, CFB, 0x99):
            for length in (0, 1, 16, 33, 1024):
                same(side, f"mac {alg:x}", 0x155, [handle], b2(bytes(length)) + u16(alg))
            reply = side.step("start", 0x15B, [handle], b2(b"s") + u16(alg), [b""], True)
            if reply:
                for octets in (b"", b"abc", bytes(15), bytes(64), bytes(700)):
                    side.step("update", 0x15C, [reply.handle], b2(octets), [b"s"])
                last = side.step("complete", 0x13E, [reply.handle], b2(b"x") + u32(OWNER), [b"s"])
                side.same("complete", last.parameters if last else b"")
                side.step("again", 0x13E, [reply.handle], b2(b"x") + u32(OWNER), [b"s"])
        side.client.flush(handle)
    for public in (hmac_key(FIXED | _USE | SIGNS | RESTRICTED), ecc_signing(), sealed()):
        made, _ = side.client.create_primary(public, data=b"" if public != sealed() else b"d")
        for alg in (0x10, SHA256, SHA1):
            same(side, "unfit", 0x155, [made], b2(b"data") + u16(alg))
            side.step("unfit", 0x15B, [made], b2(b"") + u16(alg), [b""], True)
        side.client.flush(made)


def sequences(side: Side) -> None:
    for alg, hierarchy in itertools.product((SHA1, SHA384, SHA512, 0x99), (NULL, OWNER)):
        for parts in ((), (b"",), (b"abc",), (_MAGIC,), (_MAGIC[:2], _MAGIC[2:]), (b"abcd",)):
            content = b2(b"pw\0\0") + u16(alg)
            reply = side.step("start", 0x186, [], content, handle_out=True)
            handle = reply.handle if reply else 0x80000000
            for part in parts:
                side.step("update", 0x15C, [handle], b2(part), [b"pw"])
            side.step("wrong", 0x13E, [handle], b2(b"tail") + u32(hierarchy), [b"px"])
            side.step("event", 0x185, [16, handle], b2(b"tail"), [b"", b"pw"])
            last = side.step("complete", 0x13E, [handle], b2(b"tail") + u32(hierarchy), [b"pw"])
            if last:
                answer = last.parameters if hierarchy == NULL else u32(len(last.parameters))
                side.same(f"{parts}", answer)
    key, _ = side.client.create_primary(sealed(), data=b"d")
    side.step("no sequence to update", 0x15C, [0x80000001], b2(b""), [b""])
    for handle in (key, 0x80000001):
        side.step("no sequence to complete", 0x13E, [handle], b2(b"") + u32(NULL), [b""])
        side.step("no event sequence", 0x185, [NULL, handle], b2(b""), [b"", b""])
    sequence = side.step("start", 0x186, [], b2(b"") + u16(SHA1), handle_out=True)
    assert sequence is not None
    handle = sequence.handle
    for code, content in (
        (0x173, b""),
        (0x155, b2(b"") + u16(SHA1)),
        (0x164, b2(b"") + u8(0) + u16(CFB) + b2(bytes(16))),
        (0x174, b2(b"m") + _NO + b2(b"")),
        (0x163, b""),
        (0x15E, b""),
        (0x157, b2(b"private") + b2(sealed())),
        (0x165, b""),
    ):
        side.step(f"{code:x} of a sequence", code, [handle], content, [b""])
        side.step(f"{code:x} of a sequence", code, [handle], content)
    side.step("evict", 0x120, [OWNER, handle], u32(0x81000000), [b""])
    side.step("lots", 0x186, [], b2(b"") + u16(SHA1), handle_out=True)
    side.step("too many", 0x186, [], b2(b"") + u16(SHA1), handle_out=True)
    side.step("long auth", 0x186, [], b2(bytes(65)) + u16(SHA1), handle_out=True)


def events(side: Side) -> None:
    for pcr in (16, 0, 17, 23, 24, NULL):
        reply = side.step("start", 0x186, [], b2(b"pw") + _NO, handle_out=True)
        assert reply is not None
        for part in (b"", b"abc", _MAGIC, bytes(1000)):
            side.step("update", 0x15C, [reply.handle], b2(part), [b"pw"])
        side.step("complete", 0x13E, [reply.handle], b2(b"tail") + u32(NULL), [b"pw"])
        side.step("one", 0x185, [pcr, reply.handle], b2(b"tail"), [b""])
        last = side.step("event", 0x185, [pcr, reply.handle], b2(b"tail"), [b"", b"pw"])
        if last:
            side.same("event", last.parameters)
        else:
            side.client.flush(reply.handle)
        select = u32(2) + u16(SHA1) + b"\3\xff\xff\xff" + u16(SHA512) + b"\3\0\0\xff"
        side.same("pcr", side.client.call(0x17E, [], select).parameters)


def saved_sequences(side: Side) -> None:
    """Contexts of sequences half-way."""
    for alg in (SHA1, SHA256, SHA384, SHA512, 0x10):
        reply = side.step("start", 0x186, [], b2(b"") + u16(alg), handle_out=True)
        assert reply is not None
        handle = reply.handle
        for size in (0, 1, 55, 64, 111, 128, 1000):
            side.step("update", 0x15C, [handle], b2(bytes([size & 255]) * size), [b""])
            saved = side.step("save", 0x162, [handle])
            assert saved is not None
            side.client.flush(handle)
            loaded = side.step("load", 0x161, [], saved.parameters, handle_out=True)
            assert loaded is not None
            handle = loaded.handle
        if alg == 0x10:
            last = side.step("event", 0x185, [16, handle], b2(b"tail"), [b"", b""])
        else:
            last = side.step("complete", 0x13E, [handle], b2(b"tail") + u32(NULL), [b""])
        side.same("result", last.parameters if last else b"")


def ciphers(side: Side) -> None:
    for bits, own in itertools.product((128, 256), (0x10, *_MODES)):
        parameters = u16(6) + u16(bits) + u16(own)
        key = external(
            side, 0x25, WITH_AUTH | SIGNS | DECRYPTS, parameters, bytes(range(bits // 8))
        )
        for mode, decrypt in itertools.product((0x10, *_MODES, _CMAC, 0x99), (0, 1)):
            for iv in (b"", b"\xff" * 16, bytes(15), bytes(17)):
                for size in (0, 1, 15, 16, 17, 48, 100):
                    data = b2(bytes(range(size)))
                    rest = u8(decrypt) + u16(mode) + b2(iv)
                    name = f"{own:x} {mode:x} {decrypt} {len(iv)} {size}"
                    # The IV after a part of a block is not determined.
                    is_partial = CFB in (own, mode) and bool(size % 16)
                    same(side, "2 " + name, 0x193, [key], data + rest, sizes=is_partial)
                    same(side, "1 " + name, 0x164, [key], rest + data, sizes=is_partial)
        side.client.flush(key)
    for use in (SIGNS, DECRYPTS):
        for own in (0x10, CFB, _CMAC):
            if own == _CMAC and use == DECRYPTS:
                continue
            key = external(side, 0x25, WITH_AUTH | use, u16(6) + u16(128) + u16(own), bytes(16))
            for decrypt in (0, 1, 2):
                rest = u8(decrypt) + u16(CFB) + b2(bytes(16))
                same(side, f"{use} {own} {decrypt}", 0x193, [key], b2(b"data" * 4) + rest)
            side.client.flush(key)
    for public in (
        ecc_storage(),
        hmac_key(),
        template(0x25, FIXED | _USE | RESTRICTED | DECRYPTS, u16(6) + u16(128) + u16(CFB), b2(b"")),
    ):
        made, _ = side.client.create_primary(public)
        rest = u8(1) + u16(CFB) + b2(bytes(16))
        same(side, "unfit", 0x193, [made], b2(b"data") + rest)
        same(side, "unfit", 0x164, [made], rest + b2(b"data"))
        side.client.flush(made)


_RSA = rsa.generate_private_key(65537, 2048).private_numbers()
_SCHEMES = {
    "null": _NO,
    "RSAES": u16(0x15),
    **{f"OAEP {alg:x}": u16(0x17) + u16(alg) for alg in (SHA1, SHA256, SHA384, SHA512)},
    "RSASSA": u16(0x14) + u16(SHA256),
    "OAEP null": u16(0x17) + _NO,
    "bad": u16(0x99),
}


def _rsa(side: Side, scheme: bytes, bits: int = DECRYPTS) -> int:
    modulus = _RSA.public_numbers.n.to_bytes(256, "big")
    public = template(1, WITH_AUTH | bits, _NO + scheme + u16(2048) + u32(0), b2(modulus))
    private = u16(1) + b2(b"") + b2(b"") + b2(_RSA.p.to_bytes(128, "big"))
    content = b2(private) + b2(public) + u32(NULL)
    reply = side.step("external", 0x167, [], content, handle_out=True)
    assert reply is not None
    side.client.names[reply.handle] = reply.tpm2b()
    return reply.handle


def rsa_ciphers(side: Side) -> None:
    modulus = _RSA.public_numbers.n.to_bytes(256, "big")
    messages = [b"", b"m" * 32, b"m" * 62, b"m" * 190, b"m" * 191, b"m" * 245, b"m" * 246]
    messages += [b"\0" + b"m" * 245, b"m" * 256, b"\xff" * 256, modulus, b"\0" * 50 + b"m" * 256]
    for own in ("null", "RSAES", f"OAEP {SHA256:x}"):
        key = _rsa(side, _SCHEMES[own])
        for name, scheme in _SCHEMES.items():
            for label in (b"", b"\0", b"label\0", b"label", b"la\0bel\0"):
                raw = own == "null" == name
                for message in messages:
                    title = f"{own} {name} {label!r} {len(message)}"
                    content = b2(message) + scheme + b2(label)
                    reply = side.step(title, 0x174, [key], content)
                    if reply and raw:
                        side.same(title, reply.parameters)
                    if reply:
                        content = reply.parameters + scheme + b2(label)
                        same(side, title, 0x159, [key], content)
        if own != "null":
            continue
        for cipher in (
            b"",
            b"c" * 255,
            b"c" * 256,
            b"\xff" * 256,
            b"\0" + b"c" * 256,
            modulus,
            b"\0" * 255 + b"\1",
        ):
            for name, scheme in _SCHEMES.items():
                same(side, f"junk {name}", 0x159, [key], b2(cipher) + scheme + b2(b""))
        side.client.flush(key)
    for bits in (SIGNS, SIGNS | DECRYPTS):
        key = _rsa(side, _NO, bits)
        side.step("encrypt", 0x174, [key], b2(b"m") + u16(0x15) + b2(b"l"))
        side.step("decrypt", 0x159, [key], b2(b"m") + u16(0x15) + b2(b"l"), [b""])
        side.client.flush(key)
    for public in (ecc_storage(), rsa_storage(bits=1024), hmac_key()):
        made, _ = side.client.create_primary(public)
        side.step("encrypt", 0x174, [made], b2(b"m") + u16(0x15) + b2(b""))
        side.step("decrypt", 0x159, [made], b2(b"m") + u16(0x15) + b2(b""), [b""])
        side.client.flush(made)


def _ecc_private(curve: int) -> tuple[bytes, ec.EllipticCurvePublicNumbers, int]:
    group: ec.EllipticCurve = {3: ec.SECP256R1(), 4: ec.SECP384R1(), 5: ec.SECP521R1()}[curve]
    key = ec.derive_private_key(12345678901234567890, group)
    size = (group.key_size + 7) // 8
    return (12345678901234567890).to_bytes(size, "big"), key.public_key().public_numbers(), size


def exchanges(side: Side) -> None:
    for curve in (3, 4, 5):
        scalar, point, size = _ecc_private(curve)
        x, y = point.x.to_bytes(size, "big"), point.y.to_bytes(size, "big")
        for scheme in (_NO, u16(0x19) + u16(SHA256)):
            public = template(
                0x23, WITH_AUTH | DECRYPTS, _NO + scheme + u16(curve) + _NO, b2(x) + b2(y)
            )
            private = u16(0x23) + b2(b"") + b2(b"") + b2(scalar)
            content = b2(private) + b2(public) + u32(NULL)
            reply = side.step("external", 0x167, [], content, handle_out=True)
            assert reply is not None
            key = reply.handle
            side.client.names[key] = reply.tpm2b()
            other = (
                ec.derive_private_key(
                    98765, {3: ec.SECP256R1(), 4: ec.SECP384R1(), 5: ec.SECP521R1()}[curve]
                )
                .public_key()
                .public_numbers()
            )
            a, b = other.x.to_bytes(size, "big"), other.y.to_bytes(size, "big")
            for given in (
                b2(a) + b2(b),
                b2(x) + b2(y),
                b2(b) + b2(a),
                b2(b"") * 2,
                b2(bytes(size)) * 2,
                b2(a[1:]) + b2(b),
                b2(b"\xff" * 66) + b2(b),
                b2(a),
            ):
                same(side, f"{curve} {given.hex()}", 0x154, [key], b2(given))
            same(side, "trailing", 0x154, [key], b2(b2(a) + b2(b) + b"x"))
            same(side, "empty", 0x154, [key], b2(b""))
            generated = side.step("keygen", 0x163, [key])
            if generated:
                side.same("sizes", u32(len(generated.parameters)))
                same_point = generated.tpm2b(1)
                answer = side.client.call(0x154, [key], b2(same_point), [b""])
                side.same("agree", u8(answer.tpm2b() == generated.tpm2b(0)))
            side.client.flush(key)
    for public in (
        ecc_storage(),
        ecc_signing(),
        hmac_key(),
        rsa_key(FIXED | _USE | DECRYPTS, 1024),
    ):
        made, _ = side.client.create_primary(public)
        side.step("keygen", 0x163, [made])
        same(side, "zgen", 0x154, [made], b2(b2(b"x") + b2(b"y")))
        side.client.flush(made)
    for curve in (0, 3, 4, 5, 6, 0xFFFF):
        same(side, "parameters", 0x178, [], u16(curve), 0)


@pytest.mark.parametrize(
    "scenario",
    [hashes, macs, sequences, events, saved_sequences, ciphers, rsa_ciphers, exchanges],
)
def test_both_answer_alike(scenario: Scenario, oracle: Oracle) -> None:
    compare(scenario, oracle)
