"""NV Indices: types, access, locks, what ends with a startup, PINs, persistence."""

from __future__ import annotations

import hashlib
import itertools
import os
from contextlib import AbstractContextManager

import pytest

from tests.tpm.tpm20.client import (
    CONTINUE,
    DECRYPT,
    ENCRYPT,
    ENDORSEMENT,
    LOCKOUT,
    OWNER,
    PLATFORM,
    SHA1,
    SHA512,
    Client,
    Clock,
    Failed,
    b2,
    execute_checked,
    started,
    u16,
    u32,
    u64,
)
from tests.tpm.tpm20.nv_client import (
    AUTHWRITE,
    BITS,
    BY_AUTH,
    BY_OWNER,
    CHANGE_AUTH,
    CLEAR_STCLEAR,
    COUNTER,
    DEFINE,
    EXTEND,
    EXTENDED,
    GLOBAL_LOCK,
    GLOBALLOCK,
    INCREMENT,
    INDEX,
    NV_NO_DA,
    ORDERLY,
    OWNERREAD,
    OWNERWRITE,
    PIN_FAIL,
    PIN_PASS,
    PLATFORMCREATE,
    POLICY_DELETE,
    POLICYREAD,
    POLICYWRITE,
    PPREAD,
    PPWRITE,
    READ,
    READ_LOCK,
    READ_PUBLIC,
    READ_STCLEAR,
    READLOCKED,
    SET_BITS,
    SPECIAL,
    UNDEFINE,
    WRITE,
    WRITE_LOCK,
    WRITE_STCLEAR,
    WRITEALL,
    WRITEDEFINE,
    WRITELOCKED,
    WRITTEN,
    attributes,
    define,
    increment,
    public,
    read,
    set_bits,
    undefine,
    write,
)
from tpm.tpm20 import Tpm
from tpm.tpm20.constants import MAX_NV_INDICES, NV_MEMORY_SIZE
from tpm.tpm20.state import State


def refused(code: int) -> AbstractContextManager[object]:
    return pytest.raises(Failed, match=f"^{code:#x}$")


@pytest.fixture
def client() -> Client:
    return started()[1]


def test_public_area_and_name(client: Client) -> None:
    define(client, BY_OWNER, 16)
    reply = client.call(READ_PUBLIC, [INDEX])
    assert b2(reply.tpm2b(0)) == public(BY_OWNER, 16)
    assert reply.tpm2b(1) == u16(0xB) + hashlib.sha256(public(BY_OWNER, 16)[2:]).digest()
    write(client, b"x")
    assert b2(client.call(READ_PUBLIC, [INDEX]).tpm2b(0)) == public(BY_OWNER | WRITTEN, 16)


def test_ordinary_index(client: Client) -> None:
    define(client, BY_OWNER, 16)
    with refused(0x14A):
        read(client)
    write(client, b"abc", 5)
    assert read(client, 16) == b"\xff" * 5 + b"abc" + b"\xff" * 8
    write(client, b"z" * 16)
    assert read(client, 4, 12) == b"zzzz"
    assert read(client, 0, 16) == b""
    for content, offset, code in ((b"a" * 17, 0, 0x146), (b"ab", 15, 0x146), (b"", 17, 0x2C4)):
        with refused(code):
            write(client, content, offset)
    for size, offset, code in ((17, 0, 0x146), (1, 16, 0x146), (0, 17, 0x2C4), (1025, 0, 0x1C4)):
        with refused(code):
            read(client, size, offset)
    assert read(client, 16) == b"z" * 16


def test_an_index_to_be_written_whole(client: Client) -> None:
    define(client, BY_OWNER | WRITEALL)
    with refused(0x146):
        write(client, b"1234567")
    write(client, b"12345678")


def test_counter(client: Client) -> None:
    define(client, BY_OWNER | COUNTER)
    assert [increment(client) for _ in range(3)] == [1, 2, 3]
    with refused(0x82):
        write(client, b"12345678")
    for code, content in ((EXTEND, b2(b"x")), (SET_BITS, u64(1))):
        with refused(0x282):
            client.call(code, [OWNER, INDEX], content, [b""])


