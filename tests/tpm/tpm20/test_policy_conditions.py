"""What a command must meet to be authorized by a policy (part 1, 19.7)."""

from __future__ import annotations

import pytest

from tests.tpm.tpm20.client import (
    DECRYPT,
    OWNER,
    SHA1,
    SHA256,
    Client,
    Session,
    b2,
    hmac_key,
    started,
    u16,
    u32,
)
from tests.tpm.tpm20.nv_client import (
    BY_OWNER,
    INDEX,
    POLICYREAD,
    POLICYWRITE,
    define,
    write,
)
from tests.tpm.tpm20.nv_client import attributes as nv_attributes
from tests.tpm.tpm20.policy_client import (
    AUTH_VALUE,
    CHANGE_AUTH,
    COMMAND_CODE,
    CP_HASH,
    DUPLICATION,
    LOCALITY,
    NAME_HASH,
    NOTHING,
    PASSWORD,
    PCR,
    PCR_0,
    PRESENCE,
    RESTART,
    SET_POLICY,
    TEMPLATE,
    WRITTEN,
    Step,
    do,
    guard,
    refused,
    sha256,
    trial,
    use,
)


@pytest.fixture
def client() -> Client:
    return started()[1]


_H = b"h" * 32
# What the later command must meet. The owner's policy guards HierarchyChangeAuth.


_CP = sha256(u32(CHANGE_AUTH) + u32(OWNER) + NOTHING)
_MET: dict[str, Step] = {
    "cpHash": (CP_HASH, b2(_CP)),
    "nameHash": (NAME_HASH, b2(sha256(u32(OWNER)))),
    "command code": (COMMAND_CODE, u32(CHANGE_AUTH)),
    "locality": (LOCALITY, b"\x05"),
    "PCR": (PCR, NOTHING + PCR_0),
}
_NOT_MET: dict[str, tuple[Step, int]] = {
    "cpHash": ((CP_HASH, b2(_H)), 0x99D),
    "nameHash": ((NAME_HASH, b2(_H)), 0x99D),
    "template": ((TEMPLATE, b2(_H)), 0x99D),
    "command code": ((COMMAND_CODE, u32(SET_POLICY)), 0x9A4),
    "duplication": ((DUPLICATION, NOTHING * 2 + b"\0"), 0x9A4),
    "locality": ((LOCALITY, b"\x02"), 0x907),
    "extended locality": ((LOCALITY, b"\x20"), 0x907),
    "presence": ((PRESENCE, b""), 0x990),
    "written": ((WRITTEN, b"\1"), 0x99D),
    "not written": ((WRITTEN, b"\0"), 0x99D),
}


@pytest.mark.parametrize("name", _MET)
def test_a_condition_that_is_met(client: Client, name: str) -> None:
    guard(client, _MET[name])
    session = client.start_session(kind=1)
    do(client, session, _MET[name])
    use(client, session)
    with refused(0x99D):
        use(client, session)


@pytest.mark.parametrize("name", _NOT_MET)
def test_a_condition_that_is_not_met(client: Client, name: str) -> None:
    step, code = _NOT_MET[name]
    guard(client, step)
    session = client.start_session(kind=1)
    do(client, session, step)
    with refused(code):
        use(client, session)


def test_a_session_of_another_hash_does_not_authorize(client: Client) -> None:
    guard(client)
    with refused(0x99D):
        use(client, client.start_session(kind=1, hash_alg=SHA1))
    use(client, client.start_session(kind=1))


@pytest.mark.parametrize(("locality", "mask"), [(0, 1), (1, 2), (3, 8), (4, 16), (32, 32)])
def test_locality(locality: int, mask: int) -> None:
    tpm, client = started()
    guard(client, (LOCALITY, bytes((mask,))))
    session = client.start_session(kind=1)
    for at, works in ((2, False), (33, False), (locality, True)):
        client.execute = lambda command, at=at: tpm.execute(command, at)  # type: ignore[misc]
        client.call(RESTART, [session.handle])
        do(client, session, (LOCALITY, bytes((mask,))))
        if works:
            use(client, session)
        else:
            with refused(0x907):
                use(client, session)


