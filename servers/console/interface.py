"""The interfaces of the console server.

``Console`` is for the guests and servers that have a console; each client has one, under the name
that init gave it.  A client whose call ends with ``ServerDied`` attaches again: the next server
knows nothing of it.  ``ConsoleControl`` is for the person's tools.
"""

from __future__ import annotations

from typing import Final

import msgspec

from servers.runtime import Interface, Notification

ESCAPE: Final = 0x1D
"""Control-] takes the terminal back from a console; no console ever sees it."""
SCROLLBACK: Final = 256 * 1024
"""Bytes of output that are kept for each console."""


class Console(Interface):
    """One console: a byte stream in each direction."""

    def write(self, data: bytes) -> None:
        """Output: shown if this console has the terminal, and kept for ``tail``.

        Returns later if the terminal takes it too slowly.
        """

    def attach(self, input: Notification) -> None:
        """Signal this when there is input to read."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes of input, possibly none."""


class ConsoleInfo(msgspec.Struct, array_like=True, frozen=True):
    """One console as the tools see it."""

    name: str
    focused: bool
    written: int
    """Bytes of output so far."""
    waiting: int
    """Bytes of input that were not read yet."""


class ConsoleControl(Interface):
    """What a person may do with consoles."""

    def consoles(self) -> list[ConsoleInfo]:
        """All consoles that were ever written to or attached."""

    def focus(self, name: str, replay: int) -> str:
        """Give the terminal to a console, after showing its last ``replay`` bytes.

        Returns when it is given back: "escape" (the person typed Control-]), "input ended", or
        "released".  A console that does not exist yet is created.
        """

    def show(self, name: str, replay: int, done: Notification, ends: bool = False) -> None:
        """The same as ``focus``, but return at once and signal ``done`` when it is given back.

        The end of the input gives the terminal back only if ``ends``: a guest whose input was a
        script goes on and is seen.
        """

    def release(self) -> None:
        """Take the terminal back from whichever console has it.

        Returns when all that was written while it had the terminal is shown.
        """

    def tail(self, name: str, size: int) -> bytes:
        """The last ``size`` bytes of a console's output, at most what one message carries.

        Nothing if there is no such console: its client may not have begun.
        """

    def type(self, name: str, data: bytes) -> None:
        """Input to a console as if it had been typed, without any Control-].

        Raises ``Busy`` if the console does not read its input.
        """
