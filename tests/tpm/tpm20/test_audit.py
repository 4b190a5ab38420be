"""Command audit and session audit (part 1, 30; part 3, 18.5, 18.6 and 21)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from tests.tpm.tpm20.client import (
    AUDIT,
    CONTINUE,
    DECRYPT,
    ENCRYPT,
    ENDORSEMENT,
    EXCLUSIVE,
    HASH,
    LOCKOUT,
    NULL,
    OWNER,
    PLATFORM,
    RESET,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    Client,
    Failed,
    Session,
    b2,
    ecc_signing,
    engine,
    execute_checked,
    sealed,
    u16,
    u32,
)
from tests.tpm.tpm20.oracle import AVAILABLE, Oracle
from tests.tpm.tpm20.test_against_swtpm import Scenario, Side, compare
from tpm.tpm20 import Tpm

SET_AUDIT, GET_COMMAND_AUDIT, GET_SESSION_AUDIT = 0x140, 0x133, 0x14D
GET_RANDOM, PCR_RESET, PCR_EVENT, CREATE_PRIMARY, HASH_COMMAND = 0x17B, 0x13D, 0x13C, 0x131, 0x17D
STARTUP, SHUTDOWN, GET_CAPABILITY, FLUSH, UNSEAL = 0x144, 0x145, 0x17A, 0x165, 0x15E
NO_ALG = 0x10
TWO = [b"", b""]
HANDLES = {SET_AUDIT: 1, GET_COMMAND_AUDIT: 2, GET_SESSION_AUDIT: 3, PCR_RESET: 1, PCR_EVENT: 1}
HANDLES |= {CREATE_PRIMARY: 1, UNSEAL: 1}
"""How many handles a command has, where it has any."""


@dataclass
class Witness:
    """What the audit digest must be, from what went over the wire alone."""

    tpm: Tpm
    audited: set[int] = field(default_factory=lambda: {SET_AUDIT})
    alg: int = SHA256
    digest: bytes = b""
    names: dict[int, bytes] = field(default_factory=dict)

    def execute(self, command: bytes) -> bytes:
        code = int.from_bytes(command[6:10], "big")
        names, cp = self._command(code, command)
        response = execute_checked(self.tpm)(command)
        if response[6:10] == bytes(4) and code in self.audited:
            at = 10 + 4 * (code == CREATE_PRIMARY)
            parameters = response[at:]
            if response[:2] == u16(0x8002):
                size = int.from_bytes(parameters[:4], "big")
                parameters = parameters[4 : 4 + size]
            self.extend(self.alg, u32(code) + names + cp, bytes(4) + u32(code) + parameters)
        return response

    def _command(self, code: int, command: bytes) -> tuple[bytes, bytes]:
        at = 10 + 4 * HANDLES.get(code, 0)
        handles = [int.from_bytes(command[i : i + 4], "big") for i in range(10, at, 4)]
        names = b"".join(self.names.get(handle, u32(handle)) for handle in handles)
        if command[:2] == u16(0x8002):
            at += 4 + int.from_bytes(command[at : at + 4], "big")
        return names, command[at:]

    def extend(self, alg: int, cp: bytes, rp: bytes) -> None:
        name = HASH[alg]
        hashes = hashlib.new(name, cp).digest() + hashlib.new(name, rp).digest()
        before = self.digest or bytes(hashlib.new(name).digest_size)
        self.digest = hashlib.new(name, before + hashes).digest()


class CommandAudit(NamedTuple):
    """TPMS_COMMAND_AUDIT_INFO."""

    counter: int
    alg: int
    digest: bytes
    commands: bytes


def _take(octets: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int.from_bytes(octets[at : at + 2], "big")
    return octets[at + 2 : end], end


def attested(attest: bytes) -> bytes:
    """What follows the head of a TPMS_ATTEST."""
    at = 6
    for _ in range(2):
        _, at = _take(attest, at)
    return attest[at + 17 + 8 :]


def command_audit(client: Client, sign: int = NULL) -> CommandAudit:
    reply = client.call(GET_COMMAND_AUDIT, [ENDORSEMENT, sign], b2(b"") + u16(NO_ALG), TWO)
    info = attested(reply.tpm2b())
    digest, at = _take(info, 10)
    commands, end = _take(info, at)
    assert end == len(info)
    counter, alg = int.from_bytes(info[:8], "big"), int.from_bytes(info[8:10], "big")
    return CommandAudit(counter, alg, digest, commands)


def session_audit(client: Client, session: Session) -> tuple[bool, bytes]:
    """Whether it is exclusive, and its digest."""
    handles = [ENDORSEMENT, NULL, session.handle]
    reply = client.call(GET_SESSION_AUDIT, handles, b2(b"") + u16(NO_ALG), TWO)
    info = attested(reply.tpm2b())
    assert info[0] in (0, 1)
    return bool(info[0]), _take(info, 1)[0]


def status(alg: int = NO_ALG, first: Sequence[int] = (), second: Sequence[int] = ()) -> bytes:
    lists = (u32(len(one)) + b"".join(map(u32, one)) for one in (first, second))
    return u16(alg) + b"".join(lists)


def set_audit(
    client: Client, alg: int = NO_ALG, first: Sequence[int] = (), second: Sequence[int] = ()
) -> None:
    client.call(SET_AUDIT, [OWNER], status(alg, first, second), [b""])


def audited(client: Client) -> list[int]:
    """TPM_CAP_AUDIT_COMMANDS."""
    reply = client.call(GET_CAPABILITY, [], u32(4) + u32(0) + u32(255)).parameters
    return [int.from_bytes(reply[at : at + 4], "big") for at in range(9, len(reply), 4)]


@pytest.fixture
def witnessed() -> tuple[Witness, Client]:
    """A started TPM with somebody who looks at its wire."""
    witness = Witness(engine())
    client = Client(witness.execute, witness.names)
    client.startup()
    return witness, client


def watch(witness: Witness, client: Client, *codes: int) -> None:
    """Audit these commands too."""
    set_audit(client, NO_ALG, codes)
    witness.audited |= set(codes)


Witnessed = tuple[Witness, Client]


# Which commands are audited.


def test_at_first_only_changes_of_the_list_are_audited(witnessed: Witnessed) -> None:
    _, client = witnessed
    commands = hashlib.sha256(u32(SET_AUDIT)).digest()
    assert command_audit(client) == CommandAudit(0, SHA256, b"", commands)
    assert audited(client) == [SET_AUDIT]


def test_the_list_is_set_first_and_cleared_then(witnessed: Witnessed) -> None:
    _, client = witnessed
    set_audit(client, NO_ALG, [GET_RANDOM, PCR_EVENT, UNSEAL], [UNSEAL])
    assert audited(client) == [PCR_EVENT, SET_AUDIT, GET_RANDOM]
    set_audit(client, SHA256, [], [PCR_EVENT])
    assert audited(client) == [SET_AUDIT, GET_RANDOM]
    expected = hashlib.sha256(u32(SET_AUDIT) + u32(GET_RANDOM)).digest()
    assert command_audit(client).commands == expected


def test_unknown_commands_shutdown_and_the_command_itself(witnessed: Witnessed) -> None:
    witness, client = witnessed
    set_audit(client, NO_ALG, [0, 0x123, 0x20000000, 0xFFFFFFFF, SHUTDOWN], [SET_AUDIT, 0xDEAD])
    assert audited(client) == [SET_AUDIT]
    assert command_audit(client).digest == witness.digest


@pytest.mark.parametrize("lists", [([GET_RANDOM], []), ([], [GET_RANDOM])])
def test_the_algorithm_changes_alone(witnessed: Witnessed, lists: tuple[list[int], ...]) -> None:
    witness, client = witnessed
    before = witness.tpm.state.save()
    with pytest.raises(Failed) as failure:
        set_audit(client, SHA1, *lists)
    assert failure.value.code == 0x1C4
    assert witness.tpm.state.save() == before


def test_who_may_change_the_list(witnessed: Witnessed) -> None:
    _, client = witnessed
    client.call(SET_AUDIT, [PLATFORM], status(NO_ALG, [GET_RANDOM]), [b""])
    for handle in (ENDORSEMENT, LOCKOUT, NULL):
        with pytest.raises(Failed) as failure:
            client.call(SET_AUDIT, [handle], status(), [b""])
        assert failure.value.code == 0x184
    assert audited(client) == [SET_AUDIT, GET_RANDOM]


# What the digest is.


@pytest.mark.parametrize("alg", [SHA1, SHA256, SHA384, SHA512])
def test_the_digest_is_extended_by_each_success(witnessed: Witnessed, alg: int) -> None:
    witness, client = witnessed
    for one in (SHA384, SHA256) if alg == SHA256 else (alg,):
        set_audit(client, one)
    witness.alg, witness.digest = alg, b""
    watch(witness, client, GET_RANDOM, PCR_RESET, CREATE_PRIMARY)
    client.call(GET_RANDOM, [], u16(8))
    client.call(PCR_RESET, [16], b"", [b""])
    client.create_primary(sealed(), data=b"data")
    for content in (b"", u16(8) + b"more"):
        with pytest.raises(Failed):
            client.call(GET_RANDOM, [], content)
    client.call(HASH_COMMAND, [], b2(b"not audited") + u16(SHA256) + u32(NULL))
    assert command_audit(client)[:3] == (1, alg, witness.digest)


def test_what_was_encrypted_is_audited_encrypted(witnessed: Witnessed) -> None:
    witness, client = witnessed
    watch(witness, client, PCR_EVENT, UNSEAL, GET_RANDOM)
    item, _ = client.create_primary(sealed(), auth=b"auth", data=b"secret")
    session = client.start_session(symmetric=(6, 128))
    session.attributes = CONTINUE | DECRYPT
    client.call(PCR_EVENT, [16], b2(b"event"), [(session, b"")])
    session.attributes = CONTINUE | ENCRYPT
    assert client.call(UNSEAL, [item], b"", [(session, b"auth")]).tpm2b() == b"secret"
    session.attributes = ENCRYPT | AUDIT
    client.call(GET_RANDOM, [], u16(8), [(session, b"")])
    assert command_audit(client).digest == witness.digest


def test_another_algorithm_begins_a_digest_that_does_not_have_the_change(
    witnessed: Witnessed,
) -> None:
    witness, client = witnessed
    watch(witness, client, GET_RANDOM)
    set_audit(client, SHA512)
    assert command_audit(client)[:3] == (1, SHA512, b"")
    witness.alg, witness.digest = SHA512, b""
    client.call(GET_RANDOM, [], u16(1))
    assert command_audit(client)[:3] == (2, SHA512, witness.digest)


# When it begins anew.


def test_a_signed_report_ends_the_digest(witnessed: Witnessed) -> None:
    witness, client = witnessed
    watch(witness, client, GET_RANDOM)
    key, _ = client.create_primary(ecc_signing(), ENDORSEMENT)
    assert (
        command_audit(client)[:3] == command_audit(client, key)[:3] == (1, SHA256, witness.digest)
    )
    assert command_audit(client)[:3] == (1, SHA256, b"")
    witness.digest = b""
    client.call(GET_RANDOM, [], u16(1))
    assert command_audit(client)[:3] == (2, SHA256, witness.digest)


def test_a_report_that_is_audited_is_in_the_digest_after_it(witnessed: Witnessed) -> None:
    witness, client = witnessed
    watch(witness, client, GET_COMMAND_AUDIT)
    key, _ = client.create_primary(ecc_signing(), ENDORSEMENT)
    for counter in (1, 2, 3):
        expected = witness.digest
        witness.digest = b""
        assert command_audit(client, key)[:3] == (counter, SHA256, expected)


def test_which_restarts_the_digest_outlives(witnessed: Witnessed) -> None:
    witness, client = witnessed
    watch(witness, client, GET_RANDOM)
    for startup in (1, 0):  # TPM Resume, TPM Restart
        client.call(SHUTDOWN, [], u16(1))
        witness.tpm.power_on()
        client.startup(startup)
        client.call(GET_RANDOM, [], u16(1))
        assert command_audit(client)[:3] == (1, SHA256, witness.digest)
    client.call(SHUTDOWN, [], u16(0))
    witness.tpm.power_on()
    client.startup()
    assert command_audit(client)[:3] == (1, SHA256, b"")
    assert audited(client) == [SET_AUDIT, GET_RANDOM]


def test_a_resume_takes_no_entry_back(witnessed: Witnessed) -> None:
    witness, client = witnessed
    watch(witness, client, GET_RANDOM)
    client.call(SHUTDOWN, [], u16(1))
    client.call(GET_RANDOM, [], u16(1))
    witness.tpm.power_on()
    with pytest.raises(Failed):
        client.startup(1)
    client.startup(0)
    assert command_audit(client)[:3] == (1, SHA256, b"")


def test_a_startup_that_is_audited_begins_the_digest(witnessed: Witnessed) -> None:
    witness, client = witnessed
    watch(witness, client, STARTUP)
    witness.tpm.power_on()
    witness.digest = b""
    client.startup()
    assert command_audit(client)[:3] == (2, SHA256, witness.digest)


def test_the_digest_moves_with_the_tpm(witnessed: Witnessed) -> None:
    witness, client = witnessed
    watch(witness, client, GET_RANDOM)
    volatile = witness.tpm.save_volatile()
    witness.tpm.power_on()
    witness.tpm.restore_volatile(volatile)
    assert command_audit(client).digest == witness.digest


# Audit sessions.


def use(client: Client, session: Session, bits: int = AUDIT, code: int = GET_RANDOM) -> None:
    session.attributes = CONTINUE | bits
    client.call(code, [], u16(0), [(session, b"")])


def not_exclusive(client: Client, session: Session) -> bool:
    """The TPM says that it is not; a refused command changes nothing about it."""
    try:
        use(client, session, AUDIT | EXCLUSIVE)
    except Failed as error:
        assert error.code == 0x121
        return True
    return False


@pytest.mark.parametrize("alg", [SHA1, SHA256, SHA384, SHA512])
def test_the_digest_of_an_audit_session(witnessed: Witnessed, alg: int) -> None:
    witness, client = witnessed
    witness.audited, witness.alg = {GET_RANDOM, PCR_EVENT}, alg
    session = client.start_session(hash_alg=alg, symmetric=(6, 128))
    session.attributes = CONTINUE | AUDIT | DECRYPT
    client.call(PCR_EVENT, [16], b2(b"event"), [b"", (session, b"")])
    use(client, session, AUDIT | ENCRYPT)
    use(client, session, AUDIT | EXCLUSIVE)
    assert session_audit(client, session)[1] == witness.digest
    witness.digest = b""
    use(client, session, AUDIT | RESET)
    assert session_audit(client, session)[1] == witness.digest


def test_a_session_that_audits_nothing_has_no_report(witnessed: Witnessed) -> None:
    _, client = witnessed
    session = client.start_session()
    with pytest.raises(Failed) as failure:
        session_audit(client, session)
    assert failure.value.code == 0x38A


def test_the_first_use_and_a_reset_make_a_session_exclusive(witnessed: Witnessed) -> None:
    _, client = witnessed
    one, other = client.start_session(), client.start_session()
    use(client, one)
    assert not not_exclusive(client, one)
    use(client, other)
    assert not_exclusive(client, one)
    assert not not_exclusive(client, other)
    use(client, one, AUDIT | RESET | EXCLUSIVE)
    assert not not_exclusive(client, one)
    assert not_exclusive(client, other)
    # Its use ended the other's exclusivity without becoming exclusive itself.
    use(client, other)
    assert not_exclusive(client, one)
    assert not_exclusive(client, other)


def test_any_command_without_it_ends_exclusivity(witnessed: Witnessed) -> None:
    _, client = witnessed
    session = client.start_session()
    use(client, session)
    with pytest.raises(Failed):
        client.call(GET_RANDOM, [], b"")
    assert not not_exclusive(client, session)
    saved = client.call(0x162, [session.handle]).parameters
    client.call(0x161, [], saved, handle_out=True)
    assert not not_exclusive(client, session), "commands that take no session do not count"
    client.call(GET_RANDOM, [], u16(0))
    assert not_exclusive(client, session)
    use(client, session, AUDIT | RESET)
    client.call(PCR_RESET, [16], b"", [b""])
    assert not_exclusive(client, session)


def test_an_exclusive_session_that_ends(witnessed: Witnessed) -> None:
    _, client = witnessed
    session = client.start_session()
    use(client, session)
    session.attributes = AUDIT
    client.call(GET_RANDOM, [], u16(0), [(session, b"")])
    following = client.start_session()
    assert following.handle == session.handle
    use(client, following)
    assert not not_exclusive(client, following)


# Against swtpm.


def _digest(side: Side, *sign: int) -> None:
    handles = [ENDORSEMENT, *(sign or (NULL,))]
    reply = side.step("digest", GET_COMMAND_AUDIT, handles, b2(b"") + u16(NO_ALG), TWO)
    if reply:
        side.same("digest", attested(reply.tpm2b()))


def commands(side: Side) -> None:
    def change(name: str, content: bytes, handle: int = OWNER) -> None:
        side.step(name, SET_AUDIT, [handle], content, [b""])
        side.capability(4, 0)

    # The algorithm to begin with is each TPM's own.
    change("another", status(SHA384))
    change("algorithm", status(SHA256))
    _digest(side)
    change("nothing", status())
    _digest(side)
    some = [GET_RANDOM, SHUTDOWN, STARTUP, GET_CAPABILITY, 0xDEAD, SET_AUDIT, 0x123, 0x20000000]
    change("some", status(NO_ALG, some, [GET_CAPABILITY, 0xDEAD]))
    _digest(side)
    for content in (u16(0), u16(0) + b"x", u16(0)):
        side.step("random", GET_RANDOM, [], content)
        _digest(side)
    change("algorithm and list", status(SHA1, [GET_RANDOM]))
    change("algorithm and clear", status(SHA1, [], [GET_RANDOM]))
    for alg in (0x99, 0x12, 0):
        change("bad algorithm", status(alg))
    change("same algorithm", status(SHA256, [HASH_COMMAND]))
    _digest(side)
    change("by the platform", status(NO_ALG, [UNSEAL], [SET_AUDIT, UNSEAL]), PLATFORM)
    for handle in (LOCKOUT, ENDORSEMENT, NULL):
        change("by others", status(), handle)
    for first, second in ((0, 255), (254, 0), (255, 0)):
        change("long", status(NO_ALG, [GET_RANDOM] * first, [GET_RANDOM] * second))
    change("cut", status()[:-1])
    change("longer", status() + b"x")
    side.step("no auth", SET_AUDIT, [OWNER], status())
    _digest(side)


def restarts(side: Side) -> None:
    side.step("another", SET_AUDIT, [OWNER], status(SHA384), [b""])
    side.step("algorithm", SET_AUDIT, [OWNER], status(SHA256), [b""])
    side.step("list", SET_AUDIT, [OWNER], status(NO_ALG, [GET_RANDOM, STARTUP]), [b""])
    for shutdown, startup in ((1, 1), (1, 0), (0, 0), (None, 0)):
        if shutdown is not None:
            side.step("shutdown", SHUTDOWN, [], u16(shutdown))
        side.power_on()
        side.step("startup", STARTUP, [], u16(startup))
        _digest(side)
        side.step("random", GET_RANDOM, [], u16(0))
        _digest(side)
    side.step("clear", 0x126, [PLATFORM], b"", [b""])
    side.capability(4, 0)
    side.capability(6, 0x213, 2)
    _digest(side)


def signed(side: Side) -> None:
    side.step("another", SET_AUDIT, [OWNER], status(SHA384), [b""])
    side.step("algorithm", SET_AUDIT, [OWNER], status(SHA256), [b""])
    listed = [GET_RANDOM]
    key, _ = side.client.create_primary(ecc_signing(), ENDORSEMENT)
    side.step("list", SET_AUDIT, [OWNER], status(NO_ALG, listed), [b""])
    for sign in (NULL, key, NULL, key):
        _digest(side, sign)
        _digest(side)
        side.step("random", GET_RANDOM, [], u16(0))


def exclusivity(side: Side) -> None:
    client = side.client
    one, other = client.start_session(), client.start_session(hash_alg=SHA1)

    def step(session: Session, bits: int) -> None:
        session.attributes = CONTINUE | bits
        side.step(f"{bits:02x}", GET_RANDOM, [], u16(0), [(session, b"")])

    def ask(session: Session) -> None:
        step(session, AUDIT | EXCLUSIVE)

    for session, bits in (
        *[(one, AUDIT), (one, AUDIT | EXCLUSIVE), (other, AUDIT), (one, AUDIT | EXCLUSIVE)],
        *[(other, AUDIT | EXCLUSIVE), (one, AUDIT), (other, AUDIT | EXCLUSIVE)],
        *[(one, AUDIT | RESET | EXCLUSIVE), (one, AUDIT | EXCLUSIVE), (other, EXCLUSIVE)],
        *[(other, RESET), (other, EXCLUSIVE | ENCRYPT), (other, RESET | DECRYPT)],
        *[(other, AUDIT | RESET), (one, AUDIT | EXCLUSIVE)],
    ):
        step(session, bits)
    for code, handles, content, auths in (
        (GET_RANDOM, [], u16(0), []),
        (GET_RANDOM, [], b"", []),
        (FLUSH, [], u32(0x02000005), []),
        (FLUSH, [], u32(other.handle), []),
        (PCR_RESET, [16], b"", [b""]),
        (PCR_RESET, [0], b"", [b""]),
        (0x162, [one.handle], b"", []),
    ):
        step(one, AUDIT | RESET)
        reply = side.step(hex(code), code, handles, content, auths)
        if code == 0x162 and reply:
            side.step("load", 0x161, [], reply.parameters, handle_out=True)
        ask(one)
    policy = client.start_session(1)
    step(policy, AUDIT)
    other = client.start_session()
    step(other, AUDIT | RESET)
    one.attributes = other.attributes = CONTINUE | AUDIT
    side.step("both", GET_RANDOM, [], u16(0), [(one, b""), (other, b"")])
    for session in (one, other, policy):
        handles = [ENDORSEMENT, NULL, session.handle]
        reply = side.step("report", GET_SESSION_AUDIT, handles, b2(b"") + u16(NO_ALG), TWO)
        if reply:
            side.same("exclusive", attested(reply.tpm2b())[:1])


@pytest.mark.skipif(not AVAILABLE, reason="swtpm is not installed")
@pytest.mark.parametrize("scenario", [commands, restarts, signed, exclusivity])
def test_against_swtpm(scenario: Scenario) -> None:
    with Oracle() as oracle:
        compare(scenario, oracle)
