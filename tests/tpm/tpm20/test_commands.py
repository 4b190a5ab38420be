"""The table of commands, and what GetCapability makes of it."""

from __future__ import annotations

from tests.tpm.tpm20.client import ecc_storage, started, u16, u32
from tpm.tpm20.commands import function_name
from tpm.tpm20.constants import CC
from tpm.tpm20.dispatcher import COMMANDS
from tpm.tpm20.table import TABLE

GET_CAPABILITY = 0x17A


def capability(kind: int, first: int, count: int = 500) -> tuple[int, bytes]:
    """moreData, and the items behind their count."""
    _, client = started()
    reply = client.call(GET_CAPABILITY, [], u32(kind) + u32(first) + u32(count)).parameters
    assert reply[1:5] == u32(kind)
    return reply[0], reply[9:]


def test_names_of_functions() -> None:
    assert function_name("HierarchyChangeAuth") == "hierarchy_change_auth"
    assert function_name("NV_DefineSpace") == "nv_define_space"
    assert function_name("PCR_SetAuthPolicy") == "pcr_set_auth_policy"
    assert function_name("ChangeEPS") == "change_eps"
    assert function_name("PolicyOR") == "policy_or"
    assert function_name("PP_Commands") == "pp_commands"
    assert function_name("EC_Ephemeral") == "ec_ephemeral"


def test_every_row_is_a_command_and_stands_once() -> None:
    rows = [row for family in TABLE.values() for row in family]
    assert len({row.name for row in rows}) == len(rows)
    assert all(hasattr(CC, row.name) for row in rows)


def test_handles_that_need_authorization_come_first() -> None:
    for command in COMMANDS.values():
        assert all(command.roles[: command.auth_count]), command.name
        assert not any(command.roles[command.auth_count :]), command.name


def test_command_attributes_are_those_of_the_specification() -> None:
    known = {
        0x182: 0x02400182,  # PCR_Extend: nv, one handle
        0x176: 0x14000176,  # StartAuthSession: two handles, rHandle
        0x126: 0x02C00126,  # Clear: nv, extensive, one handle
        0x153: 0x02000153,  # Create
        0x165: 0x00000165,  # FlushContext: its handle is a parameter
        0x161: 0x10000161,  # ContextLoad: rHandle
        0x120: 0x04400120,  # EvictControl: nv, two handles
    }
    for code, attributes in known.items():
        assert COMMANDS[code].attributes == attributes


def test_capability_of_commands_is_the_table() -> None:
    more, items = capability(2, 0)
    assert more == 0
    expected = [command.attributes for command in COMMANDS.values()]
    assert items == b"".join(map(u32, expected))
    assert [value & 0xFFFF for value in expected] == sorted(COMMANDS)
    more, items = capability(2, 0x150, 3)
    assert more == 1
    assert len(items) == 12


def test_total_of_commands() -> None:
    _, items = capability(6, 0x129, 1)
    assert items == u32(0x129) + u32(len(COMMANDS))


def test_properties_stay_in_their_group() -> None:
    more, items = capability(6, 0x100)
    assert more == 0
    names = [int.from_bytes(items[at : at + 4], "big") for at in range(0, len(items), 8)]
    assert names == sorted(names)
    assert {name >> 8 for name in names} == {1}
    assert 0x105 in names
    _, items = capability(6, 0x200)
    assert items[:4] == u32(0x200)


def test_handles() -> None:
    _tpm, client = started()
    parent, _ = client.create_primary(ecc_storage())
    session = client.start_session()
    other = client.start_session(kind=1)
    client.call(0x162, [other.handle])

    def handles(first: int) -> list[int]:
        content = u32(1) + u32(first) + u32(100)
        items = client.call(GET_CAPABILITY, [], content).parameters[9:]
        return [int.from_bytes(items[at : at + 4], "big") for at in range(0, len(items), 4)]

    assert handles(0x80000000) == [parent]
    assert handles(0x02000000) == [session.handle]
    assert handles(0x03000000) == [0x02000001]
    assert handles(0) == list(range(24))
    assert 0x4000000A in handles(0x40000000)


def test_test_parms() -> None:
    _, client = started()
    client.call(0x18A, [], u16(8) + u16(0x10))
