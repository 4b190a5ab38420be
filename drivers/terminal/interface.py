"""The terminal interface: the keys and the screen of the person in front of the machine."""

from __future__ import annotations

import msgspec

from servers.runtime import Interface, Notification


class Input(msgspec.Struct, array_like=True, frozen=True):
    """What was typed."""

    data: bytes
    ended: bool
    """Nothing more will come: the input was closed."""


class Terminal(Interface):
    """A terminal.  It has one client."""

    def write(self, data: bytes) -> None:
        """Show the bytes; returns once the terminal has taken them."""
        ...

    def attach(self, input: Notification) -> None:
        """Signal this when there is something to read."""
        ...

    def listen(self, wanted: bool) -> None:
        """Take input from the terminal, or leave what is typed to others who use it."""
        ...

    def read(self) -> Input:
        """What was typed since the last read, possibly nothing."""
        ...
