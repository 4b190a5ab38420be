"""A client that tries what the counting server and the kernel can do, and says what happened."""

from __future__ import annotations

from servers.runtime import Interface


class Worker(Interface):
    """Runs its trials in its own process."""

    def work(self) -> list[str]:
        """What happened, in words that are the same on every machine."""

    def direct(self) -> list[str]:
        """Calls to the counter over a link, and what they gave."""

    def threads(self) -> int:
        """Have three threads call the server and end; the sum that the last one got."""
