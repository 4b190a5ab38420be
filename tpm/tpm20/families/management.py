"""Miscellaneous management (part 3, 26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20.constants import CC

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_ALWAYS = frozenset((CC.PP_Commands,))


def pp_commands(tpm: Tpm, auth: int, set_list: list[int], clear_list: list[int]) -> None:
    """Part 3, 26.2: the commands that ask for physical presence where the platform authorizes.

    A command for which that cannot be asked is passed over, wherever it stands.
    """
    from tpm.tpm20.dispatcher import COMMANDS

    possible = {code for code, command in COMMANDS.items() if command.pp}
    before = set(tpm.state.pp_commands)
    after = before | (possible & set(set_list))
    after -= set(clear_list) - _ALWAYS
    if after != before:
        tpm.state.pp_commands = sorted(after)
        tpm.state.changed = True


def set_algorithm_set(tpm: Tpm, auth: int, algorithm_set: int) -> None:
    """Part 3, 26.3. What a set means is the vendor's to say: this TPM has one set of algorithms,
    and keeps the platform's value for TPM_PT_ALGORITHM_SET."""
    if algorithm_set != tpm.state.algorithm_set:
        tpm.state.algorithm_set = algorithm_set
        tpm.state.changed = True