def test_a_counter_starts_above_what_was_deleted(client: Client) -> None:
    define(client, BY_OWNER | COUNTER)
    for _ in range(5):
        increment(client)
    undefine(client)
    define(client, BY_OWNER | COUNTER)
    assert increment(client) == 6
    client.call(0x126, [LOCKOUT], b"", [b""])
    define(client, BY_OWNER | COUNTER)
    assert increment(client) == 7


def test_bits(client: Client) -> None:
    define(client, BY_OWNER | BITS)
    assert set_bits(client, 0) == 0
    assert set_bits(client, 5) == 5
    assert set_bits(client, 1 << 63 | 2) == 1 << 63 | 7
    with refused(0x282):
        client.call(INCREMENT, [OWNER, INDEX], b"", [b""])


@pytest.mark.parametrize(("name_alg", "hash_name"), [(SHA1, "sha1"), (SHA512, "sha512")])
def test_extend(client: Client, name_alg: int, hash_name: str) -> None:
    size = hashlib.new(hash_name).digest_size
    define(client, BY_OWNER | EXTENDED, size, name_alg=name_alg)
    expected = bytes(size)
    for content in (b"", b"one", b"x" * 1024):
        client.call(EXTEND, [OWNER, INDEX], b2(content), [b""])
        expected = hashlib.new(hash_name, expected + content).digest()
        assert read(client, size) == expected


_OK = OWNERREAD | OWNERWRITE


@pytest.mark.parametrize(
    ("bits", "size", "code"),
    [
        (OWNERREAD, 8, 0x2C2),
        (OWNERWRITE, 8, 0x2C2),
        (_OK | WRITTEN, 8, 0x2C2),
        (_OK | WRITELOCKED, 8, 0x2C2),
        (_OK | READLOCKED, 8, 0x2C2),
        (_OK | 0x30, 8, 0x2C2),
        (_OK | 0x100, 8, 0x2E1),
        (_OK | COUNTER, 7, 0x2D5),
        (_OK | COUNTER | CLEAR_STCLEAR, 8, 0x2C2),
        (_OK | BITS, 9, 0x2D5),
        (_OK | EXTENDED, 31, 0x2D5),
        (_OK | PIN_PASS, 4, 0x2D5),
        (_OK | PIN_FAIL, 8, 0x2C2),
        (_OK | PIN_FAIL | NV_NO_DA | AUTHWRITE, 8, 0x2C2),
        (_OK | PIN_PASS | GLOBALLOCK, 8, 0x2C2),
        (_OK | PIN_PASS | WRITEDEFINE, 8, 0x2C2),
        (_OK | CLEAR_STCLEAR | WRITEDEFINE, 8, 0x2C2),
        (_OK | PLATFORMCREATE, 8, 0x182),
        (_OK | POLICY_DELETE, 8, 0x2C2),
        (_OK | WRITEALL, 1025, 0x2D5),
        (_OK, 2049, 0x2D5),
    ],
)
def test_refused_definitions(client: Client, bits: int, size: int, code: int) -> None:
    with refused(code):
        define(client, bits, size)
    with refused(0x18B):
        attributes(client)


def test_more_refused_definitions(client: Client) -> None:
    with refused(0x1D5):
        define(client, _OK, auth=b"a" * 33)
    with refused(0x2D5):
        define(client, _OK, policy=b"a" * 20)
    with refused(0x182):
        define(client, _OK, by=PLATFORM)
    with refused(0x184):
        define(client, _OK, by=ENDORSEMENT)
    define(client, _OK, auth=b"a" * 32 + bytes(9), policy=b"a" * 32)
    with refused(0x14C):
        define(client, _OK)


