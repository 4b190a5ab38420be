"""Policy commands: what each does to the digest, and what it refuses."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import pytest

from tests.tpm.tpm20.client import (
    OWNER,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    Client,
    Clock,
    b2,
    started,
    u16,
    u32,
    u64,
)
from tests.tpm.tpm20.nv_client import (
    BY_OWNER,
    INDEX,
    define,
    write,
)
from tests.tpm.tpm20.policy_client import (
    AUTH_VALUE,
    AUTHORIZE,
    AUTHORIZE_NV,
    COMMAND_CODE,
    CP_HASH,
    DUPLICATION,
    LOCALITY,
    NAME_HASH,
    NOTHING,
    NV,
    OR,
    PASSWORD,
    PCR,
    PCR_0,
    PRESENCE,
    RESTART,
    TEMPLATE,
    TIMER,
    WRITTEN,
    Step,
    digest,
    do,
    refused,
    sha256,
    trial,
)
from tpm.tpm20 import tickets


@pytest.fixture
def client() -> Client:
    return started()[1]


# Digests.

_H = b"h" * 32
_PCR_DIGEST = sha256(bytes(32))
_DIGESTS: dict[str, tuple[Step, bytes]] = {
    "locality": ((LOCALITY, b"\3"), b"\3"),
    "command code": ((COMMAND_CODE, u32(0x15E)), u32(0x15E)),
    "presence": ((PRESENCE, b""), b""),
    "cpHash": ((CP_HASH, b2(_H)), _H),
    "nameHash": ((NAME_HASH, b2(_H)), _H),
    "template": ((TEMPLATE, b2(_H)), _H),
    "duplication": ((DUPLICATION, b2(b"one") + b2(b"two") + b"\0"), b"two\0"),
    "object": ((DUPLICATION, b2(b"one") + b2(b"two") + b"\1"), b"onetwo\1"),
    "authValue": ((AUTH_VALUE, b""), b""),
    "written": ((WRITTEN, b"\1"), b"\1"),
    "PCR": ((PCR, NOTHING + PCR_0), PCR_0 + _PCR_DIGEST),
    "timer": (
        (TIMER, b2(u32(0)) + u16(20) + u16(0)),
        sha256(u32(0) + u16(20) + u16(0)),
    ),
}


@pytest.mark.parametrize("kind", [1, 3])
@pytest.mark.parametrize("name", _DIGESTS)
def test_digest(client: Client, name: str, kind: int) -> None:
    (code, content), extended = _DIGESTS[name]
    session = client.start_session(kind=kind)
    expected = sha256(bytes(32) + u32(code) + extended)
    assert do(client, session, (code, content)) == expected
    client.call(RESTART, [session.handle])
    assert digest(client, session) == bytes(32)


def test_password_has_the_digest_of_auth_value(client: Client) -> None:
    assert trial(client, (PASSWORD, b"")) == trial(client, (AUTH_VALUE, b""))


@pytest.mark.parametrize(
    ("hash_alg", "name"),
    [(SHA1, "sha1"), (SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")],
)
def test_digest_is_of_the_sessions_hash(client: Client, hash_alg: int, name: str) -> None:
    session = client.start_session(kind=1, hash_alg=hash_alg)
    size = hashlib.new(name).digest_size
    expected = hashlib.new(name, bytes(size) + u32(PRESENCE)).digest()
    assert do(client, session, (PRESENCE, b"")) == expected


def test_or(client: Client) -> None:
    session = client.start_session(kind=1)
    branches = [trial(client, (PRESENCE, b"")), trial(client, (AUTH_VALUE, b""))]
    content = u32(2) + b"".join(map(b2, branches))
    with refused(0x1C4):
        do(client, session, (OR, content))
    joined = sha256(bytes(32) + u32(OR) + b"".join(branches))
    assert do(client, session, (AUTH_VALUE, b""), (OR, content)) == joined
    assert trial(client, (OR, content)) == joined
    for count in (0, 1, 9):
        with refused(0x1D5):
            do(client, session, (OR, u32(count) + b2(_H) * count))


def test_pcr_digest_must_be_the_current_one_but_in_a_trial(client: Client) -> None:
    session = client.start_session(kind=1)
    with refused(0x1C4):
        do(client, session, (PCR, b2(_H) + PCR_0))
    assert digest(client, session) == bytes(32)
    expected = sha256(bytes(32) + u32(PCR) + PCR_0 + _H)
    assert trial(client, (PCR, b2(_H) + PCR_0)) == expected


def test_localities_only_narrow(client: Client) -> None:
    session = client.start_session(kind=1)
    for value, works in ((0, False), (7, True), (6, True), (1, False), (32, False), (2, True)):
        if works:
            do(client, session, (LOCALITY, bytes((value,))))
        else:
            with refused(0x1CD):
                do(client, session, (LOCALITY, bytes((value,))))
    client.call(RESTART, [session.handle])
    do(client, session, (LOCALITY, b"\x20"), (LOCALITY, b"\x20"))
    for value in (33, 1):
        with refused(0x1CD):
            do(client, session, (LOCALITY, bytes((value,))))


def test_conditions_that_contradict(client: Client) -> None:
    session = client.start_session(kind=1)
    other = b"o" * 32
    cases: list[tuple[Step, Step, int]] = [
        ((CP_HASH, b2(_H)), (CP_HASH, b2(other)), 0x151),
        ((CP_HASH, b2(_H)), (NAME_HASH, b2(_H)), 0x151),
        ((NAME_HASH, b2(_H)), (NAME_HASH, b2(_H)), 0x151),
        ((NAME_HASH, b2(_H)), (TEMPLATE, b2(_H)), 0x151),
        ((TEMPLATE, b2(_H)), (TEMPLATE, b2(other)), 0x1C4),
        ((TEMPLATE, b2(_H)), (CP_HASH, b2(_H)), 0x151),
        ((CP_HASH, b2(_H)), (DUPLICATION, NOTHING * 2 + b"\0"), 0x151),
        ((COMMAND_CODE, u32(0x15E)), (DUPLICATION, NOTHING * 2 + b"\0"), 0x143),
        ((COMMAND_CODE, u32(0x15E)), (COMMAND_CODE, u32(0x150)), 0x1C4),
        ((WRITTEN, b"\0"), (WRITTEN, b"\1"), 0x1C4),
        ((PRESENCE, b""), (COMMAND_CODE, u32(0x123)), 0x1E4),
        ((PRESENCE, b""), (CP_HASH, b2(_H[1:])), 0x1D5),
        ((PRESENCE, b""), (NAME_HASH, NOTHING), 0x1D5),
        ((PRESENCE, b""), (TEMPLATE, NOTHING), 0x1D5),
    ]
    for first, second, code in cases:
        client.call(RESTART, [session.handle])
        before = do(client, session, first)
        with refused(code):
            do(client, session, second)
        assert digest(client, session) == before


# PolicyNV and PolicyCounterTimer.

_MINUS_2, _MINUS_1, _ZERO, _PLUS_1 = b"\xff\xfe", b"\xff\xff", b"\0\0", b"\0\1"
_HOLDS: dict[int, Callable[[bytes, bytes], bool]] = {
    0x0: lambda a, b: a == b,
    0x1: lambda a, b: a != b,
    0x2: lambda a, b: _number(a, True) > _number(b, True),
    0x3: lambda a, b: _number(a, False) > _number(b, False),
    0x4: lambda a, b: _number(a, True) < _number(b, True),
    0x5: lambda a, b: _number(a, False) < _number(b, False),
    0x6: lambda a, b: _number(a, True) >= _number(b, True),
    0x7: lambda a, b: _number(a, False) >= _number(b, False),
    0x8: lambda a, b: _number(a, True) <= _number(b, True),
    0x9: lambda a, b: _number(a, False) <= _number(b, False),
    0xA: lambda a, b: _number(a, False) & _number(b, False) == _number(b, False),
    0xB: lambda a, b: _number(a, False) & _number(b, False) == 0,
}  # fmt: skip


def _number(value: bytes, signed: bool) -> int:
    return struct.unpack(">h" if signed else ">H", value)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("operation", _HOLDS)
def test_policy_nv(client: Client, operation: int) -> None:
    define(client, BY_OWNER)
    session = client.start_session(kind=1)
    outcomes = set()
    for a in (_MINUS_2, _MINUS_1, _ZERO, _PLUS_1):
        write(client, b"abc" + a + b"def")
        for b in (_MINUS_2, _MINUS_1, _ZERO, _PLUS_1):
            client.call(RESTART, [session.handle])
            arguments = b + u16(3) + u16(operation)
            content = b2(b) + arguments[2:]
            holds = _HOLDS[operation](a, b)
            outcomes.add(holds)
            if not holds:
                with refused(0x126):
                    client.call(NV, [OWNER, INDEX, session.handle], content, [b""])
                assert digest(client, session) == bytes(32)
                continue
            client.call(NV, [OWNER, INDEX, session.handle], content, [b""])
            expected = bytes(32) + u32(NV) + sha256(arguments) + client.names[INDEX]
            assert digest(client, session) == sha256(expected)
    assert outcomes == {True, False}


def test_policy_nv_checks(client: Client) -> None:
    define(client, BY_OWNER)
    session, trial_session = client.start_session(kind=1), client.start_session(kind=3)
    good = b2(b"x") + u16(0) + u16(0)
    handles = [OWNER, INDEX, session.handle]
    with refused(0x14A):
        client.call(NV, handles, good, [b""])
    client.call(NV, [OWNER, INDEX, trial_session.handle], good, [b""])
    write(client, b"x1234567")
    client.call(NV, handles, good, [b""])
    for content, code in (
        (b2(b"x" * 9) + u16(0) + u16(0), 0x1D5),
        (b2(b"x") + u16(8) + u16(0), 0x1D5),
        (b2(b"x") + u16(9) + u16(0), 0x2C4),
        (b2(b"x") + u16(0) + u16(12), 0x3C4),
    ):
        with refused(code):
            client.call(NV, handles, content, [b""])
    with refused(0x9A2):
        client.call(NV, handles, good, [b"wrong"])
    with refused(0x149):
        client.call(NV, [0x4000000C, INDEX, session.handle], good, [b""])


def test_policy_counter_timer() -> None:
    clock = Clock()
    _, client = started(clock)
    session = client.start_session(kind=1)
    # TPMS_TIME_INFO begins with time in milliseconds; 3 is unsigned "greater".
    later = b2(u64(10_000)) + u16(0) + u16(3)
    with refused(0x126):
        do(client, session, (TIMER, later))
    clock.now += 10_001
    do(client, session, (TIMER, later))
    for content, code in (
        (b2(b"x") + u16(26) + u16(0), 0x2C4),
        (b2(b"x") + u16(25) + u16(0), 0x8D),
    ):
        with refused(code):
            do(client, session, (TIMER, content))


# PolicyAuthorizeNV and PolicyAuthorize.


def test_policy_authorize_nv(client: Client) -> None:
    define(client, BY_OWNER, 34)
    approved = trial(client, (PRESENCE, b""))
    session = client.start_session(kind=1)
    handles = [OWNER, INDEX, session.handle]
    with refused(0x14A):
        client.call(AUTHORIZE_NV, handles, b"", [b""])
    for content, code in (
        (u16(SHA256) + approved, 0x84),
        (u16(SHA1) + approved, 0x83),
        (u16(0x99) + approved, 0x83),
    ):
        write(client, content)
        with refused(code):
            client.call(AUTHORIZE_NV, handles, b"", [b""])
    write(client, u16(SHA256) + approved)
    do(client, session, (PRESENCE, b""))
    client.call(AUTHORIZE_NV, handles, b"", [b""])
    expected = sha256(bytes(32) + u32(AUTHORIZE_NV) + client.names[INDEX])
    assert digest(client, session) == expected
    trial_session = client.start_session(kind=3)
    client.call(AUTHORIZE_NV, [OWNER, INDEX, trial_session.handle], b"", [b""])
    assert digest(client, trial_session) == expected


def test_policy_authorize() -> None:
    tpm, client = started()
    approved = trial(client, (PRESENCE, b""))
    key = u16(SHA256) + b"k" * 32
    signed = sha256(approved + b"ref")
    ticket = tickets.make(tpm, 0x8022, OWNER, signed + key)
    wire = u16(ticket.tag) + u32(ticket.hierarchy) + b2(ticket.digest)
    good = b2(approved) + b2(b"ref") + b2(key) + wire
    session = client.start_session(kind=1)
    with refused(0x1C4):
        do(client, session, (AUTHORIZE, good))
    do(client, session, (PRESENCE, b""))
    for content, code in (
        (good.replace(b"ref", b"rex"), 0x4C4),
        (good.replace(b"kk", b"kl"), 0x4C4),
        (good[:-1] + bytes((good[-1] ^ 1,)), 0x4C4),
        (good.replace(key, u16(0x99) + b"k" * 32), 0x3C3),
        (good.replace(b2(key), b2(key[:-1])), 0x3D5),
        (good.replace(b2(key), NOTHING), 0x3C3),
    ):
        with refused(code):
            do(client, session, (AUTHORIZE, content))
    expected = sha256(sha256(bytes(32) + u32(AUTHORIZE) + key) + b"ref")
    assert do(client, session, (AUTHORIZE, good)) == expected
    assert trial(client, (AUTHORIZE, good.replace(b"kk", b"kl"))) != expected
    assert trial(client, (AUTHORIZE, good[:-1] + b"x")) == expected
