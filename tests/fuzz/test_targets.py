"""Every target holds for what hypothesis thinks of, and for the corpus with some bytes changed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target, corpus

LONGEST = 2000
"""Bytes of a file of the corpus that is worth changing: the longer ones are long, and no more."""


def _edit(seed: bytes, at: int, patch: bytes) -> bytes:
    at %= len(seed) + 1
    return seed[:at] + patch + seed[at + len(patch) :]


def scripts(name: str, target: Target) -> st.SearchStrategy[bytes]:
    """Bytes, and those of the corpus with a few changed."""
    anything = st.binary(max_size=target.longest)
    full = st.binary(min_size=target.longest, max_size=target.longest)
    seeds = [path.read_bytes() for path in corpus(name) if path.stat().st_size <= LONGEST]
    if not seeds:
        return st.one_of(anything, full)
    edited = st.builds(
        _edit, st.sampled_from(seeds), st.integers(0, 4096), st.binary(min_size=1, max_size=8)
    )
    return st.one_of(anything, full, edited)


@pytest.mark.parametrize("name", TARGETS)
def test_the_promise_holds(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=target.examples,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(scripts(name, target))
    def run(data: bytes) -> None:
        target.run(data)

    run()
