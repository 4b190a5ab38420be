"""PolicySigned, PolicySecret and PolicyTicket: what an entity authorizes, and for how long."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from tests.tpm.tpm20.client import (
    LOCKOUT,
    NULL,
    OWNER,
    SHA1,
    SHA256,
    SHA512,
    Client,
    Clock,
    Session,
    b2,
    execute_checked,
    started,
    template,
    u16,
    u32,
    u64,
)
from tests.tpm.tpm20.nv_client import (
    BY_OWNER,
    INDEX,
    NV_NO_DA,
    PIN_PASS,
    define,
    write,
)
from tests.tpm.tpm20.policy_client import (
    CHANGE_AUTH,
    NOTHING,
    RESTART,
    SECRET,
    SET_POLICY,
    SIGNED,
    TICKET,
    digest,
    guard,
    refused,
    sha256,
    use,
)
from tpm.tpm20 import Tpm


@pytest.fixture
def client() -> Client:
    return started()[1]


_H = b"h" * 32
_CP = sha256(u32(CHANGE_AUTH) + u32(OWNER) + NOTHING)
# Authorizations by an entity: PolicySigned, PolicySecret, PolicyTicket.

_RSA = rsa.generate_private_key(65537, 2048)
_ECC = ec.generate_private_key(ec.SECP256R1())
_CLASSES: dict[int, Callable[[], hashes.HashAlgorithm]] = {
    SHA1: hashes.SHA1,
    SHA256: hashes.SHA256,
    SHA512: hashes.SHA512,
}
_NONE = u16(0x10)


def _rsa_public() -> bytes:
    modulus = _RSA.public_key().public_numbers().n.to_bytes(256, "big")
    return template(1, 0x40040, _NONE + _NONE + u16(2048) + u32(0), b2(modulus))


def _ecc_public() -> bytes:
    numbers = _ECC.public_key().public_numbers()
    point = b2(numbers.x.to_bytes(32, "big")) + b2(numbers.y.to_bytes(32, "big"))
    return template(0x23, 0x40040, _NONE + _NONE + u16(3) + _NONE, point)


def _hmac_public() -> bytes:
    unique = sha256(b"s" * 32 + b"k" * 32)
    return template(8, 0x40040, u16(5) + u16(SHA256), b2(unique))


_HMAC_PRIVATE = u16(8) + b2(b"") + b2(b"s" * 32) + b2(b"k" * 32)


def _sign(scheme: int, hash_alg: int, content: bytes) -> bytes:
    """A TPMT_SIGNATURE."""
    head = u16(scheme) + u16(hash_alg)
    if scheme == 5:
        content = hashlib.sha256(content).digest()
        return head + hmac.new(b"k" * 32, content, "sha256").digest()
    function = _CLASSES[hash_alg]()
    if scheme == 0x18:
        pair = utils.decode_dss_signature(_ECC.sign(content, ec.ECDSA(function)))
        return head + b"".join(b2(number.to_bytes(32, "big")) for number in pair)
    if scheme == 0x14:
        return head + b2(_RSA.sign(content, padding.PKCS1v15(), function))
    pss = padding.PSS(padding.MGF1(function), function.digest_size)
    return head + b2(_RSA.sign(content, pss, function))


def load_external(client: Client, public: bytes, private: bytes = b"") -> int:
    hierarchy = NULL if private else OWNER
    content = b2(private) + b2(public) + u32(hierarchy)
    reply = client.call(0x167, [], content, handle_out=True)
    client.names[reply.handle] = reply.tpm2b()
    return reply.handle


def _arguments(
    nonce: bytes = b"", cp_hash: bytes = b"", reference: bytes = b"ref", expiration: int = 0
) -> bytes:
    return b2(nonce) + b2(cp_hash) + b2(reference) + struct.pack(">i", expiration)


def _signed(
    client: Client,
    key: int,
    session: Session,
    scheme: tuple[int, int] = (0x18, SHA256),
    nonce: bytes = b"",
    cp_hash: bytes = b"",
    expiration: int = 0,
) -> tuple[bytes, bytes]:
    """PolicySigned; timeout and ticket."""
    content = nonce + struct.pack(">i", expiration) + cp_hash + b"ref"
    arguments = _arguments(nonce, cp_hash, b"ref", expiration)
    reply = client.call(SIGNED, [key, session.handle], arguments + _sign(*scheme, content))
    timeout = reply.tpm2b()
    return timeout, reply.parameters[2 + len(timeout) :]


_SCHEMES = [
    (_rsa_public, b"", (0x14, SHA256)),
    (_rsa_public, b"", (0x14, SHA1)),
    (_rsa_public, b"", (0x16, SHA512)),
    (_ecc_public, b"", (0x18, SHA256)),
    (_ecc_public, b"", (0x18, SHA512)),
    (_hmac_public, _HMAC_PRIVATE, (5, SHA256)),
]


@pytest.mark.parametrize(("public", "private", "scheme"), _SCHEMES)
def test_policy_signed(
    client: Client, public: Callable[[], bytes], private: bytes, scheme: tuple[int, int]
) -> None:
    key = load_external(client, public(), private)
    session = client.start_session(kind=1)
    assert _signed(client, key, session, scheme, session.nonce_tpm) == (
        b"",
        u16(0x8025) + u32(NULL) + NOTHING,
    )
    expected = sha256(sha256(bytes(32) + u32(SIGNED) + client.names[key]) + b"ref")
    assert digest(client, session) == expected
    signature = _sign(*scheme, b"\0\0\0\0" + b"ref")
    for wrong in (signature[:-1] + bytes((signature[-1] ^ 1,)), _sign(*scheme, b"other")):
        with refused(0x5DB):
            client.call(SIGNED, [key, session.handle], _arguments() + wrong)
        trial_session = client.start_session(kind=3)
        client.call(SIGNED, [key, trial_session.handle], _arguments() + wrong)
        assert digest(client, trial_session) == expected
        client.flush(trial_session.handle)
    assert digest(client, session) == expected


def test_policy_signed_checks(client: Client) -> None:
    key = load_external(client, _ecc_public())
    session = client.start_session(kind=1)
    with refused(0x1CF):
        _signed(client, key, session, nonce=b"n" * 16)
    with refused(0x2D5):
        _signed(client, key, session, cp_hash=b"c" * 31)
    signature = _sign(0x14, SHA256, b"")
    with refused(0x5D2):
        client.call(SIGNED, [key, session.handle], _arguments() + signature)
    _signed(client, key, session, cp_hash=b"c" * 32)
    with refused(0x151):
        _signed(client, key, session, cp_hash=b"d" * 32)
    public_only = load_external(client, _hmac_public())
    with refused(0x5CB):
        _signed(client, public_only, session, (5, SHA256))


def test_policy_secret(client: Client) -> None:
    client.call(CHANGE_AUTH, [OWNER], b2(b"own"), [b""])
    session = client.start_session(kind=1)
    with refused(0x9A2):
        client.call(SECRET, [OWNER, session.handle], _arguments(), [b"bad"])
    client.call(SECRET, [OWNER, session.handle], _arguments(), [b"own"])
    expected = sha256(sha256(bytes(32) + u32(SECRET) + u32(OWNER)) + b"ref")
    assert digest(client, session) == expected
    by_hmac = client.start_session()
    other = client.start_session(kind=1)
    client.call(SECRET, [OWNER, other.handle], _arguments(), [(by_hmac, b"own")])
    assert digest(client, other) == expected


def test_policy_secret_wants_a_secret(client: Client) -> None:
    """A policy session without authValue or password does not do (part 3, 23.4)."""
    guard(client)
    session, by_policy = client.start_session(kind=1), client.start_session(kind=1)
    with refused(0x989):
        client.call(SECRET, [OWNER, session.handle], _arguments(), [(by_policy, b"")])


def _use_owner(client: Client, key: int, expiration: int) -> tuple[Session, bytes, bytes]:
    """The owner's policy is PolicySigned; a session that meets it, and what came back."""
    trial_session = client.start_session(kind=3)
    _signed(client, key, trial_session)
    policy = digest(client, trial_session)
    client.flush(trial_session.handle)
    client.call(SET_POLICY, [OWNER], b2(policy) + u16(SHA256), [b""])
    session = client.start_session(kind=1)
    timeout, ticket = _signed(client, key, session, nonce=session.nonce_tpm, expiration=expiration)
    return session, timeout, ticket


