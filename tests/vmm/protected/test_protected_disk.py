"""Protected disks: what is written is read, what lies is found out, a crash loses what it may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.runtime import ProcessFailed
from vmm.backends import SECTOR, BlockOperation, BlockRequest, BlockStatus
from vmm.protected import disk as protected
from vmm.protected import tree as trees
from vmm.protected.blocks import Blocks
from vmm.protected.disk import ProtectedDisk
from vmm.protected.geometry import BLOCK, FANOUT, geometry

SECRET = bytes(range(32))
PER_BLOCK = BLOCK // SECTOR


class Store:
    """A trusted store in memory."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def load(self) -> dict[str, bytes]:
        return dict(self.blobs)

    def commit(self, changes: Mapping[str, bytes | None]) -> None:
        for name, data in changes.items():
            if data is None:
                self.blobs.pop(name, None)
            else:
                self.blobs[name] = data


class Keeper:
    """Who keeps the disk: answers at once, and may be told to lie."""

    def __init__(self, blocks: int) -> None:
        self.data = bytearray(blocks * BLOCK)
        self.flushed = bytes(self.data)
        self.read_only = False
        self.lie: Callable[[int, bytearray], None] | None = None
        self.drop_writes = False

    @property
    def sectors(self) -> int:
        return len(self.data) // SECTOR

    def submit(self, request: BlockRequest) -> None:
        at = request.sector * SECTOR
        for buffer in request.buffers:
            if request.operation is BlockOperation.READ:
                found = bytearray(self.data[at : at + len(buffer)])
                if self.lie:
                    self.lie(at, found)
                buffer[:] = found
            elif not self.drop_writes:
                self.data[at : at + len(buffer)] = buffer
            at += len(buffer)
        if request.operation is BlockOperation.FLUSH:
            self.flushed = bytes(self.data)
        request.complete(BlockStatus.OK)


