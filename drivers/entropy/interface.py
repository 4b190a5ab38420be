"""The entropy interface."""

from __future__ import annotations

from typing import Final

from servers.runtime import Interface

MOST: Final = 4096
"""Bytes that one call returns at most."""


class Entropy(Interface):
    """A source of random numbers fit for keys."""

    def read(self, size: int) -> bytes:
        """``size`` random bytes, 1 to ``MOST``."""
