"""The journal keeps what was acknowledged, whatever happens in between, and notices damage."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpm.store.journal import SMALLEST, Journal, StoreDamaged, StoreFull, WrongKey

KEY = bytes(range(32))


class Power(Exception):
    """The power failed."""


class Disk:
    """Memory that can fail after some bytes, and then has lost what was not synced."""

    def __init__(self, size: int = SMALLEST) -> None:
        self.size = size
        self.stable = bytearray(size)
        self.data = bytearray(size)
        self.pending: list[tuple[int, bytes]] = []
        self.left: int | None = None  # operations until the power fails
        self.syncs = 0

    def _step(self) -> None:
        if self.left is not None:
            if not self.left:
                raise Power
            self.left -= 1

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def write_at(self, offset: int, data: bytes) -> None:
        self._step()
        self.pending.append((offset, data))
        self.data[offset : offset + len(data)] = data

    def sync(self) -> None:
        self._step()
        self.syncs += 1
        self.pending.clear()
        self.stable[:] = self.data

    def after_failure(self, chance: random.Random) -> Disk:
        """What is found afterwards: of what was not synced any sectors, in any order."""
        found = Disk(self.size)
        found.data[:] = self.stable
        for offset, data in self.pending:
            at = offset
            while at < offset + len(data):
                end = min((at // 512 + 1) * 512, offset + len(data))
                if chance.random() < 0.5:
                    found.data[at:end] = data[at - offset : end - offset]
                at = end
        found.stable[:] = found.data
        return found


def test_is_empty_at_first_and_remembers() -> None:
    disk = Disk()
    assert Journal(disk, KEY).load() == {}
    store = Journal(disk, KEY)
    store.commit({"a": b"1", "b": b"2"})
    store.commit({"a": None, "c": b""})
    assert store.load() == {"b": b"2", "c": b""}
    again = Journal(disk, KEY)
    assert again.load() == store.load()
    assert again.position == store.position
    assert again.head == store.head


def test_a_commit_costs_one_sync_and_one_without_change_none() -> None:
    disk = Disk()
    store = Journal(disk, KEY)
    before = disk.syncs
    store.commit({"a": b"1"})
    assert disk.syncs == before + 1
    store.commit({"a": b"1", "b": None})
    assert disk.syncs == before + 1


def test_nothing_is_readable_on_the_medium() -> None:
    disk = Disk()
    Journal(disk, KEY).commit({"endorsement": b"SECRET" * 10})
    assert b"SECRET" not in disk.data
    assert b"endorsement" not in disk.data


def test_position_grows_over_changes_of_area() -> None:
    disk = Disk()
    store = Journal(disk, KEY)
    positions = [store.position]
    for number in range(400):
        store.commit({"counter": number.to_bytes(500, "big")})
        positions.append(store.position)
    assert positions == sorted(set(positions))
    assert store.position[0] > 3
    assert Journal(disk, KEY).load() == {"counter": (399).to_bytes(500, "big")}


def test_what_does_not_fit_changes_nothing() -> None:
    disk = Disk()
    store = Journal(disk, KEY)
    store.commit({"a": b"1"})
    with pytest.raises(StoreFull):
        store.commit({"a": b"2", "big": os.urandom(SMALLEST)})
    assert store.load() == {"a": b"1"}
    assert Journal(disk, KEY).load() == {"a": b"1"}
    store.commit({"a": b"3"})
    assert Journal(disk, KEY).load() == {"a": b"3"}


def test_another_key() -> None:
    disk = Disk()
    Journal(disk, KEY).commit({"a": b"1"})
    before = bytes(disk.data)
    with pytest.raises(WrongKey):
        Journal(disk, bytes(32))
    assert bytes(disk.data) == before


def test_a_small_medium_is_refused() -> None:
    with pytest.raises(StoreFull, match="needs 65536 bytes"):
        Journal(Disk(SMALLEST - 4096), KEY)


@pytest.mark.parametrize("content", [b"hello", bytes(range(256)) * 256])
def test_something_else_is_not_overwritten(content: bytes) -> None:
    disk = Disk()
    disk.data[: len(content)] = content
    with pytest.raises(StoreDamaged):
        Journal(disk, KEY)
    assert disk.data[: len(content)] == content


def commits(store: Journal, count: int) -> None:
    for number in range(count):
        store.commit({"n": number.to_bytes(100, "big")})


def test_damage_before_the_end_is_reported() -> None:
    disk = Disk()
    commits(Journal(disk, KEY), 20)
    rng = random.Random(4)
    whole = Journal(disk, KEY).load()
    end = 512 + 20 * 152
    for _ in range(300):
        at = rng.randrange(100, end)
        disk.data[at] ^= 1 << rng.randrange(8)
        try:
            assert Journal(disk, KEY).load() in (whole, {"n": (18).to_bytes(100, "big")})
        except StoreDamaged:
            pass
        disk.data[:] = disk.stable


def test_a_damaged_header_does_not_bring_an_old_state_back() -> None:
    disk = Disk()
    store = Journal(disk, KEY)
    while store.position[0] < 2:
        store.commit({"n": os.urandom(400)})
    half = disk.size // 2
    disk.data[half + 20] ^= 1
    assert Journal(disk, KEY).load() == store.load()
    disk.data[disk.size - 512 + 20] ^= 1  # the copy too
    with pytest.raises(StoreDamaged):
        Journal(disk, KEY)


def moved(disk: Disk) -> None:
    """Exchange two records of one size."""
    mark = bytes(disk.data[512:520])
    first = disk.data.index(mark, 513)
    second = disk.data.index(mark, first + 1)
    size = second - first
    a, b = disk.data[first:second], disk.data[second : second + size]
    disk.data[first:second], disk.data[second : second + size] = b, a


def repeated(disk: Disk) -> None:
    """Put an earlier record in the place of a later one, with the later one's index."""
    mark = bytes(disk.data[512:520])
    first = disk.data.index(mark, 513)
    second = disk.data.index(mark, first + 1)
    size = second - first
    disk.data[second + 12 : second + size] = disk.data[first + 12 : second]


