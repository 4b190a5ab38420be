"""A protected disk as the board's block backend, over one that is not trusted.

Requests are carried out by a thread of the disk's own, in their order; reads of blocks that nobody
is about to write begin below at once.  Writes gather in memory, at most ``MOST_DIRTY`` bytes, until
the guest flushes or there are too many: they are a disk's volatile cache, which the guest knows of.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from servers.runtime import Environment, ProcessFailed
from tpm.store.device import DeviceMedium, device_key
from tpm.store.journal import Journal, StoreError
from vmm.backends import SECTOR, Block, BlockOperation, BlockRequest, BlockStatus
from vmm.protected.blocks import Blocks, Buffer
from vmm.protected.geometry import BLOCK, geometry
from vmm.protected.tree import NEVER, Damaged, Store, Tree, runs

MOST_DIRTY: Final = 4 << 20
LONGEST: Final = 64
"""Blocks of one request to the disk below."""
_LOOKED_AT: Final = 16
"""Blocks at the beginning of a new disk that must be empty."""
_SECTORS: Final = BLOCK // SECTOR
_SIZE: Final = struct.Struct("<QB")


@dataclass(slots=True)
class _Read:
    """A read that began below before its turn."""

    data: bytearray
    writes: int
    """How many writes had been carried out, which were all."""
    status: BlockStatus | None = None


class Below:
    """The disk below, for one thread that waits for it."""

    def __init__(
        self, inner: Block, changed: Callable[[], None], wait: Callable[[], object]
    ) -> None:
        self._inner = inner
        self._changed = changed
        self._wait = wait

    def start(
        self,
        operation: BlockOperation,
        sector: int,
        data: memoryview | None,
        done: Callable[[BlockStatus], None],
    ) -> None:
        """Begin a request."""

        def complete(status: BlockStatus) -> None:
            done(status)
            self._changed()

        buffers = () if data is None else (data,)
        self._inner.submit(BlockRequest(operation, sector, buffers, complete))

    def read(self, block: int, count: int) -> bytes:
        data = bytearray(count * BLOCK)
        self._all([(BlockOperation.READ, block, memoryview(data))])
        return bytes(data)

    def write(self, blocks: Mapping[int, bytes]) -> None:
        self._all(
            [
                (BlockOperation.WRITE, run.start, memoryview(b"".join(blocks[b] for b in run)))
                for run in runs(blocks, LONGEST)
            ]
        )

    def flush(self) -> None:
        self._all([(BlockOperation.FLUSH, 0, None)])

    def _all(self, wanted: list[tuple[BlockOperation, int, memoryview | None]]) -> None:
        answers: list[BlockStatus] = []
        for operation, block, data in wanted:
            self.start(operation, block * _SECTORS, data, answers.append)
        while len(answers) < len(wanted):
            self._wait()
        if any(status is not BlockStatus.OK for status in answers):
            raise OSError(5, "the disk below failed")


class ProtectedDisk:
    """A disk whose keeper need not be trusted with its contents."""

    def __init__(
        self,
        env: Environment,
        name: str,
        inner: Block,
        encrypt: bool,
        integrity: bool,
        say: Callable[[str], None],
    ) -> None:
        """The trusted store and its key are the devices ``NAME-store`` and ``NAME-key``.

        ``say`` is told why a request failed.  Raises ``ProcessFailed`` if the disk is not what it
        was, or was never protected; waits for the disk below.
        """
        self._name = name
        self._inner = inner
        self._event = env.event()
        self._say = say
        self._below = Below(inner, self._event.set, lambda: self._event.wait(None))
        self._queue: deque[tuple[BlockRequest, _Read | None]] = deque()
        self._dirty: dict[int, bytearray] = {}
        self._writes = self._writes_done = 0  # and flushes: what was submitted, and carried out
        self._broken = ""
        self._encrypt, self._integrity = encrypt, integrity
        self._env = env
        self.read_only = inner.read_only
        try:
            self._layout = geometry(inner.sectors // _SECTORS, integrity)
        except ValueError as error:
            raise ProcessFailed(f"{name}: {error}") from None
        self.sectors = self._layout.data * _SECTORS

    def start(self) -> None:
        """Look at the disk, once what is below can answer; then serve."""
        try:
            store, secret = _store(self._env, self._name)
            self._blocks = Blocks(secret, self._encrypt)
            self._check(store)
            self._tree = (
                Tree(self._layout, self._blocks, self._below, store) if self._integrity else None
            )
        except (StoreError, Damaged, OSError) as error:
            raise ProcessFailed(f"{self._name} cannot be used: {error}") from None
        self._env.thread(self._run, f"{self._name}-protected")

    def _check(self, store: Store) -> None:
        """Whether it is the disk that the store is about."""
        shape = _SIZE.pack(self._inner.sectors, self._encrypt | self._integrity << 1)
        known = store.load().get("shape")
        if known is None:
            count = min(_LOOKED_AT, self._layout.data)
            if any(self._below.read(0, count)):
                raise StoreError(
                    "it has data that its trusted store knows nothing of; give it a new image, and "
                    "copy what it has inside of a guest that has both"
                )
            store.commit({"shape": shape})
        elif known != shape:
            sectors, keys = _SIZE.unpack(known)
            if sectors != self._inner.sectors:
                raise StoreError(
                    f"it has {self._inner.sectors} sectors, and had {sectors} when it was made"
                )
            said = [word for bit, word in ((1, "encrypt"), (2, "integrity")) if keys & bit]
            raise StoreError(f"it was made with {' and '.join(said)} = true")

    # On the board's threads

    def submit(self, request: BlockRequest) -> None:
        early = None
        if request.operation is BlockOperation.READ:
            if self._writes == self._writes_done:
                early = self._early(request)
        else:
            self._writes += 1
        self._queue.append((request, early))
        self._event.set()

    def _early(self, request: BlockRequest) -> _Read:
        first, count = _covered(request)
        read = _Read(bytearray(count * BLOCK), self._writes)

        def done(status: BlockStatus) -> None:
            read.status = status

        sector, data = first * _SECTORS, memoryview(read.data)
        self._below.start(BlockOperation.READ, sector, data, done)
        return read

    # On its own thread

    def _run(self, _env: Environment) -> None:
        while True:
            while self._queue:
                request, early = self._queue.popleft()
                status = self._carry_out(request, early)
                if request.operation is not BlockOperation.READ:
                    self._writes_done += 1
                request.complete(status)
            self._event.wait(None)

    def _carry_out(self, request: BlockRequest, early: _Read | None) -> BlockStatus:
        if self._broken:
            return self._failed(self._broken)
        try:
            if request.operation is BlockOperation.READ:
                self._read(request, early)
            elif request.operation is BlockOperation.WRITE:
                self._write(request)
            else:
                self._flush()
        except Damaged as error:
            return self._failed(str(error))
        except (OSError, StoreError) as error:
            if request.operation is not BlockOperation.READ:
                self._broken = str(error)  # what is on the disk is not known
            return self._failed(str(error))
        return BlockStatus.OK

    def _failed(self, why: str) -> BlockStatus:
        self._say(f"{self._name}: {why}")
        return BlockStatus.ERROR

    def _read(self, request: BlockRequest, early: _Read | None) -> None:
        first, count = _covered(request)
        stored = self._stored(first, count, early)
        plain = memoryview(
            b"".join(
                [
                    self._plain(block, stored[at : at + BLOCK])
                    for block, at in enumerate(range(0, count * BLOCK, BLOCK), first)
                ]
            )
        )
        at = request.sector % _SECTORS * SECTOR
        for buffer in request.buffers:
            buffer[:] = plain[at : at + len(buffer)]
            at += len(buffer)

    def _stored(self, first: int, count: int, early: _Read | None) -> memoryview:
        if early is not None:
            while early.status is None:
                self._event.wait(None)
            if early.status is BlockStatus.OK and early.writes == self._writes_done:
                return memoryview(early.data)
        return memoryview(self._below.read(first, count))

    def _plain(self, block: int, stored: memoryview | None = None) -> Buffer:
        """A block as the guest wrote it; raises ``Damaged``."""
        dirty = self._dirty.get(block)
        if dirty is not None:
            return dirty
        if self._tree is not None:
            code = self._tree.code(block)
            if code == NEVER:
                return bytes(BLOCK)
            if stored is None:
                stored = memoryview(self._below.read(block, 1))
            if self._blocks.code(block, stored) != code:
                raise Damaged(f"block {block} is not what was written there last")
        elif stored is None:
            stored = memoryview(self._below.read(block, 1))
        return self._blocks.unseal(block, stored)

    def _write(self, request: BlockRequest) -> None:
        data = memoryview(b"".join(request.buffers))
        at = request.sector * SECTOR
        while data:
            block, begin = divmod(at, BLOCK)
            piece = data[: BLOCK - begin]
            if len(piece) == BLOCK:
                self._dirty[block] = bytearray(piece)
            else:
                if block not in self._dirty:
                    self._dirty[block] = bytearray(self._plain(block))
                self._dirty[block][begin : begin + len(piece)] = piece
            data, at = data[len(piece) :], at + len(piece)
        if len(self._dirty) * BLOCK >= MOST_DIRTY:
            self._write_out()
            if self._tree is not None and self._tree.full:
                self._below.flush()
                self._tree.settle()

    def _write_out(self) -> None:
        """All that has gathered, to the disk below."""
        stored = {block: self._blocks.seal(block, plain) for block, plain in self._dirty.items()}
        if stored and self._tree is not None:
            self._tree.begin({b: self._blocks.code(b, data) for b, data in stored.items()})
        self._below.write(stored)
        self._dirty.clear()

    def _flush(self) -> None:
        self._write_out()
        self._below.flush()
        if self._tree is not None:
            self._tree.settle()


def _covered(request: BlockRequest) -> tuple[int, int]:
    """The first block of a request, and how many it touches."""
    first = request.sector // _SECTORS
    last = (request.sector * SECTOR + request.length + BLOCK - 1) // BLOCK
    return first, max(last - first, 1)


def _store(env: Environment, name: str) -> tuple[Journal, bytes]:
    """The trusted store and the disk's secret; raises ``StoreError``."""
    key = device_key(DeviceMedium(env.device(f"{name}-key")))
    journal = Journal(DeviceMedium(env.device(f"{name}-store")), key)
    return journal, key
