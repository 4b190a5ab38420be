"""A process that hands on what it holds, for capabilities that the operator has no other way to."""

from __future__ import annotations

from servers.runtime import Endpoint, Interface


class Hand(Interface):
    """Hands on."""

    def give(self, name: str) -> Endpoint:
        """A capability that was routed to it."""
