"""Random walks by seed: more steps than hypothesis takes, without shrinking."""

from __future__ import annotations

import random

import pytest

from tools.check.walk import Walker

STEPS = 400


@pytest.mark.parametrize("seed", range(40))
def test_walk(seed: int) -> None:
    walker = Walker(random.Random(seed).randrange)
    try:
        for _ in range(STEPS):
            walker.step()
    except AssertionError as error:
        pytest.fail(f"{error}; ./cloister check --seed {seed} repeats it")
