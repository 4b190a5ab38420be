"""The interface of a viewer: the screen, the keyboard and the pointer of a person."""

from __future__ import annotations

from typing import Final

import msgspec

from servers.runtime import Frame, Interface

PIXEL: Final = 4
"""Bytes of a pixel: blue, green, red, and one that is nothing."""
LEFT, MIDDLE, RIGHT, WHEEL_UP, WHEEL_DOWN = 1, 2, 4, 8, 16
"""Buttons of the pointer.  A notch of the wheel is a press and a release."""
MOST: Final = 256
"""Events that one ``read`` returns at most."""


class Key(msgspec.Struct, array_like=True, frozen=True, tag="key"):
    """A key was pressed, or let go of."""

    code: int
    """Its code in set 1 of a PC's keyboard, with 80h added for those that an E0h precedes there."""
    down: bool


class Pointer(msgspec.Struct, array_like=True, frozen=True, tag="pointer"):
    """Where the pointer is, in pixels from the upper left corner, and which buttons are pressed."""

    x: int
    y: int
    buttons: int


class Viewers(msgspec.Struct, array_like=True, frozen=True, tag="viewers"):
    """How many are looking."""

    count: int


Event = Key | Pointer | Viewers


class Viewer(Interface):
    """A viewer.  It has one client."""

    def show(self, picture: Frame, width: int, height: int) -> None:
        """Show this picture from now on: lines of ``width`` pixels, one after the other."""

    def changed(self, ranges: list[tuple[int, int]]) -> None:
        """The picture is up to date; of the lines that changed, ranges: the first and how many.

        Also said, with no lines perhaps, some time after somebody came to look: what a newcomer is
        shown first is not what nobody looked at for long.
        """

    def read(self) -> list[Event]:
        """Wait until something happens.

        A viewer that was just started says first how many are looking.
        """
