"""The hash tree over a disk, with its root and what is in flight in a trusted store.

A block that was never written has the code of zeros, and reads as zeros: so a new disk needs no
pass over all of it.

**Crashes.**  A write touches a block and, some day, the hash blocks above it; all of that cannot
happen at once.  So before blocks are written, the store has for each its old and its new code (a
*batch*), and after a crash either is right.  Once a flush says that a batch is on the disk,
only the new codes are: the batch is *settled*, and a disk with an older block is lying.  Codes that
are newer than the tree's are looked up in memory; when there are many, a *checkpoint* works them
into the hash blocks, which are written as a batch of their own, and the store gets the new root.

In the store::

    root      the uppermost block's code          blocks    the disk's size, in blocks
    settled   number of the last settled batch    bN        batch N: block, old code, new code, ...
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from vmm.protected.blocks import Blocks
from vmm.protected.geometry import BLOCK, CODE, FANOUT, Geometry

NEVER: Final = bytes(CODE)
"""The code of a block that was never written."""
CACHED: Final = 4096
"""Hash blocks in memory at most: for 4 GiB of data."""
MOST_NEW: Final = 16_384
"""Codes that are newer than the tree's, before a checkpoint."""
_ENTRY: Final = struct.Struct("<Q16s16s")
_NUMBER: Final = struct.Struct("<Q")


class Damaged(Exception):
    """The disk returned something else than what was written; the text says where."""


class Store(Protocol):
    """Named blobs that nobody else can change, changed together or not at all."""

    def load(self) -> dict[str, bytes]: ...

    def commit(self, changes: Mapping[str, bytes | None]) -> None: ...


class Medium(Protocol):
    """The disk below, which is not trusted.  Raises ``OSError`` where it fails."""

    def read(self, block: int, count: int) -> bytes: ...

    def write(self, blocks: Mapping[int, bytes]) -> None: ...

    def flush(self) -> None: ...


