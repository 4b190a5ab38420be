"""A server that tells which modules its process has loaded."""

from __future__ import annotations

from servers.runtime import Interface


class Teller(Interface):
    """Tells of itself."""

    def modules(self) -> list[str]:
        """The names of all modules."""
