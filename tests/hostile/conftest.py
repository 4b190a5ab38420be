"""Systems of attackers, one in each process of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.rig import Range


@pytest.fixture(scope="session")
def arena() -> Iterator[Range]:
    """The system, with the whole sandbox."""
    with Range() as booted:
        booted.attack("obey", "born")  # so that everything is in place that is only made once
        yield booted
