"""A controller's requests to the backends of its drives, and the guest memory they move."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from vmm.backends import Block, BlockOperation, BlockRequest, BlockStatus
from vmm.devices.ata.action import Transfer
from vmm.devices.virtio.device import Answer, Post
from vmm.memory import GuestMemory

Finish = Callable[[bool], None]
"""Called on the vCPU thread with whether it went well."""


class Piece(NamedTuple):
    """A run of guest memory that a transfer moves."""

    gpa: int
    view: memoryview


class TooShort(Exception):
    """There are fewer places in memory than a transfer needs."""


def gather(memory: GuestMemory, places: Iterable[tuple[int, int]], length: int) -> list[Piece]:
    """The pieces that hold ``length`` bytes, from (address, length) pairs.

    Raises ``TooShort``, and ``GuestAddressError`` for what is not RAM.
    """
    ranges: list[tuple[int, int]] = []
    start = end = 0  # of the run of memory at hand: neighbours are moved as one
    for gpa, size in places:
        size = min(size, length)
        if gpa == end and ranges:
            ranges[-1] = (start, gpa + size)
        elif size:
            ranges.append((gpa, gpa + size))
            start = gpa
        end = gpa + size
        length -= size
        if not length:
            return [Piece(start, memory.view(start, end - start)) for start, end in ranges]
    if length:
        raise TooShort
    return []


class Requests:
    """What the drives of one controller have on its way.

    After ``forget`` the answers to earlier requests are dropped; ``quiet`` is called when the last
    request, dropped or not, was answered.
    """

    def __init__(self, post: Post, invalidate: Callable[[int, int], None]) -> None:
        """``invalidate`` tells the engine that a device wrote to (address, length)."""
        self._post = post
        self._invalidate = invalidate
        self._generation = 0
        self.in_flight = 0
        self.quiet: Callable[[], None] = lambda: None

    @property
    def busy(self) -> bool:
        return self.in_flight > 0

    def forget(self) -> None:
        self._generation += 1

    def submit(
        self,
        backend: Block,
        operation: BlockOperation,
        sector: int,
        views: tuple[memoryview, ...],
        finish: Finish,
    ) -> None:
        generation = self._generation
        self.in_flight += 1

        def answered(status: BlockStatus) -> None:
            self.in_flight -= 1
            if generation == self._generation:
                finish(status is BlockStatus.OK)
            if not self.in_flight:
                self.quiet()

        answer = Answer(self._post, answered)
        backend.submit(BlockRequest(operation, sector, views, answer.give))
        answer.settle()

    def flush(self, backend: Block, finish: Finish) -> None:
        self.submit(backend, BlockOperation.FLUSH, 0, (), finish)

    def move(self, backend: Block, transfer: Transfer, pieces: list[Piece], finish: Finish) -> None:
        """Move a whole transfer between the medium and guest memory."""

        def moved(well: bool) -> None:
            if transfer.operation is BlockOperation.READ:
                for gpa, view in pieces:
                    self._invalidate(gpa, len(view))
            if well and transfer.durable:
                self.flush(backend, finish)
            else:
                finish(well)

        views = tuple(view for _, view in pieces)
        self.submit(backend, transfer.operation, transfer.sector, views, moved)

    def fill(self, pieces: list[Piece], data: bytes) -> None:
        """Put data of the device's own into guest memory."""
        at = 0
        for gpa, view in pieces:
            view[:] = data[at : at + len(view)]
            self._invalidate(gpa, len(view))
            at += len(view)
