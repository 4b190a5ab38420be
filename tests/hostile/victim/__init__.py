"""Whom the attackers are after: a server that answers, keeps a secret and lends memory."""

from __future__ import annotations

from servers.runtime import Endpoint, Frame, Interface, Notification

SECRET = b"what only the victim knows"
"""What is in the victim's memory."""
PAGE = 4096
"""Bytes of a frame that is lent."""


class Victim(Interface):
    """What a victim does for anybody."""

    def ping(self, value: int) -> int:
        """One more."""

    def echo(self, data: bytes) -> bytes:
        """The same."""

    def caller(self) -> str:
        """Who calls, as far as the victim knows."""

    def secret(self) -> bytes:
        """What is where the secret was at the beginning."""

    def hide(self, secret: bytes) -> None:
        """Have a secret again."""

    def address(self) -> int:
        """Where in its memory the secret is."""

    def brief(self, facts: bytes) -> None:
        """Keep what attackers are to know."""

    def facts(self) -> bytes:
        """What attackers are to know."""

    def lend(self) -> Frame:
        """A new frame to read, full of the letter v, which the victim goes on to write."""

    def contents(self) -> bytes:
        """What the victim sees at the beginning of the frame."""

    def scribble(self, byte: int) -> None:
        """Fill the frame."""

    def take_back(self) -> int:
        """Revoke the frame; how long that took, in ns."""

    def bell(self) -> Notification:
        """A notification that the attacker may signal, as bit 1."""

    def heard(self) -> int:
        """The bits that were signalled."""

    def visit(self, endpoint: Endpoint, patience: int) -> str:
        """Call ``endpoint`` with a timeout in ns; how it went."""

    def reset(self) -> None:
        """Give up everything that was lent."""
