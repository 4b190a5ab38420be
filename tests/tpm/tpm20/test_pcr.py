"""PCRs: extending, localities, banks, and the authorization of PCRs 20 to 22."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.tpm.tpm20.client import (
    NULL,
    PLATFORM,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    Client,
    Failed,
    b2,
    octets,
    password,
    rc,
    started,
    u16,
    u32,
    with_area,
)

BANKS = {SHA1: hashlib.sha1, SHA256: hashlib.sha256, SHA384: hashlib.sha384, SHA512: hashlib.sha512}
EXTEND, EVENT, RESET, READ, ALLOCATE = 0x182, 0x13C, 0x13D, 0x17E, 0x12B


def refused(code: int) -> Any:
    return pytest.raises(Failed, match=f"^{code:#x}$")


def read(client: Client, bank: int, pcr: int) -> tuple[int, bytes]:
    """The update counter and the value."""
    select = b"\3" + (1 << pcr).to_bytes(3, "little")
    reply = client.call(READ, [], u32(1) + u16(bank) + select).parameters
    return int.from_bytes(reply[:4], "big"), reply[20:]


@pytest.mark.parametrize("bank", BANKS)
def test_extend(bank: int) -> None:
    _, client = started()
    value = BANKS[bank](b"measured").digest()
    counter, before = read(client, bank, 5)
    client.call(EXTEND, [5], u32(1) + u16(bank) + value, [b""])
    assert read(client, bank, 5) == (counter + 1, BANKS[bank](before + value).digest())


def test_event_extends_every_bank() -> None:
    _, client = started()
    reply = client.call(EVENT, [7], b2(b"event"), [b""]).parameters
    assert reply[:4] == u32(4)
    for bank, function in BANKS.items():
        value = function(b"event").digest()
        assert u16(bank) + value in reply
        assert read(client, bank, 7)[1] == function(bytes(len(value)) + value).digest()


def test_null_is_extended_by_nothing() -> None:
    tpm, client = started()
    before = tpm.save_volatile()
    client.call(EXTEND, [NULL], u32(1) + u16(SHA256) + bytes(32), [b""])
    assert tpm.save_volatile() == before


def test_read_gives_eight_at_once() -> None:
    _, client = started()
    reply = client.call(READ, [], u32(1) + u16(SHA256) + octets("03 ffffff")).parameters
    assert reply[4:] == u32(1) + u16(SHA256) + octets("03 ff0000") + u32(8) + b2(bytes(32)) * 8


EXTENDABLE = {0: 0x1F, 16: 0x1F, 17: 0x1C, 19: 0x0C, 20: 0x0E, 22: 0x04, 23: 0x1F}
RESETTABLE = {0: 0, 15: 0, 16: 0x0F, 17: 0x10, 20: 0x14, 22: 0x14, 23: 0x0F}


@pytest.mark.parametrize("locality", range(5))
def test_localities_of_the_pc_client_profile(locality: int) -> None:
    tpm, _ = started()
    for code, parameters, allowed in ((EXTEND, u32(0), EXTENDABLE), (RESET, b"", RESETTABLE)):
        for pcr, mask in allowed.items():
            command = with_area(code, [pcr], password(), parameters)
            expected = 0 if mask >> locality & 1 else 0x907
            assert rc(tpm.execute(command, locality)) == expected, (pcr, locality)


def test_a_pcr_that_does_not_count() -> None:
    _, client = started()
    counter, _ = read(client, SHA256, 16)
    client.call(EXTEND, [16], u32(1) + u16(SHA256) + bytes(32), [b""])
    client.call(RESET, [16], b"", [b""])
    assert read(client, SHA256, 16) == (counter, bytes(32))


def test_allocation_is_effective_after_a_reset() -> None:
    tpm, client = started()
    only_sha256 = u32(3) + b"".join(u16(bank) + octets("03 000000") for bank in (4, 12, 13))
    with refused(0x127):
        client.call(
            ALLOCATE, [PLATFORM], u32(4) + only_sha256[4:] + u16(11) + octets("03 000000"), [b""]
        )
    assert client.call(ALLOCATE, [PLATFORM], only_sha256, [b""]).parameters[:1] == b"\1"
    assert len(read(client, SHA1, 0)[1]) == 22 - 2
    with refused(0x1CA):
        client.call(0x145, [], u16(1))
    tpm.power_on()
    client.startup()
    assert read(client, SHA1, 0)[1] == b""
    assert len(read(client, SHA256, 0)[1]) == 32
    client.call(EXTEND, [0], u32(1) + u16(SHA1) + bytes(20), [b""])


def test_auth_value_and_policy_of_pcrs_20_to_22() -> None:
    tpm, client = started()
    client.call(0x183, [20], b2(b"auth"), [b""])
    with refused(0x84):
        client.call(0x183, [0], b2(b"auth"), [b""])
    wrong = with_area(RESET, [21], password(), b"")
    right = with_area(RESET, [21], password(b"auth"), b"")
    assert rc(tpm.execute(wrong, 2)) == 0x9A2
    assert rc(tpm.execute(right, 2)) == 0
    client.call(0x12C, [PLATFORM], b2(bytes(32)) + u16(SHA256) + u32(22), [b""])
    assert rc(tpm.execute(right, 2)) == 0x124
    with refused(0x1D5):
        client.call(0x12C, [PLATFORM], b2(bytes(31)) + u16(SHA256) + u32(22), [b""])
    with refused(0x3C4):
        client.call(0x12C, [PLATFORM], b2(bytes(32)) + u16(SHA256) + u32(1), [b""])
