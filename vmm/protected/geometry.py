"""Where things are on a protected disk, in blocks of 4096 bytes: data first, then the hash tree.

A hash block has the codes of 256 blocks.  The first level of hash blocks covers the data, each next
level the one before it, until one block covers all; its own code is the root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

BLOCK: Final = 4096
CODE: Final = 16
"""Bytes of a block's authentication code."""
FANOUT: Final = BLOCK // CODE


class Slot(NamedTuple):
    """Where a block's code is: in which hash block, and at which byte of it."""

    block: int
    at: int


@dataclass(frozen=True)
class Geometry:
    """The layout of one disk."""

    data: int
    """Blocks of data, numbered from 0."""
    levels: tuple[range, ...]
    """Hash blocks by level, from the leaves up; none without a tree."""

    def level(self, block: int) -> int:
        """-1 for data, else the level of a hash block."""
        return -1 if block < self.data else next(i for i, r in enumerate(self.levels) if block in r)

    def parent(self, block: int) -> Slot | None:
        """Where a block's code is; None for the uppermost block, whose code is the root."""
        level = self.level(block)
        if level + 1 == len(self.levels):
            return None
        index = block if level < 0 else block - self.levels[level].start
        above = self.levels[level + 1]
        return Slot(above.start + index // FANOUT, index % FANOUT * CODE)


def _levels(data: int) -> tuple[range, ...]:
    levels: list[range] = []
    start = count = data
    while not levels or count > 1:
        count = -(-count // FANOUT)
        levels.append(range(start, start + count))
        start += count
    return tuple(levels)


def geometry(blocks: int, tree: bool) -> Geometry:
    """The layout of a disk with so many blocks; raises ``ValueError`` if it is too small."""
    if not tree:
        if blocks < 1:
            raise ValueError("a protected disk has at least 4 KiB")
        return Geometry(blocks, ())
    low, high = 0, blocks  # the most data that leaves room for its tree
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _levels(middle)[-1].stop <= blocks else (low, middle - 1)
    if not low:
        raise ValueError("a disk with integrity = true has at least 8 KiB")
    return Geometry(low, _levels(low))
