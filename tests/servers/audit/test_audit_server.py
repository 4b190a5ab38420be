"""The audit server: what was acknowledged stays."""

from __future__ import annotations

import hashlib

import msgpack
import pytest

from servers.audit.interface import Audit, AuditReader, Record
from servers.audit.main import main as audit
from servers.audit.store import MEMORY
from servers.runtime import BadRequest, Environment, Failed
from tests.support.audits import HOLDS, restart, run
from tests.support.simulation import Simulation


@pytest.mark.parametrize("size", [0, 1 << 16])
def test_entries_are_numbered_and_chained(size: int) -> None:
    def body(_sim: Simulation, _env: Environment, log: Audit, reader: AuditReader) -> None:
        assert (reader.count(), reader.verify(), reader.read(1, 10)) == (0, 0, [])
        assert [log.append("start", f"n{i}") for i in range(5)] == [1, 2, 3, 4, 5]
        records = reader.read(1, 100)
        before = bytes(32)
        for number, record in enumerate(records, 1):
            fields = [number, record.time, "client", "start", f"n{number - 1}"]
            before = hashlib.sha256(before + msgpack.packb(fields)).digest()
            assert record == Record(*fields, before.hex())  # type: ignore
        assert [r.time for r in records] == sorted(r.time for r in records)
        assert reader.read(4, 100) == records[3:]
        assert reader.read(2, 2) == records[1:3]
        assert reader.read(-7, 1) == records[:1]
        assert reader.read(1, -1) == reader.read(6, 1) == reader.read(2**60, 1) == []
        assert (reader.count(), reader.verify()) == (5, 0)

    run(body, size)


def test_entries_are_bounded() -> None:
    def body(_sim: Simulation, _env: Environment, log: Audit, reader: AuditReader) -> None:
        log.append("long", "é" * 5000)
        log.append("odd", "x" + "é" * 5000)
        first, second = reader.read(1, 2)
        assert first.detail == "é" * 512 and second.detail == "x" + "é" * 511
        for event in ("", "two words", "x" * 65, "\n", "é" * 33):
            with pytest.raises(BadRequest, match="one word"):
                log.append(event, "")
        assert log.append("x" * 64, "\0" * 1024) == 3
        assert reader.verify() == 0

    run(body)


def test_an_answer_holds_what_fits() -> None:
    def body(_sim: Simulation, _env: Environment, log: Audit, reader: AuditReader) -> None:
        for number in range(100):
            log.append("long", f"{number:04}" * 256)
        found: list[Record] = []
        while more := reader.read(len(found) + 1, 1000):
            assert len(more) < 100
            found += more
        assert [record.number for record in found] == list(range(1, 101))

    run(body, 1 << 20)


def test_a_full_log_says_so_and_keeps_what_it_has() -> None:
    def body(_sim: Simulation, env: Environment, log: Audit, reader: AuditReader) -> None:
        with pytest.raises(Failed, match=r"full: \d+ of 4096 bytes hold \d+ entries; give it"):
            for _ in range(1000):
                log.append("start", "x" * 300)
        count = reader.count()
        assert 8 <= count <= 11
        restart(env)
        assert (reader.count(), reader.verify()) == (count, 0)

    run(body, 4096)


def test_without_a_device_the_last_entries_are_kept() -> None:
    def body(_sim: Simulation, _env: Environment, log: Audit, reader: AuditReader) -> None:
        for number in range(MEMORY + 5):
            log.append("event", str(number))
        assert reader.count() == MEMORY + 5
        assert reader.read(1, 1)[0].number == 6
        assert reader.read(MEMORY + 5, 9)[0].detail == str(MEMORY + 4)
        assert reader.verify() == 0

    run(body, 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_server_loses_nothing_that_it_acknowledged(seed: int) -> None:
    def body(_sim: Simulation, env: Environment, log: Audit, reader: AuditReader) -> None:
        for number in range(10):
            assert log.append("event", str(number)) == number + 1
            if number % 3 == seed:
                restart(env)
        assert [record.detail for record in reader.read(1, 99)] == [str(n) for n in range(10)]
        assert reader.verify() == 0

    run(body, seed=seed)


def test_each_caller_is_named() -> None:
    sim = Simulation()
    sim.process("audit", audit, ["audit", "reader"])

    def other(env: Environment) -> None:
        env.open(Audit, "audit").append("hello", "")

    for name in ("policy", "init"):
        sim.process(name, other, holds=HOLDS, client=True)

    @sim.client(HOLDS)
    def reader(env: Environment) -> None:
        env.sleep(10**9)
        records = env.open(AuditReader, "reader").read(1, 9)
        assert {record.source for record in records} == {"policy", "init"}

    sim.run()
