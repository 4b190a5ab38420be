"""A table of an image: big-endian numbers in a cluster or several, kept here while in use.

Only the sectors that changed are written.
"""

from __future__ import annotations

import sys
from array import array
from typing import Final

from servers.store.file import File, read_bytes

SECTOR: Final = 512
TYPES: Final = {3: "B", 4: "H", 5: "I", 6: "Q"}
"""Bits of a number, as a power of two -> what holds it."""


class Table:
    """Numbers at ``at``; ``changed`` are those of its sectors that are not written yet."""

    __slots__ = ("_order", "at", "changed", "numbers")

    def __init__(self, at: int, numbers: array[int], order: int = 6) -> None:
        self.at = at
        self.numbers = numbers
        self.changed: set[int] = set()
        self._order = order

    @classmethod
    def new(cls, at: int, count: int, order: int = 6) -> Table:
        """A table of zeros, none of which is written yet."""
        numbers = array(TYPES[order])
        table = cls(at, array(numbers.typecode, bytes(count * numbers.itemsize)), order)
        table.changed.update(range(-(-len(table.numbers) * numbers.itemsize // SECTOR)))
        return table

    @classmethod
    def load(cls, file: File, at: int, count: int, order: int = 6) -> Table:
        numbers = array(TYPES[order])
        numbers.frombytes(read_bytes(file, at, count * numbers.itemsize))
        _swap(numbers)
        return cls(at, numbers, order)

    def set(self, index: int, value: int) -> None:
        self.numbers[index] = value
        self.changed.add((index << self._order) >> 12)

    def write(self, file: File) -> None:
        """Begin to write what changed.  ``changed`` stays until ``written``."""
        size = self.numbers.itemsize
        step = SECTOR // size
        for sector in sorted(self.changed):
            part = self.numbers[sector * step : (sector + 1) * step]
            _swap(part)
            file.write(self.at + sector * SECTOR, part.tobytes().ljust(SECTOR, b"\0"))

    def written(self) -> None:
        self.changed.clear()


def _swap(numbers: array[int]) -> None:
    if sys.byteorder == "little":
        numbers.byteswap()
