"""It has imported everything, and both filters are in place."""

from __future__ import annotations

from tests.hostile.program import main

__all__ = ["main"]