@pytest.mark.parametrize("tamper", [moved, repeated])
def test_records_stay_where_they_are(tamper: Callable[[Disk], None]) -> None:
    disk = Disk()
    commits(Journal(disk, KEY), 5)
    tamper(disk)
    with pytest.raises(StoreDamaged):
        Journal(disk, KEY)


@pytest.mark.parametrize("seed", range(8))
def test_power_failures_at_every_step(seed: int) -> None:
    """Whatever sectors of what was not synced arrive: the state is the last acknowledged one, or
    the one whose commit was cut off."""
    rng = random.Random(seed)
    disk = Disk()
    expected: dict[str, bytes] = {}
    Journal(disk, KEY)
    for _ in range(120):
        disk.left = rng.randrange(1, 30)
        wanted = expected
        try:
            store = Journal(disk, KEY)
            assert store.load() == expected
            while True:
                name = rng.choice("abc")
                data = None if rng.random() < 0.2 else rng.randbytes(rng.randrange(3000))
                wanted = {k: v for k, v in {**expected, name: data}.items() if v is not None}
                store.commit({name: data})
                expected = wanted
        except Power:
            disk = disk.after_failure(rng)
            found = Journal(disk, KEY).load()
            assert found in (expected, wanted)
            expected = found


def test_a_failure_of_the_first_start() -> None:
    for step in range(6):
        for seed in range(10):
            disk = Disk()
            disk.left = step
            try:
                Journal(disk, KEY)
            except Power:
                disk = disk.after_failure(random.Random(seed))
            assert Journal(disk, KEY).load() == {}


def test_after_a_failed_write_nothing_is_written() -> None:
    class Failing(Disk):
        fails = False

        def write_at(self, offset: int, data: bytes) -> None:
            if self.fails:
                raise OSError(5, "input/output error")
            super().write_at(offset, data)

    disk = Failing()
    store = Journal(disk, KEY)
    disk.fails = True
    with pytest.raises(OSError):
        store.commit({"a": b"1"})
    disk.fails = False
    with pytest.raises(Exception, match="failed before"):
        store.commit({"a": b"1"})
    assert Journal(disk, KEY).load() == {}


names = st.text("abcd", min_size=1, max_size=2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(names, st.none() | st.binary(max_size=2000)), max_size=40))
def test_is_a_dictionary(changes: list[dict[str, bytes | None]]) -> None:
    disk = Disk()
    model: dict[str, bytes] = {}
    store = Journal(disk, KEY)
    for change in changes:
        store.commit(change)
        model = {k: v for k, v in {**model, **change}.items() if v is not None}
        assert store.load() == model
    assert Journal(disk, KEY).load() == model
