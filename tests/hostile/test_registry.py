"""The table itself."""

from __future__ import annotations

import re

import pytest

from tests.hostile import attacks as _attacks
from tests.hostile.registry import ATTACKS, Attack, End, harmless, killed, killed_for, refused

assert _attacks


def test_attacks_are_many_and_described() -> None:
    assert len(ATTACKS) > 300
    for attack in ATTACKS.values():
        assert re.fullmatch(r"[a-z0-9-]+", attack.name)
        assert attack.text.endswith(".") and attack.text[0].isupper(), attack.name
        assert set(attack.holes) <= set(attack.programs), attack.name
        assert not attack.open_hand or attack.outcome.end is not End.HARMLESS, attack.name


def _fits(outcome: object, said: str) -> bool:
    some = next(iter(ATTACKS.values()))
    return Attack(**{**vars(some), "outcome": outcome}).fits(said)


@pytest.mark.parametrize(
    ("outcome", "said", "fits"),
    [
        (refused("EPERM"), "refused: EPERM Operation not permitted", True),
        (refused("EPERM"), "refused: EPERMX", False),
        (refused("EPERM"), "SUCCEEDED: EPERM", False),
        (refused("EPERM"), "crashed: killed by signal 9 (SIGKILL)", False),
        (harmless("42"), "harmless: it was 42", True),
        (harmless("42"), "refused: 42", False),
        (killed("malformed: "), "malformed: not an array", True),
        (killed("malformed: "), "harmless: malformed: not an array", False),
        (
            killed_for("bpf"),
            "crashed: made the host's system call bpf (reach), which is forbidden",
            True,
        ),
        (killed_for("bpf"), "crashed: made the host's system call bpfx, which is forbidden", False),
        (killed_for("bpf"), "crashed: killed by signal 31 (SIGSYS)", False),
    ],
)
def test_what_fits(outcome: object, said: str, fits: bool) -> None:
    assert _fits(outcome, said) is fits
