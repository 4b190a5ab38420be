"""The terminal interface: the keys and the screen of the person in front of the machine."""

from __future__ import annotations

from typing import Final

import msgspec

from servers.runtime import Interface

MOST: Final = 4096
"""Bytes that one ``read`` returns at most."""


class Input(msgspec.Struct, array_like=True, frozen=True):
    """What was typed."""

    data: bytes
    ended: bool
    """Nothing more will come: the input was closed."""


class Terminal(Interface):
    """A terminal.  It has one client."""

    def write(self, data: bytes) -> None:
        """Show the bytes; returns once the terminal has taken them, which may be never."""

    def listen(self, wanted: bool) -> None:
        """Let ``read`` take input, or leave what is typed to others who use the terminal.

        A driver that was just started does not listen.
        """

    def read(self) -> Input:
        """Wait for what is typed; returns nothing as soon as the driver does not listen.

        The terminal is read only while a call waits here, and input is not kept back, so whoever
        cannot take more just does not call.
        """
