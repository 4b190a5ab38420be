"""What is loaded again is remembered: faster, and otherwise as if it were not."""

from __future__ import annotations

import pytest

from tests.tpm.tpm20.client import (
    OWNER,
    PLATFORM,
    Client,
    Failed,
    b2,
    ecc_signing,
    ecc_storage,
    sealed,
    started,
    u16,
    u32,
)
from tpm.tpm20 import Tpm
from tpm.tpm20.objects import _CHILDREN, Object

INTEGRITY_P1 = 0x1DF
CLEAR, SIGN, UNSEAL, VERIFY = 0x126, 0x15D, 0x15E, 0x177


def parent(tpm: Tpm, handle: int) -> Object:
    found = tpm.objects[handle]
    assert isinstance(found, Object)
    return found


def sign(client: Client, key: int) -> bytes:
    ticket = u16(0x8024) + u32(0x40000007) + b2(b"")
    return client.call(SIGN, [key], b2(bytes(32)) + u16(0x10) + ticket, [b""]).parameters


def test_a_key_that_is_loaded_again_is_the_same_key() -> None:
    tpm, client = started()
    above, _ = client.create_primary(ecc_storage())
    parts = client.create(above, ecc_signing())
    first = client.load(above, *parts)
    second = client.load(above, *parts)
    assert first != second and tpm.objects[first] is tpm.objects[second]
    client.flush(first)
    client.call(VERIFY, [second], b2(bytes(32)) + sign(client, second))


def test_a_private_area_that_was_changed_is_not_the_one_that_is_remembered() -> None:
    _, client = started()
    above, _ = client.create_primary(ecc_storage())
    private, public = client.create(above, sealed(), data=b"secret")
    client.flush(client.load(above, private, public))
    for at in (2, len(private) // 2, len(private) - 1):
        changed = private[:at] + bytes((private[at] ^ 1,)) + private[at + 1 :]
        with pytest.raises(Failed) as found:
            client.load(above, changed, public)
        assert found.value.code == INTEGRITY_P1


def test_another_public_area_is_not_the_one_that_is_remembered() -> None:
    _, client = started()
    above, _ = client.create_primary(ecc_storage())
    private, public = client.create(above, sealed(), data=b"secret")
    other = client.create(above, sealed(), data=b"another")[1]
    client.flush(client.load(above, private, public))
    with pytest.raises(Failed) as found:
        client.load(above, private, other)
    assert found.value.code == INTEGRITY_P1


def test_another_parent_does_not_know_the_children() -> None:
    _, client = started()
    above, _ = client.create_primary(ecc_storage())
    parts = client.create(above, sealed(), data=b"secret")
    client.flush(client.load(above, *parts))
    beside, _ = client.create_primary(ecc_storage(), PLATFORM)
    with pytest.raises(Failed) as found:
        client.load(beside, *parts)
    assert found.value.code == INTEGRITY_P1


def test_what_is_remembered_ends_with_the_parent() -> None:
    """Clear gives the owner another seed: the same template is another key, which knows nothing."""
    tpm, client = started()
    above, _ = client.create_primary(ecc_storage())
    parts = client.create(above, sealed(), data=b"secret")
    client.flush(client.load(above, *parts))
    assert parent(tpm, above)._children
    client.call(CLEAR, [PLATFORM], b"", [b""])
    assert not tpm.objects
    above, _ = client.create_primary(ecc_storage(), OWNER)
    assert not parent(tpm, above)._children
    with pytest.raises(Failed) as found:
        client.load(above, *parts)
    assert found.value.code == INTEGRITY_P1


def test_a_parent_remembers_the_latest_alone() -> None:
    tpm, client = started()
    above, _ = client.create_primary(ecc_storage())
    made = [client.create(above, sealed(), data=b"%d" % number) for number in range(_CHILDREN + 3)]
    for private, public in made:
        client.flush(client.load(above, private, public))
    kept = parent(tpm, above)._children
    assert [private for private, _ in kept] == [private for private, _ in made[3:]]
    for number, parts in enumerate(made):
        loaded = client.load(above, *parts)
        assert client.call(UNSEAL, [loaded], b"", [b""]).tpm2b() == b"%d" % number
        client.flush(loaded)
