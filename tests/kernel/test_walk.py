"""Random walks by seed: more steps than hypothesis takes, without shrinking.

A failure names the command that repeats it.
"""

from __future__ import annotations

import pytest

from tools.check.walks import seeded

STEPS = 400


@pytest.mark.parametrize("seed", range(40))
def test_walk(seed: int) -> None:
    assert sum(1 for _ in seeded(seed, STEPS)) == STEPS