@pytest.mark.parametrize(("waited", "works"), [(4999, True), (5000, True), (5001, False)])
@pytest.mark.parametrize("expiration", [5, -5])
def test_an_authorization_expires(waited: int, works: bool, expiration: int) -> None:
    clock = Clock()
    _, client = started(clock)
    key = load_external(client, _ecc_public())
    session, _, _ = _use_owner(client, key, expiration)
    clock.now += waited
    if works:
        use(client, session)
    else:
        with refused(0x9A3):
            use(client, session)


def test_the_earliest_timeout_counts() -> None:
    clock = Clock()
    _, client = started(clock)
    session = client.start_session(kind=1)
    for expiration in (9, 5, 7):
        content = _arguments(session.nonce_tpm, expiration=expiration)
        client.call(SECRET, [OWNER, session.handle], content, [b""])
    policy = digest(client, session)
    client.call(SET_POLICY, [OWNER], b2(policy) + u16(SHA256), [b""])
    clock.now += 5001
    with refused(0x9A3):
        use(client, session)


def test_an_authorization_for_one_command(client: Client) -> None:
    key = load_external(client, _ecc_public())
    session, _, _ = _use_owner(client, key, 0)
    client.call(RESTART, [session.handle])
    _signed(client, key, session, cp_hash=_H)
    with refused(0x99D):
        use(client, session)
    client.call(RESTART, [session.handle])
    _signed(client, key, session, cp_hash=_CP)
    use(client, session)


