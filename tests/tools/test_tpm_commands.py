"""The manual's table of TPM commands is the TPM's."""

from __future__ import annotations

from tools import tpm_commands
from tpm.tpm20.commands import load
from tpm.tpm20.constants import CC
from tpm.tpm20.table import TABLE


def test_the_manual_is_up_to_date() -> None:
    text = tpm_commands.MANUAL.read_text(encoding="utf-8")
    assert tpm_commands.filled(text) == text, "run: cloister abi"


def test_every_command_is_there_or_has_a_reason() -> None:
    there = set(load(TABLE))
    declared = {code for name, code in vars(CC).items() if isinstance(code, int)}
    absent = {code for code, _ in tpm_commands.ABSENT.values()}
    assert not there & absent
    assert declared <= there | absent
