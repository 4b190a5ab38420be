"""The table of TPM 2.0 commands in the manual, from the table that the TPM itself is driven by."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tpm.tpm20.commands import load
from tpm.tpm20.constants import CC, ROLE
from tpm.tpm20.table import TABLE

MANUAL: Final = Path(__file__).resolve().parent.parent / "docs" / "tpm.md"
_BEGIN: Final = "<!-- commands: written by `cloister abi` -->\n"
_END: Final = "<!-- end of commands -->\n"
_ROLES: Final = {ROLE.USER: "user", ROLE.ADMIN: "admin", ROLE.DUP: "dup"}

_UPGRADE = "this TPM is a program: replacing it is the upgrade"
_ATTACHED = "nothing is attached to this TPM (part 1, 44)"
_ECC = "optional in the PC Client profile, and no client asks for it"
ABSENT: Final = {
    "FieldUpgradeStart": (0x12F, _UPGRADE),
    "FieldUpgradeData": (0x141, _UPGRADE),
    "FirmwareRead": (0x179, _UPGRADE),
    "AC_GetCapability": (0x194, _ATTACHED),
    "AC_Send": (0x195, _ATTACHED),
    "Policy_AC_SendSelect": (0x196, _ATTACHED),
    "ACT_SetTimeout": (0x198, "the profile asks for no countdown timers, and there are none"),
    "ECC_Encrypt": (0x199, _ECC),
    "ECC_Decrypt": (0x19A, _ECC),
}
"""Commands of the library specification that there are not: code, and why."""


def table() -> str:
    """Every command of part 3, in the order of its code."""
    there = load(TABLE)
    rows = {}
    for family, commands in TABLE.items():
        for row in commands:
            code = getattr(CC, row.name)
            if code in there:
                roles = [
                    f"{name}: {_ROLES[kind[1]]}" if isinstance(kind, tuple) else name
                    for name, kind in row.handles.items()
                ]
                rows[code] = (row.name, f"`{family}`", ", ".join(roles) or "-", "yes")
    for name, (code, why) in ABSENT.items():
        rows[code] = (name, "-", "-", f"no: {why}")
    lines = ["| code | command | family | handles: authorization | here |", "|---|---|---|---|---|"]
    lines += [f"| {code:#05x} | {' | '.join(rows[code])} |" for code in sorted(rows)]
    count = sum(one[3] == "yes" for one in rows.values())
    return f"{count} of {len(rows)} commands are there.\n\n" + "\n".join(lines) + "\n"


def filled(text: str) -> str:
    """The manual with the table as it is now."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"
