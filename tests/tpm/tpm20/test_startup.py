"""Power, Startup and Shutdown, what each kind of startup keeps, and saved state."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest

from tests.tpm.tpm20.client import (
    OWNER,
    PLATFORM,
    SHA256,
    Client,
    Clock,
    Failed,
    b2,
    ecc_storage,
    engine,
    execute_checked,
    octets,
    sealed,
    started,
    u8,
    u16,
    u32,
)
from tpm.tpm20 import State, StateError, Tpm

CLEAR, STATE = 0, 1


def read(client: Client, pcr: int, bank: int = SHA256) -> bytes:
    select = (1 << pcr).to_bytes(3, "little")
    reply = client.call(0x17E, [], u32(1) + u16(bank) + b"\3" + select)
    return reply.parameters[20:]


def extend(client: Client, pcr: int) -> None:
    client.call(0x182, [pcr], u32(1) + u16(SHA256) + bytes(32), [b""])


def clock_info(client: Client) -> tuple[int, int, int]:
    """resetCount, restartCount and safe."""
    info = client.call(0x181).parameters
    return int.from_bytes(info[16:20], "big"), int.from_bytes(info[20:24], "big"), info[24]


def refused(code: int) -> Any:
    return pytest.raises(Failed, match=f"^{code:#x}$")


def test_resume_keeps_the_static_pcrs_and_restart_does_not() -> None:
    tpm, client = started()
    extend(client, 0)
    extend(client, 16)
    value, zeros = read(client, 0), bytes(32)
    client.call(0x145, [], u16(STATE))
    tpm.power_on()
    client.startup(STATE)
    assert read(client, 0) == value
    assert read(client, 16) == zeros
    assert clock_info(client)[:2] == (1, 1)
    client.call(0x145, [], u16(STATE))
    tpm.power_on()
    client.startup(CLEAR)
    assert read(client, 0) == zeros
    assert clock_info(client)[:2] == (1, 2)
    tpm.power_on()
    client.startup(CLEAR)
    assert clock_info(client) == (2, 0, 0)


def test_startup_state_without_saved_state_changes_nothing() -> None:
    """CVE-2018-6622: it must not reset PCRs under software that takes the TPM for resumed."""
    tpm, client = started()
    extend(client, 0)
    for shut_down in (False, True):
        if shut_down:
            client.call(0x145, [], u16(CLEAR))
        tpm.power_on()
        before = tpm.state.save()
        with refused(0x1C4):
            client.startup(STATE)
        assert not tpm.started
        assert tpm.state.save() == before
        client.startup(CLEAR)


@pytest.mark.parametrize("what", ["extend", "policy", "control"])
def test_a_change_after_shutdown_voids_it(what: str) -> None:
    tpm, client = started()
    client.call(0x145, [], u16(STATE))
    if what == "extend":
        extend(client, 0)
    elif what == "policy":
        client.call(0x12E, [PLATFORM], b2(bytes(32)) + u16(SHA256), [b""])
    else:
        client.call(0x121, [OWNER], u32(OWNER) + u8(0), [b""])
    tpm.power_on()
    with refused(0x1C4):
        client.startup(STATE)


def test_state_clear_data_lives_until_startup_clear() -> None:
    tpm, client = started()
    client.call(0x129, [PLATFORM], b2(b"new"), [b""])
    client.call(0x145, [], u16(STATE))
    tpm.power_on()
    client.startup(STATE)
    with refused(0x9A2):
        client.call(0x121, [PLATFORM], u32(OWNER) + u8(1), [b""])
    client.call(0x145, [], u16(STATE))
    tpm.power_on()
    client.startup(CLEAR)
    client.call(0x121, [PLATFORM], u32(OWNER) + u8(1), [b""])


@pytest.mark.parametrize(("locality", "last"), [(0, 0), (3, 3)])
def test_startup_locality_is_in_pcr_0(locality: int, last: int) -> None:
    tpm = engine()
    assert tpm.execute(octets("8001 0000000c 00000144 0000"), locality)[6:] == bytes(4)
    assert read(Client(tpm.execute), 0) == bytes(31) + bytes((last,))


@pytest.mark.parametrize("locality", [1, 2, 4])
def test_startup_at_another_locality_is_refused(locality: int) -> None:
    tpm = engine()
    assert tpm.execute(octets("8001 0000000c 00000144 0000"), locality)[6:] == u32(0x907)


def test_hcrtm_measurement_before_startup() -> None:
    tpm = engine()
    tpm.hash_start()
    tpm.hash_data(b"H-CRTM ")
    tpm.hash_data(b"code")
    tpm.hash_end()
    client = Client(execute_checked(tpm))
    client.startup()
    measured = hashlib.sha256(b"H-CRTM code").digest()
    expected = hashlib.sha256(bytes(31) + b"\4" + measured).digest()
    assert read(client, 0) == expected


def test_drtm_measurement_resets_the_dynamic_pcrs() -> None:
    tpm, client = started()
    assert read(client, 17) == read(client, 18) == b"\xff" * 32
    tpm.hash_start()
    tpm.hash_data(b"launch")
    tpm.hash_end()
    measured = hashlib.sha256(b"launch").digest()
    assert read(client, 17) == hashlib.sha256(bytes(32) + measured).digest()
    assert read(client, 18) == bytes(32)
    assert read(client, 0) == bytes(32)


def test_a_command_ends_a_measurement() -> None:
    tpm, client = started()
    tpm.hash_start()
    client.call(0x17B, [], u16(1))
    tpm.hash_data(b"x")
    tpm.hash_end()
    assert read(client, 17) == b"\xff" * 32


# Saved state.


def test_state_survives_being_saved_and_restored() -> None:
    tpm, client = started()
    parent, public = client.create_primary(ecc_storage())
    client.call(0x120, [OWNER, parent], u32(0x81000001), [b""])
    client.call(0x129, [OWNER], b2(b"owner"), [b""])
    client.call(0x145, [], u16(STATE))
    assert tpm.state.changed
    again = Tpm(State.restore(tpm.state.save()), os.urandom, Clock())
    assert not again.state.changed
    assert again.state.save() == tpm.state.save()
    other = Client(execute_checked(again))
    other.startup(STATE)
    assert other.call(0x173, [0x81000001]).tpm2b() == public
    with refused(0x9A2):
        other.call(0x120, [OWNER, 0x81000001], u32(0x81000001), [b""])
    other.call(0x120, [OWNER, 0x81000001], u32(0x81000001), [b"owner"])


def test_a_suspended_tpm_goes_on_where_it_was() -> None:
    clock = Clock()
    tpm, client = started(clock)
    parent, _ = client.create_primary(ecc_storage())
    private, public = client.create(parent, sealed(), b"auth", b"secret")
    item = client.load(parent, private, public)
    session = client.start_session(symmetric=(6, 128))
    extend(client, 3)
    clock.now += 5000
    time = client.call(0x181).parameters
    state, volatile = tpm.state.save(), tpm.save_volatile()
    later = Clock()
    later.now = 77
    again = Tpm(State.restore(state), os.urandom, later)
    again.restore_volatile(volatile)
    assert again.save_volatile() == volatile
    other = Client(execute_checked(again), client.names)
    assert other.call(0x181).parameters == time
    assert other.call(0x15E, [item], b"", [(session, b"auth")]).tpm2b() == b"secret"
    assert read(other, 3) == read(client, 3)


def _damaged(blob: Any) -> list[Any]:
    """Blobs that differ from a good one in a key, a type or a value's type."""
    out: list[Any] = [None, [], b"", {}, {**blob, "extra": 1}]
    for key, value in blob.items():
        rest = {name: held for name, held in blob.items() if name != key}
        out.append(rest)
        out.extend(
            {**blob, key: wrong}
            for wrong in (None, "text", 1.5, [1], {"x": 1}, b"short", -1)
            if type(wrong) is not type(value) or isinstance(value, dict)
        )
    return out


def test_a_blob_that_is_no_state_is_refused() -> None:
    tpm, client = started()
    client.call(0x145, [], u16(STATE))
    good = tpm.state.save()
    accepted = 0
    for blob in _damaged(good):
        try:
            State.restore(blob)
        except StateError:
            continue
        accepted += 1
        assert blob["saved"] is None  # the only value here that may be something else
    assert accepted == 1


def test_a_blob_that_is_no_volatile_state_is_refused() -> None:
    tpm, client = started()
    client.create_primary(ecc_storage())
    good = tpm.save_volatile()
    for blob in _damaged(good):
        with pytest.raises(StateError):
            tpm.restore_volatile(blob)
    assert tpm.save_volatile() == good


def test_unchanged_state_is_not_marked() -> None:
    tpm, client = started()
    tpm.state.changed = False
    client.call(0x17B, [], u16(8))
    extend(client, 0)
    client.create_primary(ecc_storage())
    assert not tpm.state.changed
    client.call(0x129, [OWNER], b2(b"x"), [b""])
    assert tpm.state.changed
