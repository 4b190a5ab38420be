"""Every attack, in a whole sandbox: it is foiled, its end is told, and everybody else goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile import attacks as _attacks
from tests.hostile.registry import ATTACKS, Attack
from tests.hostile.rig import Range, check

assert _attacks


def _cases() -> Iterator[object]:
    for attack in ATTACKS.values():
        for program in attack.programs:
            name = f"{attack.group}-{attack.name}-{program}"
            hole = attack.holes.get(program)
            marks = [pytest.mark.xfail(reason=hole, strict=True)] if hole else []
            yield pytest.param(attack, program, id=name, marks=marks)


@pytest.mark.parametrize(("attack", "program"), [*_cases()])
def test_attack(arena: Range, attack: Attack, program: str) -> None:
    check(arena, attack, program)
