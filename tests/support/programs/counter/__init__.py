"""A server that counts; the interface is what its client imports."""

from __future__ import annotations

from servers.runtime import Frame, Interface, Notification


class Counter(Interface):
    """Counts up."""

    def add(self, amount: int) -> int:
        """The sum so far; raises ``BadRequest`` for a negative amount."""

    def fill(self, frame: Frame, byte: int) -> int:
        """Write a byte all over a frame; its size."""

    def keep(self, frame: Frame) -> int:
        """Map a frame and keep it so; its first byte."""

    def tell(self, notification: Notification, bits: int) -> None:
        """Signal a notification."""

    def fail(self) -> None:
        """End with an exception that the interface does not know."""

    def fail_hard(self) -> None:
        """End the process before it answers."""

    def slow(self, duration: int) -> None:
        """Answer after so many ns."""
