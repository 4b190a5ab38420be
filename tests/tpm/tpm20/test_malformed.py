"""Malformed commands: the answer is the one that the specification names, and nothing changes."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from tests.tpm.tpm20.client import (
    CONTINUE,
    DECRYPT,
    NULL,
    OWNER,
    SHA256,
    Client,
    Clock,
    b2,
    ecc_storage,
    engine,
    execute_checked,
    hmac_key,
    octets,
    password,
    plain,
    rc,
    sealed,
    started,
    template,
    u8,
    u16,
    u32,
    with_area,
)
from tpm.tpm20 import Tpm

EXTEND, READ_PUBLIC, GET_RANDOM, CONTEXT_LOAD = 0x182, 0x173, 0x17B, 0x161


def everything(tpm: Tpm) -> tuple[Any, Any]:
    return tpm.state.save(), tpm.save_volatile()


def extend(parameters: bytes) -> bytes:
    return with_area(EXTEND, [0], password(), parameters)


def context(blob: bytes) -> bytes:
    return plain(CONTEXT_LOAD, [], bytes(8) + u32(0x80000000) + u32(NULL) + b2(blob))


CASES = {
    "bad tag": (octets("0000 0000000c 0000017b 0008"), 0x1E),
    "tag of TPM 1.2": (octets("00c1 0000000c 0000017b 0008"), 0x1E),
    "size too large": (octets("8001 0000000d 0000017b 0008"), 0x142),
    "size too small": (octets("8001 0000000b 0000017b 0008"), 0x142),
    "missing parameter": (plain(GET_RANDOM), 0x1DA),
    "half a parameter": (plain(GET_RANDOM, [], b"\0"), 0x1DA),
    "trailing octet": (plain(GET_RANDOM, [], u16(8) + b"\0"), 0x95),
    "unknown command": (plain(0x123), 0x143),
    "reserved command": (plain(0x11E), 0x143),
    "vendor command": (plain(0x20000001), 0x143),
    "no session where one is needed": (plain(EXTEND, [0], u32(0)), 0x125),
    "authSize 0": (octets("8002 00000012 00000182 00000000 00000000"), 0x95),
    "authSize 0xffffffff": (octets("8002 00000012 00000182 00000000 ffffffff"), 0x95),
    "no authSize": (octets("8002 0000000e 00000182 00000000"), 0x9A),
    "no handle": (plain(EXTEND), 0x19A),
    "count 0xffffffff": (extend(u32(0xFFFFFFFF)), 0x1D5),
    "bad hash algorithm": (extend(u32(1) + u16(0xBAD) + bytes(32)), 0x1C3),
    "short digest": (extend(u32(1) + u16(SHA256) + bytes(31)), 0x1DA),
    "oversize TPM2B": (with_area(0x13C, [0], password(), u16(1025) + bytes(1025)), 0x1D5),
    "overrunning TPM2B": (with_area(0x13C, [0], password(), u16(9) + bytes(8)), 0x1DA),
    "ContextLoad of junk": (context(b"junk"), 0x1D5),
    "ContextLoad of nothing": (context(b""), 0x1D5),
    "ContextLoad of zeros": (context(u16(64) + bytes(200)), 0x1DF),
    "ReadPublic of a PCR": (plain(READ_PUBLIC, [0]), 0x184),
    "ReadPublic of nothing": (plain(READ_PUBLIC, [0x80000000]), 0x910),
    "ReadPublic of no persistent object": (plain(READ_PUBLIC, [0x81000000]), 0x18B),
    "second Startup": (plain(0x144, [], u16(0)), 0x100),
    "sessions where none are allowed": (
        with_area(0x165, [], password(), u32(0x80000000)),
        0x145,
    ),
    "password with a nonce": (
        with_area(EXTEND, [0], u32(0x40000009) + b2(b"n") + u8(1) + b2(b""), u32(0)),
        0x98F,
    ),
    "password that encrypts": (
        with_area(EXTEND, [0], u32(0x40000009) + b2(b"") + u8(0x40) + b2(b""), u32(0)),
        0x982,
    ),
    "reserved session attribute": (
        with_area(EXTEND, [0], u32(0x40000009) + b2(b"") + u8(0x08) + b2(b""), u32(0)),
        0x9A1,
    ),
    "session that is not there": (
        with_area(EXTEND, [0], u32(0x02000000) + b2(b"") + u8(1) + b2(b""), u32(0)),
        0x918,
    ),
    "four sessions": (with_area(EXTEND, [0], password() * 4, u32(0)), 0xC95),
    "password for nothing": (with_area(EXTEND, [0], password() * 2, u32(0)), 0xA8B),
    "short session area": (with_area(EXTEND, [0], password()[:-1], u32(0)), 0x95),
    "cut password": (with_area(EXTEND, [0], password(b"abc")[:-1], u32(0)), 0x99A),
}


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_the_specified_one_and_nothing_changes(name: str) -> None:
    command, expected = CASES[name]
    tpm, client = started()
    before = everything(tpm)
    response = client.execute(command)
    assert hex(rc(response)) == hex(expected)
    assert len(response) == 10
    assert everything(tpm) == before


@pytest.mark.parametrize("size", range(10))
def test_less_than_a_header(size: int) -> None:
    _, client = started()
    for command in (plain(GET_RANDOM, [], u16(1))[:size], bytes(size), b"\xff" * size):
        assert rc(client.execute(command)) in (0x1E, 0x142, 0x9A)


def test_get_random_is_clamped() -> None:
    _, client = started()
    assert len(client.call(GET_RANDOM, [], u16(0xFFFF)).tpm2b()) == 64


def test_nothing_but_startup_before_startup() -> None:
    client = Client(execute_checked(engine()))
    assert rc(client.execute(plain(GET_RANDOM, [], u16(8)))) == 0x100


def test_parameter_decryption_of_a_short_or_overrunning_size() -> None:
    """CVE-2023-1017 and CVE-2023-1018: the first parameter has no size, or a false one."""
    tpm, client = started()
    session = client.start_session(symmetric=(6, 128))
    area = u32(session.handle) + b2(b"n" * 16) + u8(CONTINUE | DECRYPT) + b2(b"")
    before = everything(tpm)
    for parameters, expected in (
        (b"", 0x99A),
        (b"\0", 0x99A),
        (u16(1), 0x995),
        (u16(0xFFFF) + bytes(8), 0x995),
        (u16(9) + bytes(8), 0x995),
    ):
        command = with_area(0x13C, [16], area, parameters)
        assert hex(rc(client.execute(command))) == hex(expected)
    assert everything(tpm) == before


def test_a_keyed_hash_with_an_asymmetric_scheme() -> None:
    """CVE-2025-49133: RSA and ECC schemes in a keyed hash object."""
    _, client = started()
    for scheme in (0x14, 0x16, 0x18, 0x1A):
        public = template(8, 0x72 | 0x40000, u16(scheme) + u16(SHA256), b2(b""))
        command = with_area(
            0x131, [OWNER], password(), b2(b2(b"") * 2) + b2(public) + b2(b"") + u32(0)
        )
        assert rc(client.execute(command)) == 0x2C4


def test_mutated_commands_are_answered() -> None:
    """Flipped, cut, lengthened and spliced commands, from a fixed seed."""
    clock = Clock()
    tpm, client = started(clock)
    parent, _ = client.create_primary(ecc_storage())
    private, public = client.create(parent, sealed(), b"auth", b"secret")
    item = client.load(parent, private, public)
    session = client.start_session(symmetric=(6, 128))
    saved = client.call(0x162, [item]).parameters
    create = b2(b2(b"") * 2) + b2(hmac_key()) + b2(b"") + u32(0)
    area = u32(session.handle) + b2(b"n" * 16) + u8(CONTINUE) + b2(b"")
    seeds = [
        *[command for command, _ in CASES.values()],
        with_area(0x15E, [item], password(b"auth"), b""),
        with_area(0x153, [parent], password(), create),
        with_area(0x131, [OWNER], password(), create),
        with_area(0x182, [16], area, u32(1) + u16(SHA256) + bytes(32)),
        with_area(0x157, [parent], password(), b2(private) + b2(public)),
        plain(CONTEXT_LOAD, [], saved),
        plain(0x176, [NULL, item], b2(bytes(16)) + b2(b"") + u8(0) + u16(16) + u16(SHA256)),
        plain(0x17A, [], u32(6) + u32(0x100) + u32(50)),
        plain(0x162, [item]),
    ]
    dice = random.Random(20)
    for _ in range(4000):
        command = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(1, 4)):
            kind = dice.randrange(4)
            at = dice.randrange(len(command)) if command else 0
            if kind == 0 and command:
                command[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            elif kind == 1:
                del command[at : at + dice.randrange(1, 9)]
            elif kind == 2:
                command[at:at] = dice.randbytes(dice.randrange(1, 9))
            else:
                command = command[:at] + dice.choice(seeds)[at:]
        if dice.randrange(8) and len(command) >= 6:
            command[2:6] = u32(len(command))
        before = tpm.state.save()
        response = client.execute(bytes(command))
        if rc(response) and rc(response) & 0xBF != 0x8E:  # a failed authorization is counted
            assert tpm.state.save() == before
        clock.now += 1
        if not tpm.objects or not tpm.sessions:
            tpm.power_on()
            client.startup()
            client.create_primary(ecc_storage())
            client.load(parent, private, public)
            client.start_session(symmetric=(6, 128))


def test_random_octets_are_answered() -> None:
    _, client = started()
    dice = random.Random(4)
    for _ in range(500):
        rc(client.execute(dice.randbytes(dice.randrange(64))))
    for code in range(0x11F, 0x19B):
        for _ in range(8):
            body = os.urandom(dice.randrange(40))
            rc(client.execute(u16(0x8001) + u32(10 + len(body)) + u32(code) + body))
