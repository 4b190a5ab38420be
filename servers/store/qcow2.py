"""A qcow2 image as a disk: versions 2 and 3, with a backing disk, compressed clusters read-only.

The disk is cut into clusters.  An entry of an L2 table, a cluster itself, says where one is; the L1
table says where the L2 tables are.

  entry    63 nothing else refers to the cluster  62 compressed  55:9 its place  0 it reads as zeros
  compressed, with x = 62 - (cluster bits - 8):  x-1:0 place in bytes  61:x sectors after the first

**Order.**  What is written goes into the file in this order: counts of new clusters; their data,
with what was there before around it; on stable storage both; then the entries that refer to them.
So whatever ends this process, or the machine, an entry never refers to what is not there: the disk
has all that was flushed, and at worst clusters are counted that nothing refers to.  Entries are
written at ``settle``, for many writes at once, which must precede their acknowledgement.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple

from servers.store.file import File, FileError, read_bytes
from servers.store.header import AUTOCLEAR_AT, PROBE, ImageError, parse
from servers.store.refcounts import Refcounts
from servers.store.table import SECTOR, Table

COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
PLACE: Final = 0x00FF_FFFF_FFFF_FE00
MOST_TABLES: Final = 64
"""L2 tables that are kept in memory, and that are checked when the image is opened."""


class Run(NamedTuple):
    """Clusters in a row that are stored alike."""

    kind: str
    """``data``, ``zero``, ``compressed`` or ``absent``."""
    length: int
    """Bytes."""
    at: int = 0
    """Where the data is."""
    entry: int = 0


class Qcow2:
    """One image."""

    def __init__(self, file: File, writable: bool, backing: File | None = None) -> None:
        """Raises ``ImageError`` with one sentence if the image cannot be used so."""
        self._file = file
        self._backing = backing
        self.header = header = parse(read_bytes(file, 0, min(PROBE, file.size)))
        if header.backing and backing is None:
            raise ImageError(f"its backing file {header.backing!r} was not given")
        if writable and header.snapshots:
            raise ImageError("it has snapshots in it: it can only be read")
        self.size = header.size // SECTOR * SECTOR
        self.writable = writable
        self._bits = header.cluster_bits
        self._mask = header.cluster - 1
        self._l2_bits = self._bits - 3
        self._tables: OrderedDict[int, Table] = OrderedDict()
        self._l1 = Table.load(file, header.l1_at, max(header.l1_entries, 1))
        self._refcounts = Refcounts(file, header)
        self._metadata = self._find_metadata()
        self._fresh: set[int] = set()  # L2 tables that the L1 table does not name yet
        self._undo: list[tuple[Table, int, int]] = []  # entries since the last settling
        self._unused: list[range] = []  # clusters that entries on stable storage may refer to
        self._barrier = False
        for number, place in list(enumerate(self._l1.numbers))[: header.l1_entries]:
            if place & PLACE and len(self._tables) < MOST_TABLES:
                self._table(number)
        if writable and header.autoclear:
            self._clear_autoclear()

    # Damage

    def _find_metadata(self) -> set[int]:
        """Clusters with tables; raises if two tables share one, or one is not counted."""
        l1 = self.header.l1_at >> self._bits
        l1_clusters = -(-self.header.l1_entries * 8 >> self._bits)
        entries = self._l1.numbers[: self.header.l1_entries]
        places = [0, *range(l1, l1 + l1_clusters), *self._refcounts.places]
        for entry in entries:
            if entry & PLACE & self._mask:
                raise ImageError(f"its L1 table names a table at {entry & PLACE:#x}")
            if entry & PLACE:
                places.append((entry & PLACE) >> self._bits)
        found = set(places)
        if len(found) != len(places):
            raise ImageError("two of its tables are in one place")
        for cluster in places:
            if not self._refcounts.count(cluster):
                raise ImageError(
                    f"the table at {cluster << self._bits:#x} is not counted as in use; "
                    "repair it with 'qemu-img check -r all'"
                )
        return found

    def _check_table(self, table: Table) -> None:
        limit = self._file.size
        count, bits, mask = self._refcounts.count, self._bits, self._mask
        for entry in table.numbers:
            if not entry or entry & COMPRESSED:
                continue
            at = entry & PLACE
            if not at:
                continue
            if at & mask or at >= limit or at >> bits in self._metadata:
                raise ImageError(
                    f"its L2 table at {table.at:#x} names a cluster at {at:#x}; "
                    "see 'qemu-img check'"
                )
            if not count(at >> bits):
                raise ImageError(
                    f"the cluster at {at:#x} is not counted as in use; "
                    "repair it with 'qemu-img check -r all'"
                )

    def _clear_autoclear(self) -> None:
        """Features that another program would have to keep up: this one does not."""
        sector = bytearray(read_bytes(self._file, 0, SECTOR))
        sector[AUTOCLEAR_AT : AUTOCLEAR_AT + 8] = bytes(8)
        self._file.write(0, sector)
        self._file.flush()

    # Tables

    def _table(self, number: int) -> Table | None:
        """An L2 table; None if there is none."""
        table = self._tables.get(number)
        if table is not None:
            self._tables.move_to_end(number)
            return table
        entry = self._l1.numbers[number]
        if not entry & PLACE:
            return None
        table = Table.load(self._file, entry & PLACE, 1 << self._l2_bits)
        self._check_table(table)
        self._keep(number, table)
        return table

    def _keep(self, number: int, table: Table) -> None:
        self._tables[number] = table
        if len(self._tables) > MOST_TABLES:
            oldest = next((n for n, t in self._tables.items() if not t.changed), None)
            if oldest is not None and oldest != number:
                del self._tables[oldest]

    def _own_table(self, number: int) -> Table:
        """An L2 table to write to, made if there is none."""
        table = self._table(number)
        if table is None:
            (cluster,) = self._refcounts.take(1)
            table = Table.new(cluster << self._bits, 1 << self._l2_bits)
            self._metadata.add(cluster)
            self._fresh.add(number)
            self._keep(number, table)
        elif number not in self._fresh and not self._l1.numbers[number] & COPIED:
            raise FileError("an L2 table is shared")
        return table

    # Reading

    def _runs(self, at: int, length: int) -> Iterator[Run]:
        """How a range of the disk is stored."""
        while length:
            run = self._run(at, length)
            yield run
            at += run.length
            length -= run.length

    def _run(self, at: int, length: int) -> Run:
        number = at >> self._bits + self._l2_bits
        table = self._table(number)
        in_table = ((number + 1) << self._bits + self._l2_bits) - at
        if table is None:
            return Run("absent", min(length, in_table))
        numbers = table.numbers
        index = at >> self._bits & (1 << self._l2_bits) - 1
        within = at & self._mask
        entry = numbers[index]
        size = self._mask + 1 - within
        if entry & COMPRESSED:
            return Run("compressed", min(length, size), within, entry)
        kind = self._kind(entry)
        step = self._mask + 1 if kind == "data" else 0
        expected = entry & PLACE
        most = min(length, in_table)
        while size < most:
            index += 1
            expected += step
            following = numbers[index]
            if following & COMPRESSED or self._kind(following) != kind:
                break
            if step and following & PLACE != expected:
                break
            size += self._mask + 1
        return Run(kind, min(most, size), (entry & PLACE) + within, entry)

    def _kind(self, entry: int) -> str:
        if entry & ZERO and self.header.version > 2:
            return "zero"
        return "data" if entry & PLACE else "absent"

    def read(self, at: int, into: memoryview) -> None:
        """Begin to fill ``into``; it is filled once ``settle`` has returned."""
        done = 0
        for run in self._runs(at, len(into)):
            part = into[done : done + run.length]
            if run.kind == "data":
                self._file.read(run.at, part)
            elif run.kind == "compressed":
                part[:] = self._inflate(run.entry)[run.at : run.at + run.length]
            elif run.kind == "absent" and self._backing is not None:
                self._read_backing(at + done, part)
            else:
                part[:] = bytes(run.length)
            done += run.length

    def _read_backing(self, at: int, into: memoryview) -> None:
        assert self._backing is not None
        there = max(0, min(len(into), self._backing.size - at))
        if there:
            self._backing.read(at, into[:there])
        into[there:] = bytes(len(into) - there)

    def _compressed_place(self, entry: int) -> tuple[int, int]:
        """Place and bytes of a compressed cluster, of which the last ones may be others'."""
        x = 62 - (self._bits - 8)
        at = entry & (1 << x) - 1
        sectors = (entry & COMPRESSED - 1) >> x
        size = (sectors + 1) * SECTOR - at % SECTOR
        if at + size > self._file.size:
            raise FileError(f"a compressed cluster at {at:#x} is beyond the image's end")
        return at, size

    def _inflate(self, entry: int) -> bytes:
        data = read_bytes(self._file, *self._compressed_place(entry))
        try:
            found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self._mask + 1)
        except zlib.error:
            found = b""
        if len(found) != self._mask + 1:
            raise FileError("a compressed cluster is damaged")
        return found

    # Writing

    def write(self, at: int, data: memoryview) -> None:
        """Begin to write; it is done once ``settle`` has returned."""
        done = 0
        while done < len(data):
            done += self._write_run(at + done, data[done:])

    def _write_run(self, at: int, data: memoryview) -> int:
        """Write clusters in a row that are treated alike; returns how many bytes."""
        number = at >> self._bits + self._l2_bits
        table = self._own_table(number)
        index = at >> self._bits & (1 << self._l2_bits) - 1
        if self._is_ours(table.numbers[index]):
            return self._overwrite(at, data)
        within = at & self._mask
        last = min(index + (within + len(data) - 1 >> self._bits), (1 << self._l2_bits) - 1)
        count = 1
        while index + count <= last and not self._is_ours(table.numbers[index + count]):
            count += 1
        clusters = self._refcounts.take(count)
        room = (len(clusters) << self._bits) - within
        data = data[:room]
        self._fill(at, data, clusters.start << self._bits)
        for offset, cluster in enumerate(clusters):
            old = table.numbers[index + offset]
            self._undo.append((table, index + offset, old))
            table.set(index + offset, cluster << self._bits | COPIED)
        return len(data)

    def _is_ours(self, entry: int) -> bool:
        """Whether a cluster can be written where it is."""
        return bool(entry & COPIED) and self._kind(entry) == "data" and not entry & COMPRESSED

    def _overwrite(self, at: int, data: memoryview) -> int:
        run = self._run(at, len(data))
        length = run.length
        # A run may go on into clusters that something else refers to, too.
        first = at >> self._bits
        table = self._tables[at >> self._bits + self._l2_bits]
        low = (1 << self._l2_bits) - 1
        for cluster in range(first + 1, (at + length - 1 >> self._bits) + 1):
            if not self._is_ours(table.numbers[cluster & low]):
                length = (cluster << self._bits) - at
                break
        self._file.write(run.at, data[:length])
        return length

    def _fill(self, at: int, data: memoryview, place: int) -> None:
        """Write new clusters: the data, and around it what was there before."""
        within = at & self._mask
        end = at + len(data)
        after = -end & self._mask
        if within:
            self._file.write(place, self._before(at - within, within))
        self._file.write(place + within, data)
        if after:
            self._file.write(place + within + len(data), self._before(end, after))
        self._barrier = self._barrier or bool(within or after)

    def _before(self, at: int, length: int) -> bytes:
        """What the disk has there now."""
        kept = bytearray(length)
        there = max(0, min(length, self.size - at))
        if there:
            self.read(at, memoryview(kept)[:there])
            self._file.wait()
            if self._backing is not None:
                self._backing.wait()
        return bytes(kept)

    # Order

    def settle(self) -> None:
        """Have all that was begun done, and let the image refer to what was written.

        Raises ``FileError``; then the disk is as it was before what was begun.
        """
        try:
            self._file.wait()
            if self._backing is not None:
                self._backing.wait()
            if self._barrier:
                self._file.flush()
        except FileError:
            self._take_back()
            raise
        self._barrier = False
        self._write_tables()
        for _, _, old in self._undo:
            self._forget(old)
        self._undo.clear()

    def _take_back(self) -> None:
        for table, index, old in reversed(self._undo):
            table.set(index, old)
        self._undo.clear()

    def _write_tables(self) -> None:
        changed = [table for table in self._tables.values() if table.changed]
        if not changed:
            return
        for table in changed:
            table.write(self._file)
        if self._fresh:
            self._file.flush()
            for number in self._fresh:
                self._l1.set(number, self._tables[number].at | COPIED)
            self._l1.write(self._file)
        self._file.wait()
        for table in (*changed, self._l1):
            table.written()
        self._fresh.clear()

    def _forget(self, entry: int) -> None:
        """A cluster was replaced; it is free once nothing on stable storage refers to it."""
        if entry & COMPRESSED:
            at, size = self._compressed_place(entry)
            self._unused.append(range(at >> self._bits, (at + size - 1 >> self._bits) + 1))
        elif entry & PLACE:
            cluster = (entry & PLACE) >> self._bits
            self._unused.append(range(cluster, cluster + 1))

    def flush(self) -> None:
        """Bring all that was written to stable storage; raises ``FileError``."""
        self.settle()
        if not self.writable:
            return
        self._file.flush()
        self._refcounts.release()
        for clusters in self._unused:
            self._refcounts.give_back(clusters)
        self._unused.clear()
        self._refcounts.write()
