"""Damaged commands: always a well-formed answer, never a defect, no change on error, no growth."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import resource
import struct

from tests.tpm.tpm20.client import (
    AUDIT,
    CONTINUE,
    DECRYPTS,
    FIXED,
    NO_DA,
    OWNER,
    SHA256,
    SIGNS,
    WITH_AUTH,
    Client,
    Failed,
    aes_key,
    b2,
    ecc_signing,
    ecc_storage,
    engine,
    hmac_key,
    rc,
    sealed,
    u8,
    u16,
    u32,
)
from tpm.tpm20 import Tpm

COUNT = int(os.environ.get("CLOISTER_TPM_MUTATIONS", "100000"))
"""How many commands."""
SEED = int(os.environ.get("CLOISTER_TPM_SEED", "1"))
GROWTH = 24 << 20
"""Octets that the process may have grown by in the end: caches of the library and of Python."""
_NV = 0x01500000
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
_WORDS = (b"\0\0", b"\xff\xff", b"\0\x0b", b"\0\x10", b"\x80\x01", b"\x80\x02", b"\x04\0")


def furnished() -> tuple[Tpm, list[bytes]]:
    """A TPM with something in it, and the commands that put it there and use it."""
    tpm = engine()
    sent: list[bytes] = []

    def execute(command: bytes) -> bytes:
        sent.append(command)
        return tpm.execute(command)

    client = Client(execute)
    client.startup()
    for public, data in ((ecc_signing(), b""), (sealed(), b"data"), (hmac_key(), b"")):
        handle, _ = client.create_primary(public, data=data)
        for code, content in (
            (0x15D, b2(bytes(32)) + u16(0x10) + u16(0x8024) + u32(0x40000007) + b2(b"")),
            (0x158, b2(b"q") + u16(0x10) + u32(1) + u16(SHA256) + u8(3) + b"\xff\0\0"),
            (0x15E, b""),
            (0x155, b2(b"data") + u16(SHA256)),
        ):
            try:
                client.call(code, [handle], content, [b""])
            except Failed:
                pass
        client.call(0x162, [handle])
        client.flush(handle)
    parent, _ = client.create_primary(ecc_storage())
    private, public = client.create(parent, aes_key(FIXED | WITH_AUTH | NO_DA | DECRYPTS | SIGNS))
    child = client.load(parent, private, public)
    client.call(0x164, [child], u8(0) + u16(0x43) + b2(bytes(16)) + b2(b"plain"), [b""])
    client.flush(child)
    attributes = 0x20000 | 0x40000 | 2 | 4 | 0x2000000
    area = u32(_NV) + u16(SHA256) + u32(attributes) + b2(b"") + u16(32)
    client.call(0x12A, [OWNER], b2(b"") + b2(area), [b""])
    client.call(0x137, [OWNER, _NV], b2(bytes(range(32))) + u16(0), [b""])
    client.call(0x14E, [OWNER, _NV], u16(32) + u16(0), [b""])
    session = client.start_session()
    session.attributes = CONTINUE | AUDIT
    client.call(0x17B, [], u16(8), [(session, b"")])
    policy = client.start_session(1)
    client.call(0x16C, [policy.handle], u32(0x15E))
    client.call(0x17F, [policy.handle], b2(b"") + u32(1) + u16(SHA256) + u8(3) + b"\1\0\0")
    client.call(0x189, [policy.handle])
    for code, handles, content, auths in (
        (0x182, [3], u32(1) + u16(SHA256) + bytes(32), [b""]),
        (0x17E, [], u32(1) + u16(SHA256) + u8(3) + b"\xff\xff\xff", []),
        (0x17D, [], b2(b"hash") + u16(SHA256) + u32(OWNER), []),
        (0x181, [], b"", []),
        (0x17A, [], u32(6) + u32(0x100) + u32(50), []),
        (0x143, [], u8(1), []),
        (0x17C, [], b"", []),
    ):
        client.call(code, handles, content, auths)
    return tpm, sent


def mutated(dice: random.Random, commands: list[bytes]) -> bytes:
    """One of the commands, damaged; mostly with a header that says its size."""
    command = bytearray(dice.choice(commands))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(command)) if command else 0
        match dice.randrange(8):
            case 0 if command:
                command[at] ^= 1 << dice.randrange(8)
            case 1 if command:
                command[at] = dice.choice(_INTERESTING)
            case 2:
                del command[at : at + dice.choice((1, 2, 4, 40))]
            case 3:
                command[at:at] = dice.randbytes(dice.choice((1, 2, 4, 40)))
            case 4:
                command[at : at + 2] = dice.choice(_WORDS)
            case 5:
                other = dice.choice(commands)
                command[at:] = other[dice.randrange(len(other)) :]
            case 6:
                command += dice.randbytes(dice.choice((1, 100, 4096)))
            case 7 if len(command) > 10:
                command[10:14] = dice.choice(commands)[10:14]
    if len(command) >= 6 and dice.random() < 0.9:
        command[2:6] = struct.pack(">I", len(command))
    return bytes(command)


def persistent(tpm: Tpm) -> bytes:
    """What non-volatile memory holds, but for what a failed authorization counts."""
    state = tpm.state
    kept = state.failed_tries, state.self_heal_timer, state.lockout_timer
    kept_more = state.lockout_auth_enabled, state.da_used, state.orderly, state.saved
    state.failed_tries = state.self_heal_timer = state.lockout_timer = 0
    state.lockout_auth_enabled, state.da_used, state.orderly, state.saved = True, False, 0, None
    try:
        return hashlib.sha256(repr(state.save()).encode()).digest()
    finally:
        state.failed_tries, state.self_heal_timer, state.lockout_timer = kept
        (state.lockout_auth_enabled, state.da_used, state.orderly, state.saved) = kept_more


def volatile(tpm: Tpm) -> tuple[object, ...]:
    """What a command that fails leaves as it was."""
    pcrs = tuple(tuple(values) for values in tpm.pcrs.values())
    reset = tpm.reset
    return pcrs, tuple(tpm.objects), tuple(tpm.sessions), reset.pcr_counter, reset.commit_counter


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_damaged_commands() -> None:
    dice = random.Random(SEED)
    tpm, commands = furnished()
    before, errors = 0, 0
    for number in range(COUNT):
        if number % 2000 == 0:  # what succeeded may have used things up
            tpm, commands = furnished()
        if number == COUNT // 4:
            gc.collect()
            before = peak()
        command = mutated(dice, commands)
        kept, also = persistent(tpm), volatile(tpm)
        response = tpm.execute(command)
        code = rc(response)
        assert tpm.fault is None, f"{command.hex()}\n{tpm.fault}"
        assert code != 0x101, command.hex()
        if code:
            errors += 1
            assert len(response) == 10
            assert persistent(tpm) == kept, command.hex()
            assert volatile(tpm) == also, command.hex()
    assert errors > COUNT // 2
    assert peak() - before < GROWTH
