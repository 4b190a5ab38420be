"""Objects: creation, loading, sealing, contexts, persistence, hierarchies."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.tpm.tpm20.client import (
    DECRYPTS,
    ENDORSEMENT,
    FIXED,
    LOCKOUT,
    NO_DA,
    NULL,
    OWNER,
    PLATFORM,
    RESTRICTED,
    SHA256,
    SIGNS,
    WITH_AUTH,
    Client,
    Failed,
    aes_key,
    b2,
    ecc_signing,
    ecc_storage,
    hmac_key,
    object_name,
    rsa_key,
    rsa_storage,
    sealed,
    started,
    template,
    u8,
    u16,
    u32,
    u64,
)

UNSEAL, EVICT, SAVE, LOAD = 0x15E, 0x120, 0x162, 0x161


def refused(code: int) -> Any:
    return pytest.raises(Failed, match=f"^{code:#x}$")


@pytest.mark.parametrize("public", [ecc_storage(), rsa_storage(), hmac_key(), aes_key()])
@pytest.mark.parametrize("hierarchy", [OWNER, ENDORSEMENT, PLATFORM])
def test_primary_objects_are_a_function_of_the_template(public: bytes, hierarchy: int) -> None:
    tpm, client = started()
    first, made = client.create_primary(public, hierarchy)
    client.flush(first)
    tpm.power_on()
    client.startup()
    assert client.create_primary(public, hierarchy)[1] == made
    assert client.create_primary(public, hierarchy, data=b"more")[1] != made
    _other_tpm, other = started()
    assert other.create_primary(public, hierarchy)[1] != made


def test_the_null_hierarchy_changes_with_every_reset() -> None:
    tpm, client = started()
    made = client.create_primary(ecc_storage(), NULL)[1]
    tpm.power_on()
    client.startup()
    assert client.create_primary(ecc_storage(), NULL)[1] != made


@pytest.mark.parametrize("parent", [ecc_storage(), rsa_storage()])
@pytest.mark.parametrize(
    "public", [ecc_signing(), hmac_key(), aes_key(), rsa_key(FIXED | WITH_AUTH | SIGNS, 1024)]
)
def test_created_objects_load_below_their_parent_alone(parent: bytes, public: bytes) -> None:
    _, client = started()
    above, _ = client.create_primary(parent)
    private, made = client.create(above, public)
    handle = client.load(above, private, made)
    reply = client.call(0x173, [handle])
    assert reply.tpm2b(0) == made
    assert reply.tpm2b(1) == object_name(made)
    other, _ = client.create_primary(ecc_storage(), ENDORSEMENT)
    with refused(0x902):
        client.load(other, private, made)
    client.flush(handle)
    with refused(0x1DF):
        client.load(other, private, made)
    with refused(0x1DF):
        client.load(above, private[:-1] + bytes((private[-1] ^ 1,)), made)
    with refused(0x1D5):
        client.load(above, b"", made)


def test_qualified_name() -> None:
    _, client = started()
    parent, public = client.create_primary(ecc_storage())
    private, made = client.create(parent, sealed(), b"", b"x")
    item = client.load(parent, private, made)
    above = b"\0\x0b" + hashlib.sha256(u32(OWNER) + object_name(public)).digest()
    expected = b"\0\x0b" + hashlib.sha256(above + object_name(made)).digest()
    assert client.call(0x173, [parent]).tpm2b(2) == above
    assert client.call(0x173, [item]).tpm2b(2) == expected


def test_creation_data_and_ticket() -> None:
    _, client = started()
    parent, public = client.create_primary(ecc_storage())
    content = b2(b2(b"") + b2(b"x")) + b2(sealed()) + b2(b"outside")
    reply = client.call(0x153, [parent], content + u32(0), [b""])
    data = reply.tpm2b(2)
    name = object_name(public)
    qualified = b"\0\x0b" + hashlib.sha256(u32(OWNER) + name).digest()
    empty = hashlib.sha256(b"").digest()
    expected = u32(0) + b2(empty) + u8(1) + u16(SHA256) + b2(name) + b2(qualified) + b2(b"outside")
    assert data == expected
    assert reply.tpm2b(3) == hashlib.sha256(data).digest()


def test_object_change_auth() -> None:
    _, client = started()
    parent, _ = client.create_primary(ecc_storage())
    private, public = client.create(parent, sealed(), b"old", b"secret")
    item = client.load(parent, private, public)
    changed = client.call(0x150, [item, parent], b2(b"new"), [b"old"]).tpm2b()
    again = client.load(parent, changed, public)
    with refused(0x9A2):
        client.call(UNSEAL, [again], b"", [b"old"])
    assert client.call(UNSEAL, [again], b"", [b"new"]).tpm2b() == b"secret"
    with refused(0x28A):
        client.call(0x150, [item, item], b2(b"new"), [b"old"])
    with refused(0x1D5):
        client.call(0x150, [item, parent], b2(bytes(32) + b"n"), [b"old"])


# CreateLoaded and derivation.


def create_loaded(
    client: Client, parent: int, public: bytes, sensitive: bytes = b2(b"") * 2
) -> Any:
    content = b2(sensitive) + b2(public)
    return client.call(0x191, [parent], content, [b""], handle_out=True)


def test_create_loaded() -> None:
    _, client = started()
    primary = create_loaded(client, OWNER, ecc_storage())
    assert primary.tpm2b(0) == b""
    handle, public = client.create_primary(ecc_storage())
    assert primary.tpm2b(1) == public
    client.flush(primary.handle)
    ordinary = create_loaded(client, handle, ecc_signing())
    client.flush(ordinary.handle)
    client.load(handle, ordinary.tpm2b(0), ordinary.tpm2b(1))


def test_derived_objects_depend_on_label_and_context_alone() -> None:
    _, client = started()
    scheme = u16(0xA) + u16(SHA256) + u16(0x22)
    parent, _ = client.create_primary(
        template(8, FIXED | WITH_AUTH | NO_DA | RESTRICTED | DECRYPTS, scheme, b2(b""))
    )
    parameters = u16(0x10) + u16(0x18) + u16(SHA256) + u16(3) + u16(0x10)

    def derive(label: bytes, context: bytes, data: bytes = b2(b"") * 2) -> bytes:
        public = template(0x23, 0x12 | WITH_AUTH | SIGNS, parameters, b2(label) + b2(context))
        reply = create_loaded(client, parent, public, data)
        client.flush(reply.handle)
        assert reply.tpm2b(0) == b""
        made: bytes = reply.tpm2b(1)
        return made

    assert derive(b"label", b"context") == derive(b"label", b"context")
    assert derive(b"label", b"context") != derive(b"label", b"other")
    given = b2(b"") + b2(b2(b"label") + b2(b"context"))
    assert derive(b"", b"", given) == derive(b"label", b"context")
    assert derive(b"", b"context", given) == derive(b"label", b"context")
    with refused(0x2CA):
        create_loaded(
            client,
            parent,
            template(1, 0x12 | WITH_AUTH | SIGNS, u16(0x10) * 2 + u16(2048) + u32(0), b2(b"") * 2),
        )


# Contexts.


def test_object_contexts() -> None:
    tpm, client = started()
    parent, _ = client.create_primary(ecc_storage())
    private, public = client.create(parent, sealed(), b"auth", b"secret")
    item = client.load(parent, private, public)
    saved = client.call(SAVE, [item]).parameters
    assert client.call(SAVE, [item]).parameters != saved
    client.flush(item)
    loaded = client.call(LOAD, [], saved, handle_out=True).handle
    assert client.call(UNSEAL, [loaded], b"", [b"auth"]).tpm2b() == b"secret"
    client.flush(loaded)
    for at in (0, 8, 12, 20, 100, len(saved) - 1):
        damaged = bytearray(saved)
        damaged[at] ^= 1
        with pytest.raises(Failed):
            client.call(LOAD, [], bytes(damaged), handle_out=True)
    tpm.power_on()
    client.startup()
    with refused(0x1DF):
        client.call(LOAD, [], saved, handle_out=True)


def test_object_contexts_survive_a_restart_unless_st_clear() -> None:
    tpm, client = started()
    plain_key, _ = client.create_primary(ecc_storage())
    ending, _ = client.create_primary(ecc_storage(0x72 | NO_DA | RESTRICTED | DECRYPTS | 4))
    saved = [client.call(SAVE, [handle]).parameters for handle in (plain_key, ending)]
    client.call(0x145, [], u16(1))
    tpm.power_on()
    client.startup()
    client.call(LOAD, [], saved[0], handle_out=True)
    with refused(0x1DF):
        client.call(LOAD, [], saved[1], handle_out=True)


def test_session_contexts_load_once() -> None:
    _tpm, client = started()
    session = client.start_session()
    saved = client.call(SAVE, [session.handle]).parameters
    with refused(0x918):
        client.call(0x182, [16], u32(0), [(session, b"")])
    loaded = client.call(LOAD, [], saved, handle_out=True).handle
    assert loaded == session.handle
    client.call(0x182, [16], u32(0), [(session, b"")])
    with refused(0x1CB):
        client.call(LOAD, [], saved, handle_out=True)
    again = client.call(SAVE, [session.handle]).parameters
    with refused(0x1CB):
        client.call(LOAD, [], saved, handle_out=True)
    client.flush(session.handle)
    with refused(0x1CB):
        client.call(LOAD, [], again, handle_out=True)


def test_the_context_gap() -> None:
    tpm, client = started()
    oldest, other = client.start_session(), client.start_session()
    first = client.call(SAVE, [oldest.handle]).parameters
    tpm.reset.session_context_id += 0xFFFF - 3
    second = client.call(SAVE, [other.handle]).parameters
    client.call(LOAD, [], second, handle_out=True)
    second = client.call(SAVE, [other.handle]).parameters
    extra = [client.start_session() for _ in range(2)]
    with refused(0x901):
        client.call(SAVE, [extra[0].handle])
    with refused(0x901):
        client.call(LOAD, [], second, handle_out=True)
    client.call(LOAD, [], first, handle_out=True)
    client.flush(extra[0].handle)
    client.call(LOAD, [], second, handle_out=True)


# Persistent objects.


def test_evict_control() -> None:
    _, client = started()
    parent, public = client.create_primary(ecc_storage())
    client.call(EVICT, [OWNER, parent], u32(0x81000001), [b""])
    client.flush(parent)
    client.names[0x81000001] = object_name(public)
    private, made = client.create(0x81000001, sealed(), b"", b"x")
    client.flush(client.load(0x81000001, private, made))
    parent, _ = client.create_primary(ecc_storage())
    cases = [
        (OWNER, parent, 0x81000001, 0x14C),
        (OWNER, parent, 0x81800000, 0x1CD),
        (PLATFORM, parent, 0x81800000, 0x285),
        (OWNER, 0x81000001, 0x81000002, 0x28B),
        (OWNER, 0x81000009, 0x81000009, 0x28B),
        (ENDORSEMENT, parent, 0x81000002, 0x184),
    ]
    for auth, handle, persistent, code in cases:
        with refused(code):
            client.call(EVICT, [auth, handle], u32(persistent), [b""])
    temporary, _ = client.create_primary(ecc_storage(), NULL)
    with refused(0x282):
        client.call(EVICT, [OWNER, temporary], u32(0x81000003), [b""])
    client.call(EVICT, [OWNER, 0x81000001], u32(0x81000001), [b""])
    with refused(0x18B):
        client.call(0x173, [0x81000001])


# Hierarchies.


def test_clear_ends_the_owners_and_endorsements_objects() -> None:
    tpm, client = started()
    parent, public = client.create_primary(ecc_storage())
    key, endorsement = client.create_primary(ecc_storage(), ENDORSEMENT)
    private, made = client.create(key, sealed(), b"", b"x")
    platform, _of_platform = client.create_primary(ecc_storage(), PLATFORM)
    client.call(EVICT, [OWNER, parent], u32(0x81000001), [b""])
    client.call(0x129, [OWNER], b2(b"owner"), [b""])
    client.call(0x126, [LOCKOUT], b"", [b""])
    assert list(tpm.objects) == [platform]
    assert not tpm.state.persistent
    client.call(0x129, [OWNER], b2(b""), [b""])
    assert client.create_primary(ecc_storage())[1] != public
    key, again = client.create_primary(ecc_storage(), ENDORSEMENT)
    assert again == endorsement
    client.flush(platform)
    with refused(0x1DF):
        client.load(key, private, made)


def test_change_of_seeds() -> None:
    tpm, client = started()
    for code, hierarchy in ((0x125, PLATFORM), (0x124, ENDORSEMENT)):
        before = client.create_primary(ecc_storage(), hierarchy)[1]
        client.call(code, [PLATFORM], b"", [b""])
        assert not tpm.objects
        handle, after = client.create_primary(ecc_storage(), hierarchy)
        assert after != before
        client.flush(handle)


def test_a_disabled_hierarchy_is_out_of_use() -> None:
    _, client = started()
    parent, _ = client.create_primary(ecc_storage())
    client.call(EVICT, [OWNER, parent], u32(0x81000001), [b""])
    client.call(0x121, [OWNER], u32(OWNER) + u8(0), [b""])
    with refused(0x185):
        client.create_primary(ecc_storage())
    with refused(0x18B):
        client.call(0x173, [0x81000001])
    with refused(0x910):
        client.call(0x173, [parent])
    client.call(0x121, [PLATFORM], u32(OWNER) + u8(1), [b""])
    client.call(0x173, [0x81000001])


def test_clear_control() -> None:
    _, client = started()
    client.call(0x127, [LOCKOUT], u8(1), [b""])
    with refused(0x120):
        client.call(0x126, [LOCKOUT], b"", [b""])
    with refused(0x8E):
        client.call(0x127, [LOCKOUT], u8(0), [b""])
    client.call(0x127, [PLATFORM], u8(0), [b""])
    client.call(0x126, [LOCKOUT], b"", [b""])


def test_clock_set_goes_forward_only() -> None:
    _, client = started()
    client.call(0x128, [OWNER], u64(10**9), [b""])
    with refused(0x1C4):
        client.call(0x128, [OWNER], u64(10**9 - 1), [b""])
    with refused(0x1C4):
        client.call(0x128, [OWNER], u64(0xFFFF000000000001), [b""])
