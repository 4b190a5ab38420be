"""A TPM with a memory: what a response says is persistent is in the storage before it is given."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable

import pytest

from tests.vmm.tpm_backend import MemoryStorage
from tpm.instance import STATE, VOLATILE, Instance, join, split
from tpm.interface import FAILURE, Blob, TpmError
from tpm.store.journal import StoreFull

CLEAR, SHUTDOWN_STATE = "8001 0000000c 00000144 0000", "8001 0000000c 00000145 0001"
STARTUP_STATE = "8001 0000000c 00000144 0001"
OK, INITIALIZE = 0, 0x100


def new(storage: MemoryStorage, seed: int = 0) -> Instance:
    ticks = itertools.count()
    return Instance(lambda: storage, random.Random(seed).randbytes, lambda: next(ticks))


def code(tpm: Instance, command: str) -> int:
    answer = tpm.execute(bytes.fromhex(command))
    assert len(answer) >= 10
    return int.from_bytes(answer[6:10], "big")


def extend(tpm: Instance, pcr: int) -> int:
    password = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)
    body = struct.pack(">I", pcr) + password + struct.pack(">IH", 1, 0x0B) + bytes(range(32))
    return code(tpm, (struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body).hex())


def pcr(tpm: Instance, number: int) -> bytes:
    select = bytearray(3)
    select[number // 8] |= 1 << number % 8
    body = struct.pack(">IHB", 1, 0x0B, 3) + select
    answer = tpm.execute(struct.pack(">HII", 0x8001, 10 + len(body), 0x17E) + body)
    return answer[-32:]


def started(storage: MemoryStorage) -> Instance:
    tpm = new(storage)
    tpm.power_on()
    assert code(tpm, CLEAR) == OK
    return tpm


def test_the_same_tpm_after_power_off() -> None:
    storage = MemoryStorage()
    tpm = new(storage)
    tpm.power_on()
    first = dict(storage.blobs)
    assert STATE in first
    tpm.power_off()
    other = new(storage, seed=1)
    other.power_on()
    assert storage.blobs == first
    assert code(other, CLEAR) == OK
    assert code(other, CLEAR) == INITIALIZE


def test_without_power() -> None:
    tpm = new(MemoryStorage())
    assert tpm.execute(bytes.fromhex(CLEAR)) == FAILURE["2.0"]
    for action in (tpm.hash_start, tpm.store_volatile, lambda: tpm.get_state(Blob.PERMANENT)):
        with pytest.raises(TpmError, match="no power"):
            action()


def test_state_is_split_by_entry() -> None:
    state = {
        "a": 1, "b": {2: b"x"}, "persistent": {0x81000001: {"k": b"v"}}, "nv": {0x1500000: [b"d"]}
    }  # fmt: skip
    blobs = split(state)
    assert set(blobs) == {"state", "object.81000001", "nv.01500000"}
    assert join(blobs) == state


def test_reading_costs_no_write() -> None:
    storage = MemoryStorage()
    tpm = started(storage)
    assert extend(tpm, 16) == OK
    before = storage.commits
    for _ in range(20):
        assert extend(tpm, 16) == OK
        pcr(tpm, 16)
        assert code(tpm, "8001 0000000c 0000017b 0010") == OK
    assert storage.commits == before


def test_shutdown_state_survives() -> None:
    storage = MemoryStorage()
    tpm = started(storage)
    assert extend(tpm, 4) == OK
    value = pcr(tpm, 4)
    assert code(tpm, SHUTDOWN_STATE) == OK
    again = new(storage)
    again.power_on()
    assert code(again, STARTUP_STATE) == OK
    assert pcr(again, 4) == value
    again.power_on()
    assert code(again, CLEAR) == OK
    assert pcr(again, 4) == bytes(32)


def test_suspend_and_resume_elsewhere() -> None:
    tpm = started(MemoryStorage())
    assert extend(tpm, 4) == OK
    permanent, volatile = tpm.get_state(Blob.PERMANENT), tpm.get_state(Blob.VOLATILE)
    assert tpm.get_state(Blob.SAVESTATE) == b""
    for order in ((0, 1), (1, 0)):
        storage = MemoryStorage()
        other = new(storage, seed=2)
        other.power_on()
        other.power_off()
        parts = ((Blob.PERMANENT, permanent), (Blob.VOLATILE, volatile))
        for index in order:
            other.set_state(*parts[index])
        other.set_state(Blob.SAVESTATE, b"")
        other.power_on(delete_volatile=True)
        assert pcr(other, 4) == pcr(tpm, 4)
        assert VOLATILE not in storage.blobs
        assert other.get_state(Blob.PERMANENT) == permanent
        assert code(other, CLEAR) == INITIALIZE


def test_stored_volatile_state_is_for_the_state_it_was_stored_with() -> None:
    storage = MemoryStorage()
    tpm = started(storage)
    assert extend(tpm, 4) == OK
    value = pcr(tpm, 4)
    tpm.store_volatile()
    again = new(storage)
    again.power_on()
    assert pcr(again, 4) == value
    assert VOLATILE in storage.blobs
    assert code(again, SHUTDOWN_STATE) == OK  # changes what is persistent
    assert VOLATILE not in storage.blobs


@pytest.mark.parametrize("blob", [Blob.PERMANENT, Blob.VOLATILE])
def test_bad_blobs_change_nothing(blob: Blob) -> None:
    storage = MemoryStorage()
    tpm = started(storage)
    good = tpm.get_state(blob)
    before = dict(storage.blobs)
    with pytest.raises(TpmError, match="running"):
        tpm.set_state(blob, good)
    tpm.power_off()
    rng = random.Random(3)
    damaged = [b"", b"x", good[:-1], good + b"x", bytes(100), b"\x91" * 5000]
    for _ in range(200):
        changed = bytearray(good)
        changed[rng.randrange(20)] ^= 1 << rng.randrange(8)
        damaged.append(bytes(changed))
    for data in damaged:
        try:
            tpm.set_state(blob, data)
        except TpmError:
            assert storage.blobs == before
        else:
            storage.blobs = dict(before)


def test_volatile_state_that_makes_no_sense_is_refused_at_power_on() -> None:
    import msgspec

    storage = MemoryStorage()
    tpm = started(storage)
    tpm.power_off()
    tpm.set_state(Blob.VOLATILE, msgspec.msgpack.encode(["cloister tpm 2.0", {"started": 7}]))
    with pytest.raises(TpmError, match="cannot be used"):
        tpm.power_on()
    assert not tpm.running


def failing(kind: Callable[[], Exception]) -> None:
    class Failing(MemoryStorage):
        fails = False

        def commit(self, changes: object) -> None:
            if self.fails:
                raise kind()
            super().commit(changes)  # type: ignore[arg-type]

    storage = Failing()
    tpm = started(storage)
    storage.fails = True
    assert tpm.execute(bytes.fromhex(SHUTDOWN_STATE)) == FAILURE["2.0"]
    storage.fails = False
    assert tpm.execute(bytes.fromhex("8001 0000000c 0000017b 0010")) == FAILURE["2.0"]
    tpm.power_on()
    assert code(tpm, CLEAR) == OK


def test_what_cannot_be_written_is_not_acknowledged() -> None:
    failing(lambda: OSError(28, "no space left"))
    failing(lambda: StoreFull("full"))


def test_the_establishment_flag_is_kept() -> None:
    storage = MemoryStorage()
    tpm = started(storage)
    assert not tpm.established
    tpm.hash_start()
    tpm.hash_data(b"launched")
    tpm.hash_end()
    assert tpm.established
    again = new(storage)
    again.power_on()
    assert again.established
    assert not again.reset_established(2)
    assert again.reset_established(3)
    again.power_on()
    assert not again.established
