"""NV commands for tests, on top of `client.py`."""

from __future__ import annotations

from tests.tpm.tpm20.client import OWNER, SHA256, Client, b2, u16, u32, u64

DEFINE, UNDEFINE, SPECIAL, READ_PUBLIC = 0x12A, 0x122, 0x11F, 0x169
WRITE, INCREMENT, EXTEND, SET_BITS = 0x137, 0x134, 0x136, 0x135
WRITE_LOCK, GLOBAL_LOCK, READ, READ_LOCK, CHANGE_AUTH = 0x138, 0x132, 0x14E, 0x14F, 0x13B

PPWRITE, OWNERWRITE, AUTHWRITE, POLICYWRITE = 1, 2, 4, 8
COUNTER, BITS, EXTENDED, PIN_FAIL, PIN_PASS = 0x10, 0x20, 0x40, 0x80, 0x90
POLICY_DELETE, WRITEALL, WRITEDEFINE, WRITE_STCLEAR = 1 << 10, 1 << 12, 1 << 13, 1 << 14
GLOBALLOCK, PPREAD, OWNERREAD, AUTHREAD = 1 << 15, 1 << 16, 1 << 17, 1 << 18
POLICYREAD, NV_NO_DA, ORDERLY, CLEAR_STCLEAR = 1 << 19, 1 << 25, 1 << 26, 1 << 27
WRITTEN, PLATFORMCREATE, READ_STCLEAR = 1 << 29, 1 << 30, 1 << 31
WRITELOCKED, READLOCKED = 1 << 11, 1 << 28
BY_OWNER = OWNERWRITE | OWNERREAD
BY_AUTH = AUTHWRITE | AUTHREAD

INDEX = 0x01000010


def public(
    bits: int, size: int = 8, policy: bytes = b"", index: int = INDEX, name_alg: int = SHA256
) -> bytes:
    """A TPM2B_NV_PUBLIC."""
    return b2(u32(index) + u16(name_alg) + u32(bits) + b2(policy) + u16(size))


def define(
    client: Client,
    bits: int,
    size: int = 8,
    auth: bytes = b"",
    policy: bytes = b"",
    index: int = INDEX,
    by: int = OWNER,
    name_alg: int = SHA256,
) -> None:
    """NV_DefineSpace; the client knows the Index's Name then."""
    client.call(DEFINE, [by], b2(auth) + public(bits, size, policy, index, name_alg), [b""])
    attributes(client, index)


def attributes(client: Client, index: int = INDEX) -> int:
    """TPMA_NV as NV_ReadPublic gives it; the Name that comes with it is kept."""
    reply = client.call(READ_PUBLIC, [index])
    client.names[index] = reply.tpm2b(1)
    return int.from_bytes(reply.tpm2b(0)[6:10], "big")


def write(
    client: Client,
    content: bytes,
    offset: int = 0,
    by: int = OWNER,
    auth: bytes = b"",
    index: int = INDEX,
) -> None:
    client.call(WRITE, [by, index], b2(content) + u16(offset), [auth])
    attributes(client, index)


def read(
    client: Client,
    size: int = 8,
    offset: int = 0,
    by: int = OWNER,
    auth: bytes = b"",
    index: int = INDEX,
) -> bytes:
    return client.call(READ, [by, index], u16(size) + u16(offset), [auth]).tpm2b()


def increment(client: Client, index: int = INDEX) -> int:
    """NV_Increment, and the count after it."""
    client.call(INCREMENT, [OWNER, index], b"", [b""])
    attributes(client, index)
    return int.from_bytes(read(client, index=index), "big")


def set_bits(client: Client, bits: int) -> int:
    """NV_SetBits, and the bits after it."""
    client.call(SET_BITS, [OWNER, INDEX], u64(bits), [b""])
    attributes(client)
    return int.from_bytes(read(client), "big")


def undefine(client: Client, index: int = INDEX, by: int = OWNER) -> None:
    client.call(UNDEFINE, [by, index], b"", [b""])
