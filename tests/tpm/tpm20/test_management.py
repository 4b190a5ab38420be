"""PP_Commands and SetAlgorithmSet (part 3, 26)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from tests.tpm.tpm20.client import OWNER, PLATFORM, Client, Failed, b2, engine, started, u8, u32
from tests.tpm.tpm20.nv_client import (
    INDEX,
    PLATFORMCREATE,
    POLICY_DELETE,
    PPREAD,
    PPWRITE,
    define,
)
from tests.tpm.tpm20.oracle import AVAILABLE, Oracle
from tests.tpm.tpm20.test_against_swtpm import Side, compare
from tpm.tpm20 import Tpm

PP_COMMANDS, SET_ALGORITHM_SET = 0x12D, 0x13F
CLEAR, GET_RANDOM, CHANGE_AUTH, UNDEFINE_SPECIAL, HASH = 0x126, 0x17B, 0x129, 0x11F, 0x17D
POLICY_COMMAND_CODE = 0x16C
NO_PRESENCE = 0x990
"""TPM_RC_PP about the first session."""


def lists(first: Sequence[int] = (), second: Sequence[int] = ()) -> bytes:
    """setList and clearList."""
    return b"".join(u32(len(one)) + b"".join(map(u32, one)) for one in (first, second))


def gated(client: Client) -> list[int]:
    """TPM_CAP_PP_COMMANDS."""
    reply = client.call(0x17A, [], u32(3) + u32(0) + u32(255)).parameters
    return [int.from_bytes(reply[at : at + 4], "big") for at in range(9, len(reply), 4)]


@pytest.fixture
def present() -> tuple[Tpm, Client]:
    """A TPM whose operator is at the machine."""
    tpm, client = started()
    tpm.physical_presence = lambda: True
    return tpm, client


def change(client: Client, first: Sequence[int] = (), second: Sequence[int] = ()) -> None:
    client.call(PP_COMMANDS, [PLATFORM], lists(first, second), [b""])


def test_nothing_changes_without_physical_presence() -> None:
    tpm, client = started()
    before = tpm.state.save()
    with pytest.raises(Failed) as failure:
        change(client, [CLEAR])
    assert failure.value.code == NO_PRESENCE
    assert tpm.state.save() == before


def test_a_command_asks_for_presence_once_it_is_listed(present: tuple[Tpm, Client]) -> None:
    tpm, client = present
    change(client, [CLEAR, CHANGE_AUTH])
    assert gated(client) == [CLEAR, CHANGE_AUTH, PP_COMMANDS]
    client.call(CLEAR, [PLATFORM], b"", [b""])
    tpm.physical_presence = lambda: False
    for code, parameters in ((CLEAR, b""), (CHANGE_AUTH, b2(b"new"))):
        with pytest.raises(Failed) as failure:
            client.call(code, [PLATFORM], parameters, [b""])
        assert failure.value.code == NO_PRESENCE
    # The owner's authorization does not need it.
    client.call(CHANGE_AUTH, [OWNER], b2(b"new"), [b""])


def test_the_list_is_kept_over_a_reset(present: tuple[Tpm, Client]) -> None:
    tpm, client = present
    change(client, [CLEAR])
    assert tpm.state.changed
    tpm.power_on()
    client.startup()
    assert gated(client) == [CLEAR, PP_COMMANDS]


def test_a_command_in_both_lists_asks_no_longer(present: tuple[Tpm, Client]) -> None:
    _, client = present
    change(client, [CLEAR])
    change(client, [CLEAR, CHANGE_AUTH], [CLEAR])
    assert gated(client) == [CHANGE_AUTH, PP_COMMANDS]


def test_the_command_itself_always_asks(present: tuple[Tpm, Client]) -> None:
    _, client = present
    change(client, [], [PP_COMMANDS])
    assert gated(client) == [PP_COMMANDS]


def test_commands_that_the_platform_does_not_authorize_are_passed_over(
    present: tuple[Tpm, Client],
) -> None:
    tpm, client = present
    tpm.state.changed = False
    change(client, [GET_RANDOM, HASH, 0xDEAD, 0x20000000], [GET_RANDOM, 0xDEAD])
    assert gated(client) == [PP_COMMANDS]
    assert not tpm.state.changed


def test_presence_is_asked_for_wherever_the_platform_stands(present: tuple[Tpm, Client]) -> None:
    """In NV_UndefineSpaceSpecial the platform is the second handle."""
    tpm, client = present
    change(client, [UNDEFINE_SPECIAL])
    policy = hashlib.sha256(bytes(32) + u32(POLICY_COMMAND_CODE) + u32(UNDEFINE_SPECIAL)).digest()
    bits = POLICY_DELETE | PLATFORMCREATE | PPWRITE | PPREAD
    define(client, bits, policy=policy, by=PLATFORM)
    session = client.start_session(1)
    client.call(POLICY_COMMAND_CODE, [session.handle], u32(UNDEFINE_SPECIAL))
    tpm.physical_presence = lambda: False
    with pytest.raises(Failed) as failure:
        client.call(UNDEFINE_SPECIAL, [INDEX, PLATFORM], b"", [(session, b""), b""])
    assert failure.value.code == NO_PRESENCE + 0x100
    tpm.physical_presence = lambda: True
    client.call(UNDEFINE_SPECIAL, [INDEX, PLATFORM], b"", [(session, b""), b""])


def test_lists_that_are_too_long() -> None:
    tpm = engine()
    tpm.physical_presence = lambda: True
    client = Client(tpm.execute)
    client.startup()
    with pytest.raises(Failed) as failure:
        change(client, [CLEAR] * 255)
    assert failure.value.code == 0x1D5
    with pytest.raises(Failed) as failure:
        change(client, [], [CLEAR] * 255)
    assert failure.value.code == 0x2D5
    change(client, [CLEAR] * 254, [CLEAR] * 254)
    assert gated(client) == [PP_COMMANDS]


def test_the_algorithm_set_is_kept_and_reported() -> None:
    tpm, client = started()
    client.call(SET_ALGORITHM_SET, [PLATFORM], u32(7), [b""])
    tpm.power_on()
    client.startup()
    reply = client.call(0x17A, [], u32(6) + u32(0x20C) + u32(1)).parameters
    assert reply[-8:] == u32(0x20C) + u32(7)


def scenario(side: Side) -> None:
    def presence(name: str, parameters: bytes, handle: int = PLATFORM, auth: bytes = b"") -> None:
        side.step(name, PP_COMMANDS, [handle], parameters, [auth])

    presence("nothing", lists())
    presence("clear", lists([CLEAR]))
    presence("owner", lists(), OWNER)
    presence("wrong auth", lists(), auth=b"wrong")
    presence("cut", lists()[:-1])
    side.step("no auth", PP_COMMANDS, [PLATFORM], lists())
    for auth in (b"", b"wrong"):
        session = side.client.start_session()
        side.step("session", PP_COMMANDS, [PLATFORM], lists(), [(session, auth)])
    side.capability(3, 0)
    for content in (u32(0), u32(5), u32(0xFFFFFFFF), b"", u8(0), u32(0) + b"x"):
        side.step("algorithms", SET_ALGORITHM_SET, [PLATFORM], content, [b""])
        side.capability(6, 0x20C, 1)
    side.step("owner", SET_ALGORITHM_SET, [OWNER], u32(1), [b""])
    side.step("no auth", SET_ALGORITHM_SET, [PLATFORM], u32(1))
    side.power_on()
    side.client.startup()
    side.capability(6, 0x20C, 1)


@pytest.mark.skipif(not AVAILABLE, reason="swtpm is not installed")
def test_against_swtpm() -> None:
    with Oracle() as oracle:
        compare(scenario, oracle)
