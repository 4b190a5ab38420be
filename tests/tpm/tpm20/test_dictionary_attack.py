"""Dictionary attack protection: the counter, what it locks, and how it heals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tpm.tpm20.client import (
    LOCKOUT,
    WITH_AUTH,
    Client,
    Clock,
    Failed,
    b2,
    ecc_storage,
    sealed,
    started,
    u32,
)
from tpm.tpm20 import Tpm

UNSEAL = 0x15E
LOCKED, FAILED = 0x921, 0x98E


def refused(code: int) -> Any:
    return pytest.raises(Failed, match=f"^{code:#x}$")


def protected() -> tuple[Tpm, Client, Clock, int]:
    clock = Clock()
    tpm, client = started(clock)
    parent, _ = client.create_primary(ecc_storage())
    private, public = client.create(parent, sealed(0x12 | WITH_AUTH), b"auth", b"secret")
    return tpm, client, clock, client.load(parent, private, public)


def guess(client: Client, item: int, times: int) -> None:
    for _ in range(times):
        with refused(FAILED):
            client.call(UNSEAL, [item], b"", [b"wrong"])


def test_lockout_and_its_reset() -> None:
    tpm, client, _, item = protected()
    client.call(UNSEAL, [item], b"", [b"auth"])
    guess(client, item, 3)
    with refused(LOCKED):
        client.call(UNSEAL, [item], b"", [b"auth"])
    client.call(0x139, [LOCKOUT], b"", [b""])
    client.call(UNSEAL, [item], b"", [b"auth"])
    assert tpm.state.failed_tries == 0


def test_first_use_is_never_asked_to_retry() -> None:
    """Clients trip over TPM_RC_RETRY; that a protected value was used is written away instead."""
    tpm, client, _, item = protected()
    tpm.state.changed = False
    client.call(UNSEAL, [item], b"", [b"auth"])
    assert tpm.state.da_used
    assert tpm.state.changed


def test_tries_heal_with_time() -> None:
    tpm, client, clock, item = protected()
    guess(client, item, 3)
    clock.now += 999_999
    with refused(LOCKED):
        client.call(UNSEAL, [item], b"", [b"auth"])
    clock.now += 1
    client.call(UNSEAL, [item], b"", [b"auth"])
    assert tpm.state.failed_tries == 2
    clock.now += 5_000_000
    client.call(UNSEAL, [item], b"", [b"auth"])
    assert tpm.state.failed_tries == 0


def test_power_loss_after_a_try_counts() -> None:
    tpm, client, _, item = protected()
    client.call(UNSEAL, [item], b"", [b"auth"])
    tpm.power_on()
    client.startup()
    assert tpm.state.failed_tries == 1
    tpm.power_on()
    client.startup()
    assert tpm.state.failed_tries == 1


def test_lockout_auth_fails_once() -> None:
    _tpm, client, clock, _ = protected()
    client.call(0x129, [LOCKOUT], b2(b"lock"), [b""])
    with refused(FAILED):
        client.call(0x139, [LOCKOUT], b"", [b"wrong"])
    with refused(LOCKED):
        client.call(0x139, [LOCKOUT], b"", [b"lock"])
    clock.now += 1_000_000
    client.call(0x139, [LOCKOUT], b"", [b"lock"])


def test_a_session_bound_to_a_protected_entity_counts() -> None:
    tpm, client, _, item = protected()
    session = client.start_session(bind=item, bind_auth=b"wrong")
    with refused(FAILED):
        client.call(0x182, [16], u32(0), [(session, b"")])
    assert tpm.state.failed_tries == 1


def test_parameters() -> None:
    tpm, client, _, item = protected()
    client.call(0x13A, [LOCKOUT], u32(1) + u32(0) + u32(0), [b""])
    guess(client, item, 5)
    assert tpm.state.failed_tries == 0
