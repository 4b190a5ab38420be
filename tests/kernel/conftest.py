"""A world for each test."""

from __future__ import annotations

import pytest

from tools.check.harness import World


@pytest.fixture
def world() -> World:
    """A booted kernel and a machine that obeys."""
    return World()