class Flag:
    """An event that forgets that it was set once somebody saw it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def wait(self, timeout: int | None) -> bool:
        was = self._event.wait(10 if timeout is None else timeout / 1e9)
        self._event.clear()
        return was


class World:
    """What a disk needs of its process."""

    def event(self) -> Flag:
        return Flag()

    def thread(self, function: Callable[[Any], None], name: str) -> None:
        threading.Thread(target=function, args=(self,), name=name, daemon=True).start()


class Machine:
    """A disk that is used, one request at a time."""

    def __init__(self, keeper: Any, store: Store, *keys: str) -> None:
        self.said: list[str] = []
        world: Any = World()
        self.disk = ProtectedDisk(
            world, "disk0", keeper, "encrypt" in keys, "integrity" in keys, self.said.append
        )
        original = protected._store
        protected._store = lambda env, name: (store, SECRET)  # type: ignore[assignment,return-value]
        try:
            self.disk.start()
        finally:
            protected._store = original

    def ask(self, operation: BlockOperation, sector: int, buffer: bytearray | None) -> BlockStatus:
        done = threading.Event()
        answers: list[BlockStatus] = []

        def complete(status: BlockStatus) -> None:
            answers.append(status)
            done.set()

        buffers = () if buffer is None else (memoryview(buffer),)
        self.disk.submit(BlockRequest(operation, sector, buffers, complete))
        assert done.wait(10)
        return answers[0]

    def read(self, sector: int, count: int) -> bytes | None:
        data = bytearray(count * SECTOR)
        status = self.ask(BlockOperation.READ, sector, data)
        return bytes(data) if status is BlockStatus.OK else None

    def write(self, sector: int, data: bytes) -> bool:
        return self.ask(BlockOperation.WRITE, sector, bytearray(data)) is BlockStatus.OK

    def flush(self) -> bool:
        return self.ask(BlockOperation.FLUSH, 0, None) is BlockStatus.OK


KEYS = [("encrypt",), ("integrity",), ("encrypt", "integrity")]


@pytest.mark.parametrize("keys", KEYS)
def test_what_was_written_is_read_also_after_a_restart(keys: tuple[str, ...]) -> None:
    keeper, store = Keeper(64), Store()
    machine = Machine(keeper, store, *keys)
    assert machine.disk.sectors == (64 if keys == ("encrypt",) else 63) * PER_BLOCK
    text = b"plain text that nobody may see. " * 40
    assert machine.write(3, text[:1024]) and machine.write(17 * PER_BLOCK, bytes(BLOCK * 3))
    assert machine.read(3, 2) == text[:1024]
    assert machine.flush()
    assert (b"nobody may see" in keeper.data) == ("encrypt" not in keys)
    again = Machine(keeper, store, *keys)
    assert again.read(3, 2) == text[:1024]
    if "integrity" in keys:
        assert again.read(5, 1) == bytes(SECTOR)  # what was never written is zeros


def test_a_block_is_read_while_many_are_written() -> None:
    """Reads that began below before a write was carried out are not believed."""
    for keys in KEYS:
        keeper = Keeper(64)
        machine = Machine(keeper, Store(), *keys)
        pending: list[threading.Event] = []
        buffers = []
        for number in range(40):
            for operation in (BlockOperation.WRITE, BlockOperation.FLUSH, BlockOperation.READ):
                data = bytearray(bytes([number]) * BLOCK)
                if operation is BlockOperation.READ:
                    data = bytearray(BLOCK)
                    buffers.append(data)
                done = threading.Event()
                pending.append(done)
                given = () if operation is BlockOperation.FLUSH else (memoryview(data),)
                machine.disk.submit(
                    BlockRequest(operation, 8, given, lambda _status, done=done: done.set())
                )
        assert all(done.wait(10) for done in pending)
        assert [buffer[0] for buffer in buffers] == list(range(40))


def flip(at: int, found: bytearray) -> None:
    found[17] ^= 1


LIES: dict[str, Callable[[Keeper, bytes], None]] = {
    "flip": lambda keeper, old: setattr(keeper, "lie", flip),
    "replay": lambda keeper, old: keeper.data.__setitem__(slice(None), old),
    "swap": lambda keeper, old: keeper.data.__setitem__(
        slice(2 * BLOCK), keeper.data[BLOCK : 2 * BLOCK] + keeper.data[:BLOCK]
    ),
    "erase": lambda keeper, old: keeper.data.__setitem__(slice(None), bytes(len(keeper.data))),
}


@pytest.mark.parametrize("keys", [("integrity",), ("encrypt", "integrity")])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_a_lying_keeper_is_never_believed(lie: str, restart: bool, keys: tuple[str, ...]) -> None:
    keeper, store = Keeper(64), Store()
    machine = Machine(keeper, store, *keys)
    for content in (1, 2):
        old = bytes(keeper.data)
        for block in range(2):
            assert machine.write(block * PER_BLOCK, bytes([content + 16 * block]) * BLOCK)
        assert machine.flush()
    LIES[lie](keeper, old)
    if restart:
        machine = Machine(keeper, store, *keys)
    assert machine.read(0, PER_BLOCK) is None
    assert machine.read(PER_BLOCK, PER_BLOCK) is None
    assert "block 0 is not what was written there last" in machine.said[0]


def test_dropped_writes_are_found_out() -> None:
    keeper, store = Keeper(64), Store()
    machine = Machine(keeper, store, "integrity")
    assert machine.write(0, b"a" * BLOCK) and machine.flush()
    keeper.drop_writes = True
    assert machine.write(0, b"b" * BLOCK) and machine.flush()
    assert machine.read(0, 1) is None


def test_a_truncated_or_replaced_disk_is_refused() -> None:
    keeper, store = Keeper(64), Store()
    machine = Machine(keeper, store, "integrity")
    assert machine.write(0, b"a" * BLOCK) and machine.flush()
    with pytest.raises(ProcessFailed, match="it has 256 sectors, and had 512 when it was made"):
        Machine(Keeper(32), store, "integrity")
    with pytest.raises(ProcessFailed, match="it was made with integrity = true"):
        Machine(keeper, store, "integrity", "encrypt")
    with pytest.raises(ProcessFailed, match="it has data that its trusted store knows nothing of"):
        Machine(keeper, Store(), "integrity")


def test_a_disk_may_be_too_small() -> None:
    with pytest.raises(ProcessFailed, match="at least 8 KiB"):
        Machine(Keeper(1), Store(), "integrity")


@given(st.integers(2, 300_000))
def test_the_layout_has_no_gaps_and_no_overlaps(blocks: int) -> None:
    layout = geometry(blocks, True)
    assert layout.levels[-1].stop <= blocks
    assert len(layout.levels[-1]) == 1
    edges = [layout.data, *(level.stop for level in layout.levels)]
    assert [level.start for level in layout.levels] == edges[:-1]
    assert blocks - layout.levels[-1].stop <= len(layout.levels)  # nothing is wasted
    for block in {0, layout.data - 1, *(level.start for level in layout.levels[:-1])}:
        slot = layout.parent(block)
        assert slot is not None
        assert slot.block in layout.levels[layout.level(block) + 1]


class Crash(Exception):
    """The machine lost its power."""


class Unreliable:
    """A disk that keeps after a crash any part of what was not flushed."""

    def __init__(self, blocks: int) -> None:
        self.stable = {block: bytes(BLOCK) for block in range(blocks)}
        self.cache: dict[int, list[bytes]] = {}
        self.left = 1 << 30

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def read(self, block: int, count: int) -> bytes:
        found = range(block, block + count)
        return b"".join((self.cache.get(b) or [self.stable[b]])[-1] for b in found)

    def write(self, blocks: Mapping[int, bytes]) -> None:
        for block, data in blocks.items():
            self._step()
            self.cache.setdefault(block, []).append(data)

    def flush(self) -> None:
        self._step()
        self.stable |= {block: versions[-1] for block, versions in self.cache.items()}
        self.cache.clear()

    def crash(self, choose: Callable[[int], int]) -> None:
        for block, versions in self.cache.items():
            pick = choose(len(versions) + 1)
            if pick:
                self.stable[block] = versions[pick - 1]
        self.cache.clear()


class Stepped(Store):
    """A store whose commits are whole or not there, and may be the last thing that happens."""

    def __init__(self, medium: Unreliable) -> None:
        super().__init__()
        self._medium = medium

    def commit(self, changes: Mapping[str, bytes | None]) -> None:
        self._medium._step()
        super().commit(changes)


BLOCKS = 3 * FANOUT
WRITTEN = [0, 1, FANOUT, FANOUT + 1, 2 * FANOUT + 5]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_after_any_crash_honest_data_is_accepted_and_flushed_data_is_there(data: Any) -> None:
    """Many small disks with many crashes, against what a disk with a volatile cache may do."""
    medium = Unreliable(BLOCKS)
    store = Stepped(medium)
    blocks = Blocks(SECRET, False)
    layout = geometry(BLOCKS, True)
    possible = {block: {bytes(BLOCK)} for block in WRITTEN}
    version = 0
    for _ in range(data.draw(st.integers(1, 4))):
        medium.left = 1 << 30
        tree = trees.Tree(layout, blocks, medium, store)
        for block in WRITTEN:
            stored = medium.read(block, 1)
            code = tree.code(block)
            seen = bytes(BLOCK) if code == trees.NEVER else stored
            assert code in (trees.NEVER, blocks.code(block, stored)), "honest data was refused"
            assert seen in possible[block]
            possible[block] = {seen}
        medium.left = data.draw(st.integers(0, 30))
        try:
            for _ in range(data.draw(st.integers(1, 5))):
                version += 1
                chosen = data.draw(st.lists(st.sampled_from(WRITTEN), min_size=1, unique=True))
                new = {block: version.to_bytes(8, "little") * (BLOCK // 8) for block in chosen}
                for block, content in new.items():
                    possible[block] = possible[block] | {content}
                tree.begin({block: blocks.code(block, each) for block, each in new.items()})
                medium.write(new)
                if data.draw(st.booleans()):
                    medium.flush()
                    tree.settle()
                    flushed = {b: medium.stable[b] for b in WRITTEN}
                    assert all(flushed[block] in possible[block] for block in WRITTEN)
                    for block in WRITTEN:
                        possible[block] = {flushed[block]}
                    if data.draw(st.booleans()):
                        tree.checkpoint()
        except Crash:
            pass
        medium.crash(lambda count: data.draw(st.integers(0, count - 1)))


def test_many_writes_are_worked_into_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MOST_NEW", 100)
    monkeypatch.setattr(protected, "MOST_DIRTY", 16 * BLOCK)
    keeper, store = Keeper(1200), Store()
    machine = Machine(keeper, store, "encrypt", "integrity")
    for block in range(1000):
        assert machine.write(block * PER_BLOCK, block.to_bytes(2, "little") * (BLOCK // 2))
    assert machine.flush()
    assert len([name for name in store.blobs if name.startswith("b")]) < 20
    again = Machine(keeper, store, "encrypt", "integrity")
    for block in range(1000):
        assert again.read(block * PER_BLOCK, 1) == block.to_bytes(2, "little") * (SECTOR // 2)
    layout = geometry(1200, True)
    keeper.data[layout.levels[0].start * BLOCK] ^= 1
    final = Machine(keeper, store, "encrypt", "integrity")
    assert final.read(0, 1) is None
    assert "the hash tree's block" in final.said[0]


def test_a_failing_disk_below_is_an_error_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(64)
    machine = Machine(keeper, Store(), "integrity")

    def fail(request: BlockRequest) -> None:
        request.complete(BlockStatus.ERROR)

    assert machine.write(0, bytes(BLOCK)) and machine.flush()
    monkeypatch.setattr(keeper, "submit", fail)
    assert machine.read(0, 1) is None
    assert machine.write(0, bytes(BLOCK))
    assert not machine.flush()
    monkeypatch.undo()
    assert not machine.flush()  # what is there is not known: nothing is said to be stable again