def test_space_is_limited() -> None:
    tpm, client = started()
    for number in range(NV_MEMORY_SIZE // 2048):
        define(client, _OK, 2048, index=INDEX + number)
    with refused(0x14B):
        define(client, _OK, 1, index=INDEX - 1)
    undefine(client)
    define(client, _OK, 1, index=INDEX)
    assert len(tpm.state.nv) == NV_MEMORY_SIZE // 2048
    _, client = started()
    for number in range(MAX_NV_INDICES):
        define(client, _OK, 0, index=INDEX + number)
    with refused(0x14B):
        define(client, _OK, 0, index=INDEX - 1)


@pytest.mark.parametrize(
    ("bits", "by", "auth"),
    [
        (PPREAD | PPWRITE, PLATFORM, b""),
        (OWNERREAD | OWNERWRITE, OWNER, b""),
        (BY_AUTH, INDEX, b"val"),
    ],
)
def test_who_may_read_and_write(client: Client, bits: int, by: int, auth: bytes) -> None:
    define(client, bits | NV_NO_DA, auth=b"val")
    write(client, b"12345678", by=by, auth=auth)
    assert read(client, by=by, auth=auth) == b"12345678"
    for other, value in ((PLATFORM, b""), (OWNER, b""), (INDEX, b"val")):
        if other == by:
            continue
        code = 0x12F if other == INDEX else 0x149
        with refused(code):
            write(client, b"x", by=other, auth=value)
        with refused(code):
            read(client, by=other, auth=value)


def test_another_index_gives_no_access(client: Client) -> None:
    define(client, BY_AUTH | BY_OWNER, auth=b"one")
    define(client, BY_AUTH, auth=b"two", index=INDEX + 1)
    write(client, b"12345678")
    with refused(0x149):
        client.call(READ, [INDEX + 1, INDEX], u16(8) + u16(0), [b"two"])


def test_auth_value_with_an_hmac_session_that_encrypts(client: Client) -> None:
    define(client, BY_AUTH, auth=b"val")
    session = client.start_session(symmetric=(6, 128))
    session.attributes = CONTINUE | DECRYPT
    client.call(WRITE, [INDEX, INDEX], b2(b"12345678") + u16(0), [(session, b"val")])
    attributes(client)
    session.attributes = CONTINUE | ENCRYPT
    reply = client.call(READ, [INDEX, INDEX], u16(8) + u16(0), [(session, b"val")])
    assert reply.tpm2b() == b"12345678"


def test_the_name_guards_the_attributes(client: Client) -> None:
    """A session's HMAC is over the Name: a write that the client has not seen shows."""
    define(client, BY_AUTH | NV_NO_DA, auth=b"val")
    name = client.names[INDEX]
    write(client, b"12345678", by=INDEX, auth=b"val")
    client.names[INDEX] = name
    session = client.start_session()
    with refused(0x9A2):
        client.call(READ, [INDEX, INDEX], u16(8) + u16(0), [(session, b"val")])


def test_undefine(client: Client) -> None:
    define(client, BY_OWNER)
    undefine(client, by=PLATFORM)
    define(client, BY_OWNER | PLATFORMCREATE, by=PLATFORM)
    with refused(0x149):
        undefine(client)
    undefine(client, by=PLATFORM)
    with refused(0x28B):
        undefine(client)


def _policy(client: Client, *commands: tuple[int, bytes]) -> bytes:
    trial = client.start_session(kind=3)
    for code, parameters in commands:
        client.call(code, [trial.handle], parameters)
    digest = client.call(0x189, [trial.handle]).tpm2b()
    client.flush(trial.handle)
    return digest


def test_undefine_with_policy_alone(client: Client) -> None:
    policy = _policy(client, (0x16C, u32(SPECIAL)))
    bits = PPREAD | PPWRITE | PLATFORMCREATE
    define(client, bits, by=PLATFORM, policy=policy)
    session = client.start_session(kind=1)
    client.call(0x16C, [session.handle], u32(SPECIAL))
    with refused(0x182):
        client.call(SPECIAL, [INDEX, PLATFORM], b"", [(session, b""), b""])
    undefine(client, by=PLATFORM)
    define(client, bits | POLICY_DELETE, by=PLATFORM, policy=policy)
    with refused(0x282):
        undefine(client, by=PLATFORM)
    with refused(0x124):
        client.call(SPECIAL, [INDEX, PLATFORM], b"", [b"", b""])
    client.call(SPECIAL, [INDEX, PLATFORM], b"", [(session, b""), b""])
    with refused(0x18B):
        attributes(client)


def test_change_auth(client: Client) -> None:
    policy = _policy(client, (0x16C, u32(CHANGE_AUTH)), (0x16B, b""))
    define(client, BY_AUTH | NV_NO_DA, auth=b"old", policy=policy)
    with refused(0x124):
        client.call(CHANGE_AUTH, [INDEX], b2(b"new"), [b"old"])
    session = client.start_session(kind=1)
    for new, code in ((b"n" * 33, 0x1D5), (b"new" + bytes(60), 0)):
        client.call(0x180, [session.handle])
        client.call(0x16C, [session.handle], u32(CHANGE_AUTH))
        client.call(0x16B, [session.handle])
        session.no_auth = False
        if code:
            with refused(code):
                client.call(CHANGE_AUTH, [INDEX], b2(new), [(session, b"old")])
            continue
        # The response is signed with the new value, which this client's check does not know.
        with pytest.raises(AssertionError, match="HMAC"):
            client.call(CHANGE_AUTH, [INDEX], b2(new), [(session, b"old")])
    write(client, b"12345678", by=INDEX, auth=b"new")
    with refused(0x9A2):
        read(client, by=INDEX, auth=b"old")


# Locks.


def test_write_lock(client: Client) -> None:
    define(client, BY_OWNER)
    with refused(0x282):
        client.call(WRITE_LOCK, [OWNER, INDEX], b"", [b""])
    undefine(client)
    define(client, BY_OWNER | WRITE_STCLEAR)
    write(client, b"12345678")
    for _ in range(2):
        client.call(WRITE_LOCK, [OWNER, INDEX], b"", [b""])
    with refused(0x148):
        write(client, b"x")
    assert read(client) == b"12345678"


def test_read_lock(client: Client) -> None:
    define(client, BY_OWNER | READ_STCLEAR)
    for _ in range(2):
        client.call(READ_LOCK, [OWNER, INDEX], b"", [b""])
    write(client, b"12345678")
    with refused(0x148):
        read(client)
    undefine(client)
    define(client, BY_OWNER)
    with refused(0x282):
        client.call(READ_LOCK, [OWNER, INDEX], b"", [b""])


def test_global_lock(client: Client) -> None:
    define(client, BY_OWNER | GLOBALLOCK)
    define(client, BY_OWNER, index=INDEX + 1)
    with refused(0x9A2):
        client.call(GLOBAL_LOCK, [OWNER], b"", [b"wrong"])
    client.call(GLOBAL_LOCK, [OWNER], b"", [b""])
    with refused(0x148):
        write(client, b"x")
    write(client, b"x", index=INDEX + 1)


_SHUTDOWNS = {"reset": (0, 0), "restart": (1, 0), "resume": (1, 1), "cut": (None, 0)}


@pytest.mark.parametrize("how", _SHUTDOWNS)
def test_what_a_startup_ends(how: str) -> None:
    """Part 2, 13.4: which attributes a TPM Reset, Restart and Resume leave."""
    tpm, client = started()
    locks = WRITE_STCLEAR | READ_STCLEAR
    cases = {
        "plain": locks,
        "forever": WRITEDEFINE | READ_STCLEAR,
        "cleared": locks | CLEAR_STCLEAR,
        "orderly": locks | ORDERLY,
        "counter": locks | ORDERLY | COUNTER,
    }
    for index, bits in enumerate(cases.values(), INDEX):
        define(client, BY_OWNER | bits, index=index)
        if bits & COUNTER:
            increment(client, index)
        else:
            write(client, b"12345678", index=index)
        client.call(WRITE_LOCK, [OWNER, index], b"", [b""])
        client.call(READ_LOCK, [OWNER, index], b"", [b""])
    shutdown, startup = _SHUTDOWNS[how]
    if shutdown is not None:
        client.call(0x145, [], u16(shutdown))
    tpm.power_on()
    client.startup(startup)
    left = {
        name: attributes(client, index) & (WRITTEN | WRITELOCKED | READLOCKED)
        for index, name in enumerate(cases, INDEX)
    }
    if how == "resume":
        assert set(left.values()) == {WRITTEN | WRITELOCKED | READLOCKED}
        return
    assert left == {
        "plain": WRITTEN,
        "forever": WRITTEN | WRITELOCKED,
        "cleared": 0,
        "orderly": WRITTEN if how == "restart" else 0,
        "counter": WRITTEN,
    }


def test_what_was_cleared_does_not_come_back() -> None:
    tpm, client = started()
    define(client, BY_OWNER | CLEAR_STCLEAR)
    write(client, b"12345678")
    tpm.power_on()
    client.startup()
    write(client, b"x")
    assert read(client) == b"x" + b"\xff" * 7


def test_a_write_to_an_orderly_index_voids_a_shutdown() -> None:
    for bits, startup_state in ((ORDERLY, 0x1C4), (0, 0)):
        tpm, client = started()
        define(client, BY_OWNER | bits)
        client.call(0x145, [], u16(1))
        write(client, b"12345678")
        tpm.power_on()
        if startup_state:
            with refused(startup_state):
                client.startup(1)
        else:
            client.startup(1)


def test_indices_are_hidden_with_their_hierarchy(client: Client) -> None:
    define(client, BY_OWNER | PPREAD)
    define(client, PPREAD | PPWRITE | PLATFORMCREATE, index=INDEX + 1, by=PLATFORM)
    client.call(0x121, [OWNER], u32(OWNER) + b"\0", [b""])
    with refused(0x18B):
        attributes(client)
    assert attributes(client, INDEX + 1)
    client.call(0x121, [PLATFORM], u32(0x4000000D) + b"\0", [b""])
    with refused(0x18B):
        attributes(client, INDEX + 1)
    with refused(0x185):
        define(client, BY_OWNER | PLATFORMCREATE, index=INDEX + 2, by=PLATFORM)


# PINs (part 1, 37.2.8).


def _secret(client: Client, pin: bytes) -> None:
    """PolicySecret with a PIN, asking for a ticket that lasts 16 seconds."""
    session = client.start_session(kind=1)
    try:
        content = b2(b"") * 3 + u32(0xFFFFFFF0)
        reply = client.call(0x151, [INDEX, session.handle], content, [pin])
        ticket = reply.parameters
        if attributes(client) & 0xF0 == PIN_PASS:
            assert ticket == b2(b"") + u16(0x8023) + u32(0x40000007) + b2(b"")
        else:
            assert len(ticket) > 40
    finally:
        client.flush(session.handle)


def _pin(client: Client) -> tuple[int, int]:
    content = read(client)
    return int.from_bytes(content[:4], "big"), int.from_bytes(content[4:], "big")


def test_a_pin_that_fails_only_so_often(client: Client) -> None:
    define(client, BY_OWNER | PIN_FAIL | NV_NO_DA, auth=b"pin")
    with refused(0x12F):
        _secret(client, b"pin")
    write(client, u32(0) + u32(2))
    _secret(client, b"pin")
    with refused(0x9A2):
        _secret(client, b"bad")
    assert _pin(client) == (1, 2)
    _secret(client, b"pin")
    assert _pin(client) == (0, 2)
    for _ in range(2):
        with refused(0x9A2):
            _secret(client, b"bad")
    for pin in (b"pin", b"bad"):
        with refused(0x12F):
            _secret(client, pin)
    assert _pin(client) == (2, 2)
    write(client, u32(0) + u32(2))
    _secret(client, b"pin")


def test_a_pin_that_passes_only_so_often(client: Client) -> None:
    define(client, BY_OWNER | PIN_PASS | NV_NO_DA, auth=b"pin")
    write(client, u32(0) + u32(2))
    for count in (1, 2):
        with refused(0x9A2):
            _secret(client, b"bad")
        _secret(client, b"pin")
        assert _pin(client) == (count, 2)
    with refused(0x12F):
        _secret(client, b"pin")


def test_half_a_pin_lets_nobody_in(client: Client) -> None:
    define(client, BY_OWNER | PIN_PASS | NV_NO_DA, auth=b"pin")
    write(client, u32(0))
    assert _pin(client) == (0, 0)
    with refused(0x12F):
        _secret(client, b"pin")


def test_a_pin_takes_no_binding(client: Client) -> None:
    define(client, BY_OWNER | PIN_PASS | NV_NO_DA, auth=b"pin")
    with refused(0x28B):
        client.start_session(bind=INDEX, bind_auth=b"pin")


# State.


def test_indices_survive_a_loss_of_power() -> None:
    tpm, client = started()
    policy = _policy(client, (0x16C, u32(READ)))
    define(client, BY_OWNER | BY_AUTH, 16, auth=b"val", policy=policy)
    write(client, b"0123456789abcdef")
    define(client, BY_OWNER | COUNTER, index=INDEX + 1)
    increment(client, INDEX + 1)
    name = client.names[INDEX]
    other = Tpm(State.restore(tpm.state.save()), os.urandom, Clock())
    client = Client(execute_checked(other))
    client.startup()
    attributes(client)
    assert client.names[INDEX] == name
    assert read(client, 16, by=INDEX, auth=b"val") == b"0123456789abcdef"
    assert increment(client, INDEX + 1) == 2


def test_an_error_changes_nothing() -> None:
    tpm, client = started()
    for index, kind in enumerate((0, COUNTER, BITS, EXTENDED), INDEX):
        bits = BY_OWNER | NV_NO_DA | kind
        define(client, bits, 32 if kind == EXTENDED else 8, index=index)
    tpm.state.changed = False
    before = tpm.state.save()
    failures = 0
    commands = (
        (WRITE, b2(b"x" * 9) + u16(0)),
        (WRITE, b2(b"x") + u16(9)),
        (INCREMENT, b""),
        (EXTEND, b2(b"x")),
        (SET_BITS, u64(1)),
        (WRITE_LOCK, b""),
        (READ_LOCK, b""),
        (READ, u16(1) + u16(0)),
        (DEFINE, b""),
        (UNDEFINE, b"x"),
    )
    for index, (code, content), by in itertools.product(
        range(INDEX, INDEX + 4), commands, (PLATFORM, INDEX, 0x01000099)
    ):
        with pytest.raises(Failed):
            client.call(code, [by, index], content, [b""])
        failures += 1
    assert failures == 120
    assert tpm.state.save() == before
    assert not tpm.state.changed


def test_every_change_is_marked_for_writing() -> None:
    tpm, client = started()
    bits = BY_OWNER | WRITE_STCLEAR | READ_STCLEAR | GLOBALLOCK | POLICYREAD | POLICYWRITE
    for code, handles, content in (
        (DEFINE, [OWNER], b2(b"") + public(bits | BITS)),
        (SET_BITS, [OWNER, INDEX], u64(1)),
        (SET_BITS, [OWNER, INDEX], u64(2)),
        (WRITE_LOCK, [OWNER, INDEX], b""),
        (READ_LOCK, [OWNER, INDEX], b""),
        (UNDEFINE, [OWNER, INDEX], b""),
    ):
        tpm.state.changed = False
        client.call(code, handles, content, [b""])
        assert tpm.state.changed, hex(code)
