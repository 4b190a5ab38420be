"""Command audit (part 3, 21; part 1, 30.2). The digest itself is `tpm20/audit.py`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20.constants import ALG, CC, RC, P, TpmError

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_NEVER = frozenset((CC.Shutdown,))
"""What is done after the digest was saved cannot be in it."""
_ALWAYS = frozenset((CC.SetCommandCodeAuditStatus,))


def set_command_code_audit_status(
    tpm: Tpm, auth: int, audit_alg: int, set_list: list[int], clear_list: list[int]
) -> None:
    """Part 3, 21.2: another hash algorithm, or another list of audited commands."""
    if audit_alg not in (ALG.NULL, tpm.state.audit_alg):
        if set_list or clear_list:
            raise TpmError(RC.VALUE + P(1))
        _change_algorithm(tpm, audit_alg)
        return
    from tpm.tpm20.dispatcher import COMMANDS

    before = set(tpm.state.audit_commands)
    after = before | (COMMANDS.keys() & set(set_list) - _NEVER)
    after -= set(clear_list) - _ALWAYS
    if after != before:
        tpm.state.audit_commands = sorted(after)
        tpm.state.changed = True


def _change_algorithm(tpm: Tpm, audit_alg: int) -> None:
    """The digest begins anew, with the next audited command and not with this one."""
    tpm.void_shutdown()
    tpm.state.audit_alg = audit_alg
    tpm.state.changed = True
    tpm.reset.command_audit_digest = b""
    tpm.audit_alg_changed = True
