"""Which clusters of an image are in use: how often each is referred to, and new ones.

A table names blocks of counts, a cluster each, which say how often each cluster of their part of
the image is used.  A count is on stable storage before anything refers to its cluster, whatever
ends the machine; so clusters are *reserved* many at a time, and what was reserved and not used is
given back when the image is flushed.  What goes wrong in between leaks clusters, and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from servers.store.file import File, FileError
from servers.store.header import Header, ImageError
from servers.store.table import TYPES, Table

RESERVE: Final = 32
"""Clusters that are reserved at a time."""
MOST_BLOCKS: Final = 64
"""Blocks that are kept in memory."""
PLACE_OF_TABLE: Final = 0x30
"""In the header: u64 place of the table, u32 clusters."""
MASK: Final = 0x00FF_FFFF_FFFF_FE00


class Refcounts:
    """The reference counts of an image."""

    def __init__(self, file: File, header: Header) -> None:
        """Raises ``ImageError``, ``FileError``."""
        self._file = file
        self._bits = header.cluster_bits
        self._order = header.refcount_order
        if self._order not in TYPES:
            raise ImageError(f"its reference counts have {1 << self._order} bits, 8 are needed")
        self._most = (1 << (1 << self._order)) - 1
        self._per_block = header.cluster * 8 >> self._order
        entries = header.refcounts_clusters * header.cluster // 8
        self._table = Table.load(file, header.refcounts_at, entries)
        self._blocks: OrderedDict[int, Table] = OrderedDict()
        self._clusters = file.size >> self._bits  # that the file has room for
        self._reserved: range = range(0)
        self._hint = 0
        self._check()

    def _check(self) -> None:
        for number, at in enumerate(self._table.numbers):
            if at & ((1 << self._bits) - 1) or at >> self._bits >= self._clusters:
                raise ImageError(f"its block {number} of reference counts is at {at:#x}")

    @property
    def places(self) -> list[int]:
        """Clusters that hold the table and the blocks."""
        size = -(-len(self._table.numbers) * 8 >> self._bits)
        first = self._table.at >> self._bits
        blocks = [at >> self._bits for at in self._table.numbers if at]
        return [*range(first, first + size), *blocks]

    def count(self, cluster: int) -> int:
        """How often a cluster is used."""
        number, index = divmod(cluster, self._per_block)
        block = self._block(number)
        return block.numbers[index] if block is not None else 0

    def _block(self, number: int) -> Table | None:
        block = self._blocks.get(number)
        if block is not None:
            return block
        if number >= len(self._table.numbers) or not self._table.numbers[number]:
            return None
        block = Table.load(self._file, self._table.numbers[number], self._per_block, self._order)
        self._keep(number, block)
        return block

    def _keep(self, number: int, block: Table) -> None:
        self._blocks[number] = block
        if len(self._blocks) > MOST_BLOCKS:
            idle = next((n for n, b in self._blocks.items() if not b.changed and n != number), None)
            if idle is not None:
                del self._blocks[idle]

    # New clusters

    def take(self, count: int) -> range:
        """Between 1 and ``count`` clusters in a row that nothing uses, now counted.

        Raises ``FileError`` if there are none.
        """
        if not self._reserved:
            self._reserve(max(count, RESERVE))
        found = self._reserved[:count]
        self._reserved = self._reserved[len(found) :]
        return found

    def _reserve(self, count: int) -> None:
        run = self._free_run(count)
        self._set(run, 1)
        try:
            self.write()
            self._file.flush()
        except FileError:
            self._set(run, 0)
            raise
        self._reserved = run
        self._hint = run.stop

    def _free_run(self, count: int) -> range:
        """Clusters in a row that are free, in one block; makes the block if it is missing."""
        number = self._hint // self._per_block
        index = self._hint % self._per_block
        while number * self._per_block < self._clusters:
            block = self._block(number) or self._new_block(number)
            numbers = block.numbers
            try:
                index = numbers.index(0, index)
            except ValueError:
                number, index = number + 1, 0
                continue
            end = index
            most = min(index + count, self._per_block)
            while end < most and not numbers[end]:
                end += 1
            start = number * self._per_block
            found = range(start + index, min(start + end, self._clusters))
            if not found:
                break
            return found
        if self._hint:
            self._hint = 0
            return self._free_run(count)
        raise FileError("the image has grown as large as its file may")

    def _new_block(self, number: int) -> Table:
        """A block for a part of the image that is not in use yet; it lies in the part's first
        cluster, and counts itself."""
        if number >= len(self._table.numbers):
            return self._grow(number)
        cluster = number * self._per_block
        block = Table.new(cluster << self._bits, self._per_block, self._order)
        block.set(0, 1)
        self._keep(number, block)
        self._link(block, number)
        return block

    def _link(self, block: Table, number: int) -> None:
        block.write(self._file)
        self._file.flush()
        block.written()
        self._table.set(number, block.at)
        self._table.write(self._file)
        self._file.wait()
        self._table.written()

    def _grow(self, number: int) -> Table:
        """A table twice as large, behind the block for the part that the old one does not reach."""
        old = self._table
        cluster = number * self._per_block
        size = 2 * (-(-len(old.numbers) * 8 >> self._bits))
        if 1 + size > self._per_block or cluster + 1 + size > self._clusters:
            raise FileError("the image has grown as large as its tables may")
        block = Table.new(cluster << self._bits, self._per_block, self._order)
        for index in range(1 + size):
            block.set(index, 1)
        table = Table.new((cluster + 1) << self._bits, (size << self._bits) // 8)
        table.numbers[: len(old.numbers)] = old.numbers
        table.numbers[number] = block.at
        block.write(self._file)
        table.write(self._file)
        self._file.flush()
        self._move_table(table.at, size)
        for changed in (block, table):
            changed.written()
        self._keep(number, block)
        self._table = table
        first = old.at >> self._bits
        self.give_back(range(first, first + size // 2))
        return block

    def _move_table(self, at: int, clusters: int) -> None:
        """Let the header name the new table: one sector, so that it names the old one or this."""
        sector = bytearray(512)
        self._file.read(0, memoryview(sector))
        self._file.wait()
        sector[PLACE_OF_TABLE : PLACE_OF_TABLE + 12] = at.to_bytes(8, "big") + clusters.to_bytes(
            4, "big"
        )
        self._file.write(0, sector)
        self._file.flush()

    # Clusters that are not used any more

    def give_back(self, clusters: range) -> None:
        """One use less of each; to be called when nothing on stable storage refers to them."""
        for cluster in clusters:
            number, index = divmod(cluster, self._per_block)
            block = self._block(number)
            if block is not None and 0 < block.numbers[index] < self._most:
                block.set(index, block.numbers[index] - 1)
                if not block.numbers[index]:
                    self._hint = min(self._hint, cluster)

    def release(self) -> None:
        """Give back what was reserved and not used."""
        if self._reserved:
            self.give_back(self._reserved)
            self._hint = min(self._hint, self._reserved.start)
            self._reserved = range(0)

    def _set(self, run: range, value: int) -> None:
        for cluster in run:
            number, index = divmod(cluster, self._per_block)
            block = self._block(number)
            assert block is not None
            block.set(index, value)

    def write(self) -> None:
        """Write the counts that changed."""
        changed = [block for block in self._blocks.values() if block.changed]
        for block in changed:
            block.write(self._file)
        if changed:
            self._file.wait()
        for block in changed:
            block.written()