def test_physical_presence() -> None:
    tpm, client = started()
    guard(client, (PRESENCE, b""))
    session = client.start_session(kind=1)
    do(client, session, (PRESENCE, b""))
    with refused(0x990):
        use(client, session)
    tpm.physical_presence = lambda: True
    use(client, session)


def test_pcrs_that_changed_after_the_policy(client: Client) -> None:
    step = _MET["PCR"]
    guard(client, step)
    session = client.start_session(kind=1)
    do(client, session, step)
    client.call(0x182, [1], u32(1) + u16(SHA256) + bytes(32), [b""])
    with refused(0x128):
        use(client, session)
    with refused(0x128):
        do(client, session, step)
    client.call(RESTART, [session.handle])
    do(client, session, step)
    use(client, session)


def test_auth_value_and_password(client: Client) -> None:
    guard(client, (AUTH_VALUE, b""))
    client.call(CHANGE_AUTH, [OWNER], b2(b"auth"), [b""])

    def guarded(session: Session, auth: bytes) -> None:
        parameters = b2(trial(client, (AUTH_VALUE, b""))) + u16(SHA256)
        client.call(SET_POLICY, [OWNER], parameters, [(session, auth)])

    for code in (AUTH_VALUE, PASSWORD):
        session = client.start_session(kind=1)
        session.no_auth, session.password = code != AUTH_VALUE, code == PASSWORD
        do(client, session, (code, b""))
        with refused(0x9A2):
            guarded(session, b"wrong")
        guarded(session, b"auth")
        client.flush(session.handle)


def test_the_last_of_auth_value_and_password_decides(client: Client) -> None:
    for first, last in ((PASSWORD, AUTH_VALUE), (AUTH_VALUE, PASSWORD)):
        guard(client, (first, b""), (last, b""))
        session = client.start_session(kind=1)
        session.no_auth, session.password = last == PASSWORD, last == PASSWORD
        do(client, session, (first, b""), (last, b""))
        with refused(0x9A2):
            use(client, session, b"wrong")
        use(client, session)


@pytest.mark.parametrize("encrypted", [False, True])
def test_template(client: Client, encrypted: bool) -> None:
    public = hmac_key()
    step = (TEMPLATE, b2(sha256(public)))
    guard(client, step)
    session = client.start_session(kind=1, symmetric=(6, 128))
    if encrypted:
        session.attributes |= DECRYPT
    for given, works in ((hmac_key(0x40472 ^ 0x400), False), (public, True)):
        client.call(RESTART, [session.handle])
        do(client, session, step)
        content = b2(NOTHING * 2) + b2(given) + NOTHING + u32(0)
        if works:
            client.call(0x131, [OWNER], content, [(session, b"")], handle_out=True)
        else:
            with refused(0x99D):
                client.call(0x131, [OWNER], content, [(session, b"")], handle_out=True)


@pytest.mark.parametrize("written", [False, True])
def test_nv_written(client: Client, written: bool) -> None:
    step = (WRITTEN, bytes((written,)))
    bits = BY_OWNER | POLICYWRITE | POLICYREAD
    define(client, bits, policy=trial(client, step))
    if written:
        write(client, b"12345678")
    session = client.start_session(kind=1)
    content = b2(b"x") + u16(0)
    do(client, session, step)
    client.call(0x137, [INDEX, INDEX], content, [(session, b"")])
    nv_attributes(client)
    do(client, session, step)
    if written:
        client.call(0x137, [INDEX, INDEX], content, [(session, b"")])
    else:
        with refused(0x99D):
            client.call(0x137, [INDEX, INDEX], content, [(session, b"")])
