"""Signing, attestation, credentials, duplication and commitments, to this TPM and to swtpm."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import pytest

from tests.tpm.tpm20.client import (
    AUDIT,
    CONTINUE,
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
    Client,
    Failed,
    Reply,
    aes_key,
    b2,
    ecc_signing,
    ecc_storage,
    hmac_key,
    object_name,
    rsa_storage,
    sealed,
    started,
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
RSASSA, RSAPSS, ECDSA, ECDAA, SCHNORR, HMAC = 0x14, 0x16, 0x18, 0x1A, 0x1C, 5
SCHEMES = {
    "null": _NO,
    **{
        f"{scheme:x} {alg:x}": u16(scheme) + u16(alg)
        for scheme in (RSASSA, RSAPSS, ECDSA, SCHNORR, HMAC)
        for alg in (SHA1, SHA256, SHA512)
    },
    "ECDAA": u16(ECDAA) + u16(SHA256) + u16(0),
    "unknown": u16(0x99),
}
_X509 = 1 << 19
_NO_TICKET = u16(0x8024) + u32(NULL) + b2(b"")


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Oracle() as running:
        yield running


def ecc_with(scheme: bytes, bits: int = SIGNS, curve: int = 3) -> bytes:
    return template(0x23, FIXED | _USE | bits, _NO + scheme + u16(curve) + _NO, b2(b"") * 2)


def rsa_with(scheme: bytes, bits: int = SIGNS) -> bytes:
    return template(1, FIXED | _USE | bits, _NO + scheme + u16(1024) + u32(0), b2(b""))


def hmac_with(scheme: bytes, bits: int = SIGNS) -> bytes:
    return template(8, FIXED | _USE | bits, scheme, b2(b""))


def flipped(content: bytes) -> bytes:
    """With another last bit."""
    return content[:-1] + bytes((content[-1] ^ 1,)) if content else b""


SIGNERS = {
    "ECC": ecc_with(_NO),
    "ECDSA": ecc_with(u16(ECDSA) + u16(SHA256)),
    "ECDSA P-384": ecc_with(u16(ECDSA) + u16(SHA384), curve=4),
    "ECDAA": ecc_with(u16(ECDAA) + u16(SHA256) + u16(1)),
    "Schnorr": ecc_with(u16(SCHNORR) + u16(SHA256)),
    "restricted": ecc_signing(FIXED | _USE | SIGNS | RESTRICTED),
    "X.509": ecc_with(u16(ECDSA) + u16(SHA256), SIGNS | _X509),
    "both": ecc_with(_NO, SIGNS | DECRYPTS),
    "RSA": rsa_with(_NO),
    "RSASSA": rsa_with(u16(RSASSA) + u16(SHA256)),
    "RSAPSS": rsa_with(u16(RSAPSS) + u16(SHA1)),
    "HMAC": hmac_with(u16(HMAC) + u16(SHA256)),
    "HMAC any": hmac_with(_NO, SIGNS | DECRYPTS),
    "storage": ecc_storage(),
    "sealed": sealed(),
    "AES": aes_key(FIXED | _USE | SIGNS | DECRYPTS),
}


def signer(side: Side, name: str, hierarchy: int = OWNER) -> int:
    public = SIGNERS[name]
    data = b"secret" if name == "sealed" else b""
    return side.client.create_primary(public, hierarchy, data=data)[0]


def signatures(side: Side) -> None:
    for name in SIGNERS:
        key = signer(side, name)
        for scheme, octets in SCHEMES.items():
            for size in (0, 20, 32, 48, 64):
                content = b2(bytes(range(size))) + octets + _NO_TICKET
                title = f"{name}: {scheme}, {size}"
                made = side.step(title, 0x15D, [key], content, [b""])
                if made is None:
                    continue
                side.same(title, u32(len(made.parameters)))
                for digest in (bytes(range(size)), bytes(size)):
                    side.step(f"verify {title}", 0x177, [key], b2(digest) + made.parameters)
        side.step("no signature", 0x177, [key], b2(bytes(32)) + _NO)
        for alg in (RSASSA, RSAPSS):
            for size in (0, 1, 128, 256):
                signed = u16(alg) + u16(SHA256) + b2(b"\1" * size)
                side.step(f"{name} junk {alg}", 0x177, [key], b2(bytes(32)) + signed)
        for alg in (ECDSA, ECDAA, SCHNORR):
            for r, s in ((b"", b""), (b"\1", b"\1"), (b"\xff" * 32, b"\1"), (b"\1", b"")):
                signed = u16(alg) + u16(SHA256) + b2(r) + b2(s)
                side.step(f"{name} junk {alg}", 0x177, [key], b2(bytes(32)) + signed)
        signed = u16(HMAC) + u16(SHA256) + bytes(32)
        side.step(f"{name} junk MAC", 0x177, [key], b2(bytes(32)) + signed)
        side.client.flush(key)


def tickets(side: Side) -> None:
    key = signer(side, "restricted")
    free = signer(side, "ECC")
    for hierarchy, data in itertools.product((OWNER, NULL), (b"", b"abc", b"message", b"\xffTCG!")):
        reply = side.step("hash", 0x17D, [], b2(data) + u16(SHA256) + u32(hierarchy))
        assert reply is not None
        digest, ticket = reply.tpm2b(), reply.parameters[34:]
        for altered in (ticket, flipped(ticket), _NO_TICKET, u16(0x8022) + ticket[2:]):
            for scheme in (_NO, u16(ECDSA) + u16(SHA256), u16(ECDSA) + u16(SHA384)):
                content = b2(digest) + scheme + altered
                side.step(f"restricted {data!r}", 0x15D, [key], content, [b""])
                side.step(f"free {data!r}", 0x15D, [free], content, [b""])
        side.step("other", 0x15D, [key], b2(digest[1:]) + _NO + ticket, [b""])
        side.step("other", 0x15D, [key], b2(bytes(32)) + _NO + ticket, [b""])


def verified(side: Side) -> None:
    """The tickets of verification by hierarchy."""
    for hierarchy in (OWNER, ENDORSEMENT, PLATFORM, NULL):
        key = signer(side, "ECDSA", hierarchy)
        digest = hashlib.sha256(b"message").digest()
        made = side.step("sign", 0x15D, [key], b2(digest) + _NO + _NO_TICKET, [b""])
        assert made is not None
        reply = side.step("verify", 0x177, [key], b2(digest) + made.parameters)
        assert reply is not None
        side.same("ticket", reply.parameters[:6] + u8(len(reply.parameters)))
        side.client.flush(key)


_ATTESTATIONS = {
    "quote": (0x158, 1, u32(1) + u16(SHA256) + u8(3) + b"\xff\0\1"),
    "time": (0x14C, 2, b""),
    "command audit": (0x133, 2, b""),
}


def _attested(side: Side, title: str, attest: bytes) -> None:
    """What is determined: all but the clock, and the disguise of firmware and counters."""
    magic_and_type = attest[:6]
    at = 6 + 2 + int.from_bytes(attest[6:8], "big")
    side.same(title, magic_and_type + u16(at) + u16(len(attest)))
    extra = at + 2 + int.from_bytes(attest[at : at + 2], "big")
    side.same(title, attest[at:extra])
    if magic_and_type[4:] == u16(0x8018):
        side.same(title, attest[extra + 25 :])


def attestations(side: Side) -> None:
    side.step("extend", 0x182, [0], u32(1) + u16(SHA256) + bytes(range(32)), [b""])
    keys = ("ECC", "ECDSA", "ECDAA", "restricted", "X.509", "RSAPSS", "HMAC", "storage", "sealed")
    for name in (*keys, "AES", "none"):
        key = NULL if name == "none" else signer(side, name, ENDORSEMENT)
        for kind, (code, handles, rest) in _ATTESTATIONS.items():
            before = [ENDORSEMENT] * (handles - 1)
            for scheme, octets in SCHEMES.items():
                for data in (b"", b"nonce"):
                    title = f"{name} {kind}: {scheme} {len(data)}"
                    content = b2(data) + octets + rest
                    made = side.step(title, code, [*before, key], content, [b""] * handles)
                    # The algorithm of the command audit is another at first.
                    if made and kind != "command audit":
                        _attested(side, title, made.tpm2b())
                        side.same(title, u16(len(made.parameters)))
        if key != NULL:
            side.client.flush(key)
    for selection in (
        u32(0),
        u32(1) + u16(SHA1) + u8(3) + b"\0\0\0",
        u32(2) + u16(SHA1) + u8(3) + b"\1\0\0" + u16(SHA256) + u8(3) + b"\1\0\1",
        u32(1) + u16(SHA512) + u8(3) + b"\xff\xff\xff",
        u32(1) + u16(0x12) + u8(3) + b"\xff\xff\xff",
        u32(1) + u16(SHA256) + u8(4) + b"\xff\xff\xff\1",
        u32(1) + u16(SHA256) + u8(2) + b"\xff\xff",
    ):
        for key in (NULL, signer(side, "restricted", ENDORSEMENT)):
            made = side.step("quote", 0x158, [key], b2(b"q") + _NO + selection, [b""])
            if made:
                _attested(side, "quote", made.tpm2b())
            if key != NULL:
                side.client.flush(key)


def certificates(side: Side) -> None:
    subject, _ = side.client.create_primary(ecc_storage())
    for name in ("ECC", "ECDAA", "restricted", "HMAC", "storage", "AES", "none"):
        key = NULL if name == "none" else signer(side, name)
        for scheme, octets in SCHEMES.items():
            title = f"{name} {scheme}"
            content = b2(b"data") + octets
            made = side.step(title, 0x148, [subject, key], content, [b"", b""])
            if made:
                side.same(title, u16(len(made.parameters)))
            for ticket in (u16(0x8021) + u32(OWNER) + b2(bytes(32)), _NO_TICKET):
                content = b2(b"data") + b2(bytes(32)) + octets + ticket
                side.step(f"creation {title}", 0x14A, [key, subject], content, [b""])
        if key != NULL:
            side.client.flush(key)
    side.client.flush(subject)
    content = b2(b2(b"") * 2) + b2(ecc_storage()) + b2(b"") + u32(0)
    made = side.client.call(0x131, [OWNER], content, [b""], True)
    side.client.names[made.handle] = object_name(made.tpm2b())
    creation_hash = made.tpm2b(2)
    at = made.parameters.index(creation_hash) + 32
    ticket = made.parameters[at : at + 72]
    assert ticket[:8] == u16(0x8021) + u32(OWNER) + u16(64)
    key = signer(side, "restricted")
    content = b2(b"x") + b2(creation_hash) + _NO + ticket
    proof = side.step("creation", 0x14A, [key, made.handle], content, [b""])
    if proof:
        side.same("creation", proof.tpm2b()[:6])
    content = b2(b"x") + b2(creation_hash[::-1]) + _NO + ticket
    side.step("another hash", 0x14A, [key, made.handle], content, [b""])
    sequence = side.step("start", 0x186, [], b2(b"") + u16(SHA1), handle_out=True)
    assert sequence is not None
    side.step("by a sequence", 0x148, [key, sequence.handle], b2(b"") + _NO, [b"", b""])


def session_audits(side: Side) -> None:
    key = signer(side, "restricted", ENDORSEMENT)
    session = side.client.start_session()
    plain_session = side.client.start_session()
    session.attributes = CONTINUE | AUDIT
    for _ in range(3):
        side.client.call(0x17B, [], u16(4), [(session, b"")])
        for handle in (session.handle, plain_session.handle, 0x02000005, 0x03000000):
            for signs in (key, NULL):
                content = b2(b"q") + _NO
                handles = [ENDORSEMENT, signs, handle]
                made = side.step("audit", 0x14D, handles, content, [b"", b""])
                if made:
                    side.same("audit", made.tpm2b()[:6] + u16(len(made.parameters)))
                    side.same("exclusive", made.tpm2b()[-35:-34])
    storage, _ = side.client.create_primary(ecc_storage())
    handles = [ENDORSEMENT, storage, plain_session.handle]
    side.step("audit", 0x14D, handles, b2(b"q") + _NO, [b"", b""])


def nv_certificates(side: Side) -> None:
    key = signer(side, "restricted", ENDORSEMENT)
    index = 0x01500000
    public = (
        u32(index) + u16(SHA256) + u32(0x20000 | 0x40000 | 2 | 4 | 0x2000000) + b2(b"") + u16(40)
    )
    side.step("define", 0x12A, [OWNER], b2(b"") + b2(public), [b""])
    side.client.names[index] = u16(SHA256) + hashlib.sha256(public).digest()
    for written in (False, True):
        if written:
            side.step("write", 0x137, [OWNER, index], b2(bytes(range(40))) + u16(0), [b""])
            public = (
                public[:6] + u32(0x20000000 | 0x20000 | 0x40000 | 2 | 4 | 0x2000000) + public[10:]
            )
            side.client.names[index] = u16(SHA256) + hashlib.sha256(public).digest()
        for size, offset in (
            (0, 0),
            (40, 0),
            (10, 30),
            (11, 30),
            (0, 40),
            (0, 41),
            (65535, 65535),
            (2000, 0),
        ):
            for signs in (key, NULL, index):
                content = b2(b"q") + _NO + u16(size) + u16(offset)
                made = side.step("certify", 0x184, [signs, OWNER, index], content, [b"", b""])
                if made:
                    attest = made.tpm2b()
                    side.same("certify", attest[:6] + u16(len(made.parameters)))
                    side.same("certify", attest[-max(size, 32) :])
    side.step("platform", 0x184, [key, PLATFORM, index], b2(b"") + _NO + u32(0), [b"", b""])


def credentials(side: Side) -> None:
    for public in (ecc_storage(), rsa_storage(bits=1024)):
        key, _ = side.client.create_primary(public, ENDORSEMENT)
        subject = signer(side, "ECC")
        name = side.client.names[subject]
        for credential in (b"", b"secret", bytes(32), bytes(33), bytes(64)):
            for given in (name, b"", name[::-1], name[:10]):
                made = side.step("make", 0x168, [key], b2(credential) + b2(given))
                if made is None:
                    continue
                blob, secret = made.tpm2b(0), made.tpm2b(1)
                for altered, other in (
                    (blob, secret),
                    (flipped(blob), secret),
                    (blob[:33], secret),
                    (blob[:1], secret),
                    (b"", secret),
                    (blob, secret[:-1]),
                    (blob, b""),
                    (blob, secret[:-3] + b"\1\2\3"),
                    (blob, flipped(secret)),
                ):
                    title = (
                        f"activate {len(credential)} {given == name} {len(altered)} {len(other)}"
                    )
                    content = b2(altered) + b2(other)
                    answer = side.step(title, 0x147, [subject, key], content, [b"", b""])
                    if answer:
                        side.same(title, answer.parameters)
        side.step("by itself", 0x147, [subject, subject], b2(b"") + b2(b""), [b"", b""])
        side.client.flush(key)
        side.client.flush(subject)
    for unfit in (ecc_signing(), hmac_key(), aes_key(FIXED | _USE | RESTRICTED | DECRYPTS)):
        key, _ = side.client.create_primary(unfit)
        side.step("unfit", 0x168, [key], b2(b"c") + b2(b"name"))
        side.client.flush(key)


_AES = u16(6) + u16(128) + u16(0x43)
_MOVABLE = 0x20 | _USE | SIGNS
"""sensitiveDataOrigin alone: not fixed to its parent."""


def _child(side: Side, parent: int, bits: int, policy: bytes = b"") -> tuple[int, bytes]:
    public = template(8, bits, u16(HMAC) + u16(SHA256), b2(b""), policy)
    private, made = side.client.create(parent, public)
    return side.client.load(parent, private, made), made


def duplicates(side: Side) -> None:
    parent, _ = side.client.create_primary(ecc_storage())
    code_policy = hashlib.sha256(bytes(32) + u32(0x16C) + u32(0x14B)).digest()
    other = {
        "ECC": side.client.create_primary(ecc_storage(), ENDORSEMENT)[0],
    }
    for bits in (_MOVABLE, _MOVABLE | 1 << 11, FIXED | _USE | SIGNS):
        child, public = _child(side, parent, bits, code_policy)
        for target in (NULL, other["ECC"], parent, child):
            for symmetric in (
                _NO,
                _AES,
                u16(6) + u16(256) + u16(0x43),
                u16(6) + u16(128) + u16(0x44),
            ):
                for key in (b"", bytes(16), bytes(15), bytes(32)):
                    session = side.client.start_session(1)
                    side.client.call(0x16C, [session.handle], u32(0x14B))
                    title = f"{bits:x} {target:x} {symmetric.hex()} {len(key)}"
                    content = b2(key) + symmetric
                    made = side.step(title, 0x14B, [child, target], content, [(session, b"")])
                    side.client.flush(session.handle)
                    if made is None:
                        continue
                    sizes = [len(made.tpm2b(index)) for index in range(3)]
                    side.same(title, bytes(sizes))
                    _imports(side, title, target, public, made.tpm2b(0) or key, made, symmetric)
        side.client.flush(child)
    side.step("of a primary", 0x14B, [parent, NULL], b2(b"") + _NO, [b""])


def _imports(
    side: Side, title: str, target: int, public: bytes, key: bytes, made: Reply, symmetric: bytes
) -> None:
    duplicate, seed = made.tpm2b(1), made.tpm2b(2)
    parent = 0x80000000 if target == NULL else target
    cases = (
        (key, public, duplicate, seed),
        (key[1:], public, duplicate, seed),
        (key + b"k", public, duplicate, seed),
        (key, flipped(public), duplicate, seed),
        (key, public[:4] + u32(FIXED | _USE | SIGNS) + public[8:], duplicate, seed),
        (key, public, duplicate[:-1], seed),
        (key, public, flipped(duplicate), seed),
        (key, public, b"", seed),
        (key, public, duplicate, b""),
        (key, public, duplicate, seed[:-1]),
        (key, public, duplicate, flipped(seed)),
    )
    for number, (inner, area, blob, secret) in enumerate(cases):
        content = b2(inner) + b2(area) + b2(blob) + b2(secret) + symmetric
        answer = side.step(f"{number} {title}", 0x156, [parent], content, [b""])
        if answer:
            content = b2(answer.tpm2b()) + b2(area)
            loaded = side.step(f"load {title}", 0x157, [parent], content, [b""], True)
            side.flush(loaded)


def rewraps(side: Side) -> None:
    first, _ = side.client.create_primary(ecc_storage())
    second, _ = side.client.create_primary(rsa_storage(bits=1024), ENDORSEMENT)
    policy = hashlib.sha256(bytes(32) + u32(0x16C) + u32(0x14B)).digest()
    child, public = _child(side, first, _MOVABLE, policy)
    name = side.client.names[child]
    for source in (NULL, first, second):
        session = side.client.start_session(1)
        side.client.call(0x16C, [session.handle], u32(0x14B))
        made = side.client.call(0x14B, [child, source], b2(b"") + _NO, [(session, b"")])
        side.client.flush(session.handle)
        duplicate, seed = made.tpm2b(1), made.tpm2b(2)
        for old, new in itertools.product((NULL, first, second, child), repeat=2):
            for given, secret in ((name, seed), (name[::-1], seed), (name, b""), (name, seed[:-1])):
                content = b2(duplicate) + b2(given) + b2(secret)
                title = f"{source:x} {old:x} {new:x} {len(secret)}"
                answer = side.step(title, 0x152, [old, new], content, [b""])
                if answer:
                    side.same(title, u16(len(answer.tpm2b(0))) + u16(len(answer.tpm2b(1))))
                    if new not in (NULL, child):
                        content = b2(b"") + b2(public) + answer.parameters + _NO
                        side.step(f"import {title}", 0x156, [new], content, [b""])


def commitments(side: Side) -> None:
    anonymous = signer(side, "ECDAA")
    point = side.client.call(0x163, [signer(side, "both")]).parameters
    point = point[: 2 + int.from_bytes(point[:2], "big")]
    nothing = b2(b2(b"") * 2)
    for name in ("ECC", "ECDSA", "RSA", "HMAC", "storage"):
        key = signer(side, name)
        side.step(f"{name}", 0x18B, [key], nothing + b2(b"") + b2(b""), [b""])
        side.client.flush(key)
    for p1, s2, y2 in (
        (nothing, b"", b""),
        (point, b"", b""),
        (b2(b2(bytes(32)) * 2), b"", b""),
        (nothing, b"basename", b""),
        (nothing, b"", bytes(32)),
        (nothing, b"basename", bytes(32)),
        (b2(b""), b"", b""),
    ):
        title = f"commit {len(p1)} {s2!r} {len(y2)}"
        made = side.step(title, 0x18B, [anonymous], p1 + b2(s2) + b2(y2), [b""])
        if made:
            side.same(title, u16(len(made.parameters)) + made.parameters[-2:])
    for count in (0, 0, 1, 2, 3, 4, 7, 127, 128, 65535):
        scheme = u16(ECDAA) + u16(SHA256) + u16(count)
        content = b2(bytes(32)) + scheme + _NO_TICKET
        side.step(f"sign {count}", 0x15D, [anonymous], content, [b""])
    for _ in range(130):
        side.step("commit", 0x18B, [anonymous], nothing + b2(b"") + b2(b""), [b""])
    for count in (0, 2, 3, 4, 5, 6, 7, 8, 130, 131, 132, 133, 134):
        scheme = u16(ECDAA) + u16(SHA256) + u16(count)
        side.step(f"late {count}", 0x15D, [anonymous], b2(bytes(32)) + scheme + _NO_TICKET, [b""])


def two_phases(side: Side) -> None:
    exchange, _ = side.client.create_primary(ecc_with(_NO, DECRYPTS))
    strict, _ = side.client.create_primary(ecc_with(u16(0x19) + u16(SHA256), DECRYPTS))
    point = side.client.call(0x163, [exchange]).parameters
    point = point[: 2 + int.from_bytes(point[:2], "big")]
    junk = b2(b2(bytes(32)) * 2)
    for curve in (3, 4, 5, 0, 6):
        made = side.step("ephemeral", 0x18E, [], u16(curve))
        if made:
            side.same("ephemeral", made.parameters[-2:])
    for key in (exchange, strict, signer(side, "ECC")):
        for static, ephemeral in ((point, point), (junk, point), (point, junk), (b2(b""), point)):
            for scheme in (0x19, 0x10, 0x99):
                for counter in (0, 1, 2, 3, 500):
                    content = static + ephemeral + u16(scheme) + u16(counter)
                    made = side.step(f"{scheme} {counter}", 0x18D, [key], content, [b""])
                    if made:
                        side.same("size", u16(len(made.parameters)))
                        side.step("ephemeral", 0x18E, [], u16(3))


@pytest.mark.parametrize(
    "scenario",
    [
        signatures,
        tickets,
        verified,
        attestations,
        certificates,
        session_audits,
        nv_certificates,
        credentials,
        duplicates,
        rewraps,
        commitments,
        two_phases,
    ],
)
def test_both_answer_alike(scenario: Scenario, oracle: Oracle) -> None:
    compare(scenario, oracle)


def test_each_verifies_the_schnorr_signatures_of_the_other(oracle: Oracle) -> None:
    _, ours = started()
    theirs = Client(oracle.execute)
    theirs.startup()
    digest = hashlib.sha256(b"message").digest()
    for signing, verifying in ((ours, theirs), (theirs, ours)):
        for curve in (3, 4):
            public = ecc_with(u16(SCHNORR) + u16(SHA256), curve=curve)
            key, made = signing.create_primary(public)
            signature = signing.call(0x15D, [key], b2(digest) + _NO + _NO_TICKET, [b""]).parameters
            signing.flush(key)
            content = b2(b"") + b2(made) + u32(OWNER)
            loaded = verifying.call(0x167, [], content, handle_out=True).handle
            verifying.call(0x177, [loaded], b2(digest) + signature)
            with pytest.raises(Failed):
                verifying.call(0x177, [loaded], b2(flipped(digest)) + signature)
            verifying.flush(loaded)
