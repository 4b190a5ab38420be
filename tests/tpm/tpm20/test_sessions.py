"""Authorization: passwords, HMAC and policy sessions, encryption of parameters, audit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.tpm.tpm20.client import (
    AUDIT,
    CONTINUE,
    DECRYPT,
    ENCRYPT,
    EXCLUSIVE,
    NO_DA,
    NULL,
    RESET,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    Client,
    Failed,
    Session,
    b2,
    ecc_storage,
    octets,
    plain,
    rc,
    rsa_storage,
    sealed,
    started,
    u16,
    u32,
)
from tpm.tpm20 import Tpm

UNSEAL, EXTEND, EVENT, CREATE, RANDOM = 0x15E, 0x182, 0x13C, 0x153, 0x17B
SYMMETRIC = [(6, 128), (6, 256), (0xA, SHA256), (0xA, SHA1)]


@pytest.fixture
def vault() -> tuple[Tpm, Client, int, int]:
    """A TPM, a client, a storage key, and data sealed below it with the authValue "auth"."""
    tpm, client = started()
    parent, _ = client.create_primary(ecc_storage())
    private, public = client.create(parent, sealed(), b"auth", b"secret")
    return tpm, client, parent, client.load(parent, private, public)


Vault = tuple[Tpm, Client, int, int]


def refused(code: int) -> AbstractContextManager[object]:
    return pytest.raises(Failed, match=f"^{code:#x}$")


def test_password(vault: Vault) -> None:
    _, client, _, item = vault
    assert client.call(UNSEAL, [item], b"", [b"auth"]).tpm2b() == b"secret"
    assert client.call(UNSEAL, [item], b"", [b"auth\0\0"]).tpm2b() == b"secret"
    with refused(0x9A2):
        client.call(UNSEAL, [item], b"", [b"auti"])


@pytest.mark.parametrize("hash_alg", [SHA1, SHA256, SHA384, SHA512])
def test_hmac_session_authorizes_and_its_nonces_roll(vault: Vault, hash_alg: int) -> None:
    _, client, _, item = vault
    session = client.start_session(hash_alg=hash_alg)
    nonces = {session.nonce_tpm}
    for _ in range(3):
        assert client.call(UNSEAL, [item], b"", [(session, b"auth")]).tpm2b() == b"secret"
        nonces.add(session.nonce_tpm)
    assert len(nonces) == 4
    with refused(0x9A2):
        client.call(UNSEAL, [item], b"", [(session, b"auti")])


def test_a_failed_command_leaves_the_nonce(vault: Vault) -> None:
    _, client, _, item = vault
    session = client.start_session()
    before = session.nonce_tpm
    with refused(0x9A2):
        client.call(UNSEAL, [item], b"", [(session, b"wrong")])
    assert session.nonce_tpm == before
    client.call(UNSEAL, [item], b"", [(session, b"auth")])


def test_a_session_ends_when_it_is_not_continued(vault: Vault) -> None:
    tpm, client, _, item = vault
    session = client.start_session()
    session.attributes = 0
    client.call(UNSEAL, [item], b"", [(session, b"auth")])
    assert not tpm.sessions
    with refused(0x918):
        client.call(UNSEAL, [item], b"", [(session, b"auth")])


@pytest.mark.parametrize("symmetric", SYMMETRIC)
@pytest.mark.parametrize("bound", [False, True])
def test_encrypted_response(vault: Vault, symmetric: tuple[int, int], bound: bool) -> None:
    _, client, _, item = vault
    session = _session(client, item, symmetric, bound)
    session.attributes |= ENCRYPT
    assert client.call(UNSEAL, [item], b"", [(session, b"auth")]).tpm2b() == b"secret"


def _session(client: Client, item: int, symmetric: tuple[int, int], bound: bool) -> Session:
    if not bound:
        return client.start_session(symmetric=symmetric)
    session = client.start_session(symmetric=symmetric, bind=item, bind_auth=b"auth")
    session.bound_auth = b"auth"
    return session


@pytest.mark.parametrize("symmetric", SYMMETRIC)
def test_encrypted_command(vault: Vault, symmetric: tuple[int, int]) -> None:
    _tpm, client, parent, _ = vault
    session = client.start_session(symmetric=symmetric)
    session.attributes |= DECRYPT | ENCRYPT
    content = b2(b2(b"new") + b2(b"hidden")) + b2(sealed()) + b2(b"") + u32(0)
    made = client.call(CREATE, [parent], content, [(session, b"")])
    item = client.load(parent, made.tpm2b(0), made.tpm2b(1))
    assert client.call(UNSEAL, [item], b"", [b"new"]).tpm2b() == b"hidden"


def test_three_sessions_with_a_task_each(vault: Vault) -> None:
    _, client, parent, _ = vault
    auth = client.start_session()
    decrypt = client.start_session(symmetric=(0xA, SHA1), hash_alg=SHA1)
    encrypt = client.start_session(symmetric=(6, 128))
    decrypt.attributes |= DECRYPT
    encrypt.attributes |= ENCRYPT
    content = b2(b2(b"") + b2(b"hidden")) + b2(sealed()) + b2(b"") + u32(0)
    for order in ([(decrypt, b""), (encrypt, b"")], [(encrypt, b""), (decrypt, b"")]):
        made = client.call(CREATE, [parent], content, [(auth, b""), *order])
        client.flush(client.load(parent, made.tpm2b(0), made.tpm2b(1)))


def test_a_bound_session_needs_no_auth_value_for_its_entity_alone(vault: Vault) -> None:
    _, client, parent, item = vault
    session = client.start_session(bind=item, bind_auth=b"auth")
    session.bound_auth = b"auth"
    client.call(UNSEAL, [item], b"", [(session, b"auth")])
    session.bound_auth = None
    content = b2(b2(b"") + b2(b"x")) + b2(sealed()) + b2(b"") + u32(0)
    client.call(CREATE, [parent], content, [(session, b"")])


def _salt_rsa(public: bytes) -> tuple[bytes, bytes]:
    key = rsa.RSAPublicNumbers(65537, int.from_bytes(public[-256:], "big")).public_key()
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"SECRET\0")
    return b"s" * 32, key.encrypt(b"s" * 32, oaep)


def _salt_ecc(public: bytes) -> tuple[bytes, bytes]:
    x, y = public[-66:-34], public[-32:]
    numbers = [int.from_bytes(one, "big") for one in (x, y)]
    peer = ec.EllipticCurvePublicNumbers(numbers[0], numbers[1], ec.SECP256R1()).public_key()
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    point = ephemeral.public_key().public_numbers()
    own_x, own_y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
    z = ephemeral.exchange(ec.ECDH(), peer)
    salt = hashlib.sha256(u32(1) + z + b"SECRET\0" + own_x + x).digest()
    return salt, b2(own_x) + b2(own_y)


@pytest.mark.parametrize(("key", "salt"), [(rsa_storage(), _salt_rsa), (ecc_storage(), _salt_ecc)])
def test_salted_sessions(key: bytes, salt: Callable[[bytes], tuple[bytes, bytes]]) -> None:
    _, client = started()
    handle, public = client.create_primary(key)
    session = client.start_session(tpm_key=handle, salt=salt(public), symmetric=(6, 128))
    client.call(EXTEND, [16], u32(0), [(session, b"")])
    session.attributes |= ENCRYPT
    assert len(client.call(RANDOM, [], u16(8), [(session, b"")]).tpm2b()) == 8
    for junk in (b"x", b"x" * 256, b2(b"x" * 32) * 2):
        with refused(0x2C4):
            client.start_session(tpm_key=handle, salt=(b"", junk))


def test_session_limits() -> None:
    _, client = started()
    sessions = [client.start_session() for _ in range(3)]
    with refused(0x903):
        client.start_session()
    client.flush(sessions[1].handle)
    assert client.start_session().handle == sessions[1].handle
    _, client = started()
    for _ in range(64):
        client.call(0x162, [client.start_session().handle])
    with refused(0x905):
        client.start_session()


def test_bad_uses_of_sessions(vault: Vault) -> None:
    _, client, _, item = vault
    session = client.start_session()
    for attributes, code in ((ENCRYPT, 0x996), (DECRYPT, 0x982)):
        session.attributes = CONTINUE | attributes
        with refused(code):
            client.call(UNSEAL, [item], b"", [(session, b"auth")])
    session.attributes = CONTINUE
    with refused(0xA8B):
        client.call(EXTEND, [16], u32(0), [(session, b""), (session, b"")])
    with refused(0x982):
        client.call(RANDOM, [], u16(4), [(session, b"")])
    other = client.start_session()
    with refused(0xA82):
        client.call(EXTEND, [16], u32(0), [(session, b""), (other, b"")])


def test_audit_session_digest_and_exclusiveness(vault: Vault) -> None:
    tpm, client, _, item = vault
    session = client.start_session()
    session.attributes |= AUDIT
    client.call(RANDOM, [], u16(8), [(session, b"")])
    held = tpm.sessions[session.handle]
    assert tpm.exclusive_session == session.handle
    first = held.audit_digest
    session.attributes = CONTINUE | AUDIT | EXCLUSIVE
    client.call(UNSEAL, [item], b"", [b"auth", (session, b"")])
    assert held.audit_digest != first
    client.call(RANDOM, [], u16(8))
    with refused(0x121):
        client.call(UNSEAL, [item], b"", [b"auth", (session, b"")])
    session.attributes = CONTINUE | AUDIT | RESET
    client.call(RANDOM, [], u16(8), [(session, b"")])
    assert tpm.exclusive_session == session.handle


def test_audit_digest_is_what_part_1_says() -> None:
    tpm, client = started()
    session = client.start_session()
    session.attributes |= AUDIT
    reply = client.call(RANDOM, [], u16(8), [(session, b"")])
    cp_hash = hashlib.sha256(u32(RANDOM) + u16(8)).digest()
    rp_hash = hashlib.sha256(u32(0) + u32(RANDOM) + reply.parameters).digest()
    expected = hashlib.sha256(bytes(32) + cp_hash + rp_hash).digest()
    assert tpm.sessions[session.handle].audit_digest == expected


# Policies.

PCR_16 = u32(1) + u16(SHA256) + octets("03000001")


def policy_digest(client: Client, *commands: tuple[int, bytes]) -> bytes:
    trial = client.start_session(kind=3)
    for code, parameters in commands:
        client.call(code, [trial.handle], parameters)
    digest = client.call(0x189, [trial.handle]).tpm2b()
    client.flush(trial.handle)
    return digest


def with_policy(client: Client, parent: int, policy: bytes, attributes: int = 0x12 | NO_DA) -> int:
    private, public = client.create(parent, sealed(attributes, policy), b"auth", b"secret")
    return client.load(parent, private, public)


def test_policy_auth_value_and_password(vault: Vault) -> None:
    _, client, parent, _ = vault
    policy = policy_digest(client, (0x16B, b""))
    assert policy == policy_digest(client, (0x18C, b""))
    item = with_policy(client, parent, policy)
    with refused(0x12F):
        client.call(UNSEAL, [item], b"", [b"auth"])
    session = client.start_session(kind=1)
    with refused(0x99D):
        client.call(UNSEAL, [item], b"", [(session, b"auth")])
    client.call(0x16B, [session.handle])
    session.no_auth = False
    assert client.call(UNSEAL, [item], b"", [(session, b"auth")]).tpm2b() == b"secret"
    with refused(0x99D):
        client.call(UNSEAL, [item], b"", [(session, b"auth")])
    client.call(0x18C, [session.handle])
    session.password = True
    with refused(0x9A2):
        client.call(UNSEAL, [item], b"", [(session, b"nope")])
    assert client.call(UNSEAL, [item], b"", [(session, b"auth")]).tpm2b() == b"secret"


def test_policy_pcr(vault: Vault) -> None:
    _, client, parent, _ = vault
    policy = policy_digest(client, (0x17F, b2(b"") + PCR_16))
    item = with_policy(client, parent, policy)
    session = client.start_session(kind=1)
    client.call(0x17F, [session.handle], b2(b"") + PCR_16)
    assert client.call(UNSEAL, [item], b"", [(session, b"")]).tpm2b() == b"secret"
    client.call(0x17F, [session.handle], b2(b"") + PCR_16)
    client.call(EXTEND, [0], u32(1) + u16(SHA256) + bytes(32), [b""])
    with refused(0x128):
        client.call(UNSEAL, [item], b"", [(session, b"")])
    client.call(0x180, [session.handle])
    client.call(EXTEND, [16], u32(1) + u16(SHA256) + bytes(32), [b""])
    client.call(0x17F, [session.handle], b2(b"") + PCR_16)
    with refused(0x99D):
        client.call(UNSEAL, [item], b"", [(session, b"")])


def test_policy_command_code(vault: Vault) -> None:
    _, client, parent, _ = vault
    policy = policy_digest(client, (0x16C, u32(0x150)))
    item = with_policy(client, parent, policy, 0x12 | NO_DA | 0x80)
    session = client.start_session(kind=1)
    client.call(0x16C, [session.handle], u32(0x150))
    with refused(0x9A4):
        client.call(UNSEAL, [item], b"", [(session, b"")])
    with refused(0x124):
        client.call(0x150, [item, parent], b2(b"new"), [b"auth"])
    assert client.call(0x150, [item, parent], b2(b"new"), [(session, b"")]).tpm2b()


def test_a_trial_session_authorizes_nothing(vault: Vault) -> None:
    _, client, _, item = vault
    trial = client.start_session(kind=3)
    with refused(0x982):
        client.call(UNSEAL, [item], b"", [(trial, b"auth")])


def test_policy_sessions_cannot_audit(vault: Vault) -> None:
    _, client, _, _ = vault
    session = client.start_session(kind=1)
    session.attributes |= AUDIT
    with refused(0x982):
        client.call(RANDOM, [], u16(8), [(session, b"")])


def test_hierarchy_auth_change_signs_its_response_with_the_new_value() -> None:
    _, client = started()
    session = client.start_session()
    owner = 0x40000001
    # The client checks the response's HMAC with the authValue that it gave, so that a session
    # bound to nothing shows which value the TPM used.
    with pytest.raises(AssertionError, match="HMAC"):
        client.call(0x129, [owner], b2(b"new"), [(session, b"")])
    assert rc(client.execute(plain(0x17B, [], u16(1)))) == 0
    client.call(0x129, [owner], b2(b""), [b"new"])


def test_start_auth_session_checks() -> None:
    _, client = started()
    parent, _ = client.create_primary(ecc_storage())
    good = b2(bytes(16)) + b2(b"") + b"\0" + u16(0x10) + u16(SHA256)
    cases = [
        ([NULL, NULL], b2(bytes(15)) + good[18:], 0x1D5),
        ([NULL, NULL], b2(bytes(33)) + good[18:], 0x1D5),
        ([NULL, NULL], b2(bytes(16)) + b2(b"x") + good[20:], 0x2C4),
        ([parent, NULL], good, 0x2C4),
        ([NULL, NULL], good[:20] + b"\2" + good[21:], 0x3C4),
        ([NULL, NULL], good[:-2] + u16(0x10), 0x5C3),
        ([NULL, NULL], good[:21] + u16(6) + u16(128) + u16(0x40) + u16(SHA256), 0x4C9),
        ([NULL, NULL], good[:21] + u16(6) + u16(129) + u16(0x43) + u16(SHA256), 0x4C4),
        ([0x80000002, NULL], good, 0x910),
        ([NULL, 0x80000002], good, 0x911),
        ([NULL, 0x81000000], good, 0x28B),
    ]
    for handles, parameters, code in cases:
        assert hex(rc(client.execute(plain(0x176, handles, parameters)))) == hex(code)


def test_a_key_that_does_not_decrypt_takes_no_salt() -> None:
    _, client = started()
    parent, _ = client.create_primary(ecc_storage())
    private, public = client.create(parent, sealed(), b"", b"x")
    item = client.load(parent, private, public)
    with refused(0x19C):
        client.start_session(tpm_key=item, salt=(b"", b"x"))