def _ticket(client: Client, session: Session, name: bytes, timeout: bytes, ticket: bytes) -> None:
    content = b2(timeout) + NOTHING + b2(b"ref") + b2(name) + ticket
    client.call(TICKET, [session.handle], content)


def test_a_ticket_stands_for_the_signature() -> None:
    clock = Clock()
    clock.now = 77_777
    tpm, client = started(clock)
    clock.now += 1234
    key = load_external(client, _ecc_public())
    session, timeout, ticket = _use_owner(client, key, -5)
    name = client.names[key]
    expected = digest(client, session)
    use(client, session)
    other = client.start_session(kind=1)
    for wrong_name, wrong_timeout, wrong_ticket in (
        (name[:-1], timeout, ticket),
        (name, u64(int.from_bytes(timeout, "big") + 1), ticket),
        (name, timeout, ticket[:-1] + bytes((ticket[-1] ^ 1,))),
        (name, timeout, ticket.replace(u16(0x8025), u16(0x8023), 1)),
    ):
        with refused(0x5E0):
            _ticket(client, other, wrong_name, wrong_timeout, wrong_ticket)
    with refused(0x1D5):
        _ticket(client, other, name, timeout[1:], ticket)
    clock.now += 4999
    _ticket(client, other, name, timeout, ticket)
    assert digest(client, other) == expected
    use(client, other)
    _ticket(client, other, name, timeout, ticket)
    clock.now += 2
    with refused(0x9A3):
        use(client, other)
    client.call(RESTART, [other.handle])
    with refused(0x1E3):
        _ticket(client, other, name, timeout, ticket)
    trial_session = client.start_session(kind=3)
    with refused(0x182):
        _ticket(client, trial_session, name, timeout, ticket)
    assert tpm.fault is None


def test_a_ticket_without_a_nonce_is_bound_to_the_time_since_power_on() -> None:
    clock = Clock()
    tpm, client = started(clock)
    clock.now += 12_345
    session = client.start_session(kind=1)
    reply = client.call(SECRET, [OWNER, session.handle], _arguments(expiration=-20), [b""])
    timeout = reply.tpm2b()
    ticket = reply.parameters[2 + len(timeout) :]
    assert int.from_bytes(timeout, "big") == 1 << 63 | 20_345
    other = client.start_session(kind=1)
    _ticket(client, other, u32(OWNER), timeout, ticket)
    assert digest(client, other) == digest(client, session)
    with refused(0x4E3):
        client.call(SECRET, [OWNER, session.handle], _arguments(expiration=-11), [b""])
    tpm.power_on()
    client.startup()
    other = client.start_session(kind=1)
    with refused(0x5E0):
        _ticket(client, other, u32(OWNER), timeout, ticket)


def test_tickets_of_each_hierarchy_and_what_ends_them(client: Client) -> None:
    for handle, hierarchy in (
        (LOCKOUT, OWNER),
        (OWNER, OWNER),
        (0x4000000B, 0x4000000B),
        (0, OWNER),
    ):
        session = client.start_session(kind=1)
        content = _arguments(session.nonce_tpm, expiration=-1000)
        reply = client.call(SECRET, [handle, session.handle], content, [b""])
        timeout = reply.tpm2b()
        ticket = reply.parameters[2 + len(timeout) :]
        assert ticket[:6] == u16(0x8023) + u32(hierarchy)
        client.flush(session.handle)
    client.call(0x126, [LOCKOUT], b"", [b""])
    session = client.start_session(kind=1)
    with refused(0x5E0):
        _ticket(client, session, u32(0), timeout, ticket)


def test_no_ticket_for_a_pin_that_passes_only_so_often(client: Client) -> None:
    define(client, BY_OWNER | PIN_PASS | NV_NO_DA, auth=b"pin")
    write(client, u32(0) + u32(5))
    session = client.start_session(kind=1)
    content = _arguments(session.nonce_tpm, expiration=-1000)
    reply = client.call(SECRET, [INDEX, session.handle], content, [b"pin"])
    assert reply.parameters == NOTHING + u16(0x8023) + u32(NULL) + NOTHING


def test_policies_survive_saving_the_session() -> None:
    clock = Clock()
    tpm, client = started(clock)
    key = load_external(client, _ecc_public())
    session, _, _ = _use_owner(client, key, 5)
    saved = client.call(0x162, [session.handle]).parameters
    client.call(0x161, [], saved, handle_out=True)
    volatile = tpm.save_volatile()
    other = Tpm(tpm.state, tpm.random, clock)
    other.restore_volatile(volatile)
    moved = Client(execute_checked(other))
    clock.now += 5000
    use(moved, session)
    with refused(0x99D):
        use(moved, session)
