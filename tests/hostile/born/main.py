"""It keeps the second filter from being installed, which the runtime would do after importing."""

from __future__ import annotations

from servers.runtime import host
from tests.hostile.program import main

host._tighten = lambda program: None

__all__ = ["main"]