class Tree:
    """The codes of all blocks."""

    def __init__(self, geometry: Geometry, blocks: Blocks, medium: Medium, store: Store) -> None:
        self._geometry = geometry
        self._blocks = blocks
        self._medium = medium
        self._store = store
        self._hashes: OrderedDict[int, bytes] = OrderedDict()
        self._new: dict[int, bytes] = {}  # block -> a code that the tree has not yet
        found = store.load()
        self._root = found.get("root", NEVER)
        self._settled = _number(found.get("settled"))
        self._batch = self._settled
        self._open(found)

    # Codes

    def code(self, block: int) -> bytes:
        """The code of what must be there; raises ``Damaged``."""
        if (known := self._new.get(block)) is not None:
            return known
        if block < self._geometry.data:  # nearly always, and its hash block is in memory
            first = self._geometry.data
            if (hashes := self._hashes.get(first + block // FANOUT)) is not None:
                at = block % FANOUT * CODE
                return hashes[at : at + CODE]
        return self._in_tree(block)

    def _in_tree(self, block: int) -> bytes:
        slot = self._geometry.parent(block)
        if slot is None:
            return self._root
        hashes = self._load(slot.block)
        return hashes[slot.at : slot.at + CODE]

    def _load(self, block: int) -> bytes:
        """A hash block, checked."""
        if (known := self._hashes.get(block)) is not None:
            self._hashes.move_to_end(block)
            return known
        code = self.code(block)
        if code == NEVER:
            return bytes(BLOCK)
        stored = self._medium.read(block, 1)
        if self._blocks.code(block, stored) != code:
            raise Damaged(f"the hash tree's block {block} is not what was written there last")
        self._keep(block, stored)
        return stored

    def _keep(self, block: int, stored: bytes) -> None:
        self._hashes[block] = stored
        self._hashes.move_to_end(block)
        while len(self._hashes) > CACHED:
            self._hashes.popitem(last=False)

    # Changes

    def begin(self, codes: Mapping[int, bytes]) -> None:
        """Blocks are about to be written, with these codes; raises ``Damaged``, ``OSError``."""
        packed = b"".join(_ENTRY.pack(b, self.code(b), new) for b, new in codes.items())
        self._store.commit({f"b{self._batch + 1}": packed})
        self._batch += 1
        self._new.update(codes)

    def settle(self) -> None:
        """All that was begun was written, and the disk was flushed since."""
        if self._batch != self._settled:
            self._store.commit({"settled": _NUMBER.pack(self._batch)})
            self._settled = self._batch
        if self.full:
            self.checkpoint()

    @property
    def full(self) -> bool:
        """Whether so much was begun that the disk should be flushed, and the rest settled."""
        return len(self._new) > MOST_NEW

    def checkpoint(self) -> None:
        """Work all codes into the tree; everything that was begun is settled."""
        changed, codes = self._worked_in()
        root = codes.get(self._geometry.levels[-1].start, self._root)
        self.begin({block: codes[block] for block in changed})
        self._medium.write(changed)
        self._medium.flush()
        done = dict.fromkeys((name for name in self._store.load() if _is_batch(name)), None)
        self._store.commit({"root": root, "settled": None, **done})
        self._root, self._batch, self._settled = root, 0, 0
        self._new.clear()
        for block, stored in changed.items():
            self._keep(block, stored)

    def _worked_in(self) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """The hash blocks as they have to be, and all codes that are new."""
        changed: dict[int, bytearray] = {}
        codes = dict(self._new)
        for level in range(-1, len(self._geometry.levels) - 1):
            here = [b for b in codes if self._geometry.level(b) == level]
            for block in here:
                slot = self._geometry.parent(block)
                assert slot is not None  # the uppermost level is not in the range
                if slot.block not in changed:
                    changed[slot.block] = bytearray(self._load(slot.block))
                changed[slot.block][slot.at : slot.at + CODE] = codes[block]
            for block in {slot.block for b in here if (slot := self._geometry.parent(b))}:
                codes[block] = self._blocks.code(block, changed[block])
        return {block: bytes(stored) for block, stored in changed.items()}, codes

    # After a crash

    def _open(self, found: Mapping[str, bytes]) -> None:
        """Take up what the store has; of batches that were not settled, what is on the disk."""
        numbers = sorted(int(name[1:]) for name in found if _is_batch(name))
        open_ones: dict[int, list[bytes]] = {}
        for number in numbers:
            for block, old, new in _ENTRY.iter_unpack(found[f"b{number}"]):
                if number <= self._settled:
                    self._new[block] = new
                else:
                    open_ones.setdefault(block, [old]).append(new)
            self._batch = max(self._batch, number)
        for block in sorted(open_ones, reverse=True):  # hash blocks first
            self._new[block] = self._choice(block, open_ones[block])
        if open_ones:  # from now on only this is right
            self._medium.flush()
            chosen = {block: self._new[block] for block in open_ones}
            packed = b"".join(_ENTRY.pack(b, code, code) for b, code in chosen.items())
            self._batch = self._settled = self._batch + 1
            settled = _NUMBER.pack(self._batch)
            self._store.commit({f"b{self._batch}": packed, "settled": settled})

    def _choice(self, block: int, codes: list[bytes]) -> bytes:
        stored = self._medium.read(block, 1)
        actual = self._blocks.code(block, stored)
        if actual in codes:
            return actual
        return NEVER if NEVER in codes else codes[-1]


def _is_batch(name: str) -> bool:
    return name[0] == "b" and name[1:].isdigit()


def _number(packed: bytes | None) -> int:
    return int(_NUMBER.unpack(packed)[0]) if packed else 0


def runs(blocks: Iterable[int], longest: int) -> list[range]:
    """Sorted blocks as ranges of neighbours, none longer than ``longest``."""
    found: list[range] = []
    for block in sorted(blocks):
        if found and found[-1].stop == block and len(found[-1]) < longest:
            found[-1] = range(found[-1].start, block + 1)
        else:
            found.append(range(block, block + 1))
    return found
