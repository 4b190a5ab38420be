"""The label bar: whose picture is below it, in a place that no guest can draw in.

Each guest has a tab with its name and label; the colour is the label's.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from servers.display import font

Colour = tuple[int, int, int]
"""Red, green, blue."""

HEIGHT: Final = 28
"""Lines of the bar, the edge below it included."""
LEAST: Final = 480
"""Pixels across at the least: a guest's name must be readable, however small its picture."""
SCALE: Final = 2
_MARGIN: Final = 10
_TOP: Final = 5
_EDGE: Final = 3
_BACK: Final[Colour] = (0x1E, 0x22, 0x2A)
_INK: Final[Colour] = (0xFF, 0xFF, 0xFF)
_DIM: Final[Colour] = (0x9A, 0xA2, 0xB0)
LABELS: Final[tuple[Colour, ...]] = (
    *((0x1F, 0x6F, 0xB2), (0x2E, 0x7D, 0x32), (0xB7, 0x3E, 0x1D), (0x7B, 0x3F, 0xA0)),
    *((0x00, 0x79, 0x6B), (0xA0, 0x6A, 0x00), (0xAD, 0x1A, 0x5C), (0x4A, 0x5A, 0x8C)),
)
"""What labels are painted with."""


class Tab(NamedTuple):
    """One guest in the bar."""

    name: str
    label: str
    colour: Colour

    @property
    def text(self) -> str:
        return f"{self.name} - {self.label}" if self.label else self.name

    @property
    def width(self) -> int:
        return len(self.text) * font.WIDTH * SCALE + 2 * _MARGIN


def places(tabs: list[Tab], width: int) -> list[tuple[int, int]]:
    """Where each tab is: from which pixel to which.  What has no room is cut off."""
    found, left = [], 0
    for tab in tabs:
        right = min(left + tab.width, width)
        found.append((left, right))
        left = right
    return found


def _pixel(colour: Colour) -> bytes:
    red, green, blue = colour
    return bytes((blue, green, red, 0))


def draw(tabs: list[Tab], chosen: int, width: int) -> bytes:
    """The bar's pixels: the chosen guest's tab is in its label's colour, as is the edge below."""
    rows = [bytearray(_pixel(_BACK) * width) for _ in range(HEIGHT - _EDGE)]
    edge = _pixel(tabs[chosen].colour if tabs else _BACK) * width
    for number, (tab, (left, right)) in enumerate(zip(tabs, places(tabs, width), strict=True)):
        _draw_tab(rows, tab, left, right, number == chosen)
    return b"".join(rows) + edge * _EDGE


def _draw_tab(rows: list[bytearray], tab: Tab, left: int, right: int, chosen: bool) -> None:
    if right <= left:
        return
    paper = _pixel(tab.colour if chosen else _BACK)
    ink = _pixel(_INK if chosen else _DIM)
    margin = bytes(_MARGIN)
    drawn = font.draw(tab.text, SCALE)
    blank = bytes(len(drawn[0]))
    for number, row in enumerate(rows):
        line = drawn[number - _TOP] if 0 <= number - _TOP < len(drawn) else blank
        dots = (margin + line + margin)[: right - left]
        row[4 * left : 4 * right] = b"".join([ink if dot else paper for dot in dots])
    if not chosen:  # a mark in the label's colour
        for row in rows[-_EDGE:]:
            row[4 * left : 4 * (right - SCALE)] = _pixel(tab.colour) * (right - SCALE - left)
