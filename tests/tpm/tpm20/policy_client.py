"""Policies for tests, on top of `client.py`."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager

import pytest

from tests.tpm.tpm20.client import (
    OWNER,
    SHA256,
    Client,
    Failed,
    Session,
    b2,
    octets,
    u16,
    u32,
)

RESTART, GET_DIGEST, SET_POLICY, CHANGE_AUTH = 0x180, 0x189, 0x12E, 0x129
SIGNED, SECRET, TICKET, OR, PCR, LOCALITY = 0x160, 0x151, 0x172, 0x171, 0x17F, 0x16F
NV, TIMER, COMMAND_CODE, PRESENCE = 0x149, 0x16D, 0x16C, 0x187
CP_HASH, NAME_HASH, DUPLICATION, AUTHORIZE = 0x16E, 0x170, 0x188, 0x16A
AUTH_VALUE, PASSWORD, WRITTEN, TEMPLATE, AUTHORIZE_NV = 0x16B, 0x18C, 0x18F, 0x190, 0x192

NOTHING = b2(b"")
PCR_0 = u32(1) + u16(SHA256) + octets("03010000")
Step = tuple[int, bytes]


def refused(code: int) -> AbstractContextManager[object]:
    return pytest.raises(Failed, match=f"^{code:#x}$")


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def digest(client: Client, session: Session) -> bytes:
    return client.call(GET_DIGEST, [session.handle]).tpm2b()


def do(client: Client, session: Session, *steps: Step) -> bytes:
    """Policy commands without handles of their own, and the digest after them."""
    for code, content in steps:
        client.call(code, [session.handle], content)
    return digest(client, session)


def trial(client: Client, *steps: Step) -> bytes:
    session = client.start_session(kind=3)
    result = do(client, session, *steps)
    client.flush(session.handle)
    return result


def guard(client: Client, *steps: Step) -> None:
    client.call(SET_POLICY, [OWNER], b2(trial(client, *steps)) + u16(SHA256), [b""])


def use(client: Client, session: Session, auth: bytes = b"") -> None:
    """HierarchyChangeAuth to the Empty Buffer by the owner's policy."""
    client.call(CHANGE_AUTH, [OWNER], NOTHING, [(session, auth)])
