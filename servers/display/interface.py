"""The interfaces of the display server.

``Display`` is for guests; each client has one picture, under the name that init gave it.  A client
whose call ends with ``ServerDied``, or with ``Failed`` because nothing is attached, attaches again.
``DisplayControl`` is for the person's tools.
"""

from __future__ import annotations

from typing import Final

import msgspec

from drivers.vnc.interface import Event, Key, Pointer
from servers.runtime import Frame, Interface, Notification

PIXEL: Final = 4
"""Bytes of a pixel: blue, green, red, and one that is nothing."""
MOST_ACROSS, MOST_DOWN = 2048, 1536
"""Pixels of a guest's picture at most."""
LARGEST_FRAME: Final = 64 << 20
"""Bytes of the frame that a guest shares at most."""


class Picture(msgspec.Struct, array_like=True, frozen=True):
    """Where in the shared frame a guest's picture is."""

    offset: int
    """Bytes."""
    pitch: int
    """Bytes from a line to the next."""
    width: int
    """Pixels."""
    height: int


class Display(Interface):
    """One guest's screen, keyboard and pointer."""

    def attach(self, frame: Frame, wanted: Notification, happened: Notification) -> None:
        """Share a frame; to read is enough.

        ``wanted`` is signalled when the picture is to be brought up to date, which the guest says
        with ``update``, even if nothing changed; ``happened`` when there is something to ``read``.
        """

    def update(self, picture: Picture, changed: list[tuple[int, int]]) -> None:
        """The picture is up to date; of the lines that changed, ranges: the first and how many."""

    def read(self) -> list[Event]:
        """What the person did: keys and the pointer, in pixels of this picture."""


class ScreenInfo(msgspec.Struct, array_like=True, frozen=True):
    """One guest's screen, as the tools see it."""

    name: str
    label: str
    width: int
    """Pixels; 0 as long as there was no picture."""
    height: int
    chosen: bool
    """Whether it is what viewers see."""


class DisplayControl(Interface):
    """What a person may do with screens."""

    def screens(self) -> list[ScreenInfo]:
        """All screens that were ever attached."""

    def screenshot(self, name: str, bar: bool) -> int:
        """Take a picture of a screen, with the bar above it or without: a PNG file; its size.

        A guest that has ended, or does not answer, is shown as it was last.
        """

    def piece(self, offset: int) -> bytes:
        """A part of the picture that was taken last, as much as a message carries."""

    def choose(self, name: str) -> None:
        """Have viewers see this screen."""

    def press(self, name: str, codes: list[int]) -> None:
        """Press keys together, in their order, and let go of them; codes as of ``Key``."""


__all__ = ["Display", "DisplayControl", "Event", "Key", "Picture", "Pointer", "ScreenInfo"]
