"""A virtio disk (Virtio 1.1, 5.2).

A request is a header to read (u32 type, u32 reserved, u64 sector), data, and a status byte to
write, in buffers cut however the driver likes.

  configuration  00 u64 capacity in sectors  08 u32 largest segment  0C u32 most segments
                 14 u32 block size
  types          0 read  1 write  4 flush  8 identifier (20 bytes)
  status         0 good  1 error  2 not supported
"""

from __future__ import annotations

import struct

from vmm.backends import SECTOR, Block, BlockOperation, BlockRequest, BlockStatus
from vmm.devices.virtio.device import Answer, Post, VirtioDevice
from vmm.devices.virtio.queue import MAX_SIZE, Buffer, Chain, Queue, QueueError, split, total

SEG_MAX, READ_ONLY, BLOCK_SIZE, FLUSH = 1 << 2, 1 << 5, 1 << 6, 1 << 9
TYPE_READ, TYPE_WRITE, TYPE_FLUSH, TYPE_IDENTIFIER = 0, 1, 4, 8
GOOD, FAILED, UNSUPPORTED = 0, 1, 2
HEADER = struct.Struct("<IIQ")
IDENTIFIER = b"cloister".ljust(20, b"\0")


class VirtioBlk(VirtioDevice):
    """A disk in front of a ``Block`` backend."""

    kind = 2
    class_code = 0x01_0000

    def __init__(self, backend: Block, post: Post) -> None:
        super().__init__()
        self._backend = backend
        self._post = post
        self._generation = 0  # counts resets: answers to earlier requests are dropped
        self._in_flight = 0
        self.features |= SEG_MAX | BLOCK_SIZE | FLUSH
        if backend.read_only:
            self.features |= READ_ONLY

    @property
    def busy(self) -> bool:
        """Whether the backend is still at work."""
        return self._in_flight > 0

    def configuration(self) -> bytes:
        return struct.pack("<QIIII", self._backend.sectors, 0, MAX_SIZE - 2, 0, SECTOR)

    def reset(self) -> None:
        self._generation += 1

    def serve(self, queue: Queue) -> None:
        while (chain := queue.pop()) is not None:
            self._begin(queue, chain)

    def _begin(self, queue: Queue, chain: Chain) -> None:
        header, outgoing = split(chain.readable, HEADER.size)
        room = total(chain.writable) - 1
        if total(header) < HEADER.size or room < 0:
            raise QueueError("a disk request without header or status byte")
        kind, _, sector = HEADER.unpack(b"".join(view for _, view in header))
        incoming, status = split(chain.writable, room)
        if kind == TYPE_READ:
            self._move(queue, chain, BlockOperation.READ, sector, incoming, status)
        elif kind == TYPE_WRITE:
            self._move(queue, chain, BlockOperation.WRITE, sector, outgoing, status)
        elif kind == TYPE_FLUSH:
            self._submit(queue, chain, BlockOperation.FLUSH, 0, [], status)
        elif kind == TYPE_IDENTIFIER:
            written = self._fill(incoming, IDENTIFIER)
            self._end(queue, chain, status, GOOD, written)
        else:
            self._end(queue, chain, status, UNSUPPORTED, 0)

    def _fill(self, buffers: list[Buffer], data: bytes) -> int:
        written = 0
        for gpa, view in buffers:
            piece = data[written : written + len(view)]
            view[: len(piece)] = piece
            self.transport.wrote(gpa, len(piece))
            written += len(piece)
        return written

    def _move(
        self,
        queue: Queue,
        chain: Chain,
        operation: BlockOperation,
        sector: int,
        buffers: list[Buffer],
        status: list[Buffer],
    ) -> None:
        """Begin a read or write, if its range and size are right."""
        sectors, rest = divmod(total(buffers), SECTOR)
        refused = operation is BlockOperation.WRITE and self._backend.read_only
        if rest or refused or sector + sectors > self._backend.sectors:
            self._end(queue, chain, status, FAILED, 0)
        elif not sectors:
            self._end(queue, chain, status, GOOD, 0)
        else:
            self._submit(queue, chain, operation, sector, buffers, status)

    def _submit(
        self,
        queue: Queue,
        chain: Chain,
        operation: BlockOperation,
        sector: int,
        buffers: list[Buffer],
        status: list[Buffer],
    ) -> None:
        generation = self._generation
        self._in_flight += 1

        def finish(result: BlockStatus) -> None:
            self._in_flight -= 1
            written = 0
            if operation is BlockOperation.READ:
                for gpa, view in buffers:
                    self.transport.wrote(gpa, len(view))
                    written += len(view)
            if generation == self._generation:
                code = GOOD if result is BlockStatus.OK else FAILED
                self._end(queue, chain, status, code, written)

        answer = Answer(self._post, finish)
        views = tuple(view for _, view in buffers)
        self._backend.submit(BlockRequest(operation, sector, views, answer.give))
        answer.settle()

    def _end(
        self, queue: Queue, chain: Chain, status: list[Buffer], code: int, written: int
    ) -> None:
        gpa, view = status[0]
        view[0] = code
        self.transport.wrote(gpa, 1)
        self.transport.give_back(queue, chain, written + 1)
