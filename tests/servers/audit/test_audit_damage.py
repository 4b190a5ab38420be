"""The audit log damaged by accident or by intent: what was changed shows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.audit.chain import link
from servers.audit.interface import Audit, AuditReader
from servers.runtime import Environment, Failed
from tests.support.audits import overwrite, places, restart, run
from tests.support.simulation import Simulation


@given(torn=st.integers(0, 400), entry=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_torn_last_entry_never_was(torn: int, entry: int) -> None:
    """Cut the device's content off anywhere in the last entry: all before it is there."""

    def body(sim: Simulation, env: Environment, log: Audit, reader: AuditReader) -> None:
        for number in range(entry + 1):
            log.append("event", "x" * 200 + str(number))
        *_, start, end = places(sim)
        cut = min(start + torn, end - 1)
        overwrite(sim, cut, bytes(end - cut))
        restart(env)
        assert (reader.count(), reader.verify()) == (entry, 0)
        assert log.append("event", "short") == entry + 1
        restart(env)  # nothing of the torn entry is taken for one
        assert (reader.count(), reader.verify()) == (entry + 1, 0)

    run(body)


def test_an_entry_torn_the_other_way_round_never_was() -> None:
    """The device may write the later sectors first."""

    def body(sim: Simulation, env: Environment, log: Audit, reader: AuditReader) -> None:
        log.append("event", "x" * 500)
        log.append("event", "y" * 900)
        overwrite(sim, places(sim)[1], bytes(512))
        restart(env)
        assert (reader.count(), reader.verify()) == (1, 0)
        assert log.append("event", "short") == 2
        restart(env)
        assert (reader.count(), reader.verify()) == (2, 0)

    run(body)


@given(where=st.integers(0, 10**6), bit=st.integers(0, 7), stopped=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_changed_bit_is_found(where: int, bit: int, stopped: bool) -> None:
    """Before the last entry also over a restart; in the last one while the server runs."""

    def body(sim: Simulation, env: Environment, log: Audit, reader: AuditReader) -> None:
        for number in range(30):
            log.append("event", f"{number:03}" * 100)
        found = places(sim)
        place = where % found[20 if stopped else -1]
        number = sum(start <= place for start in found)
        byte = sim.memory("log").read_at(place, 1)[0]
        overwrite(sim, place, bytes([byte ^ 1 << bit]))
        if stopped:
            restart(env)
        assert reader.verify() == number
        if stopped:
            try:  # what is left of the evidence is not overwritten
                log.append("event", "more")
            except Failed as error:
                assert "damaged" in str(error)
            after = sim.memory("log").read_at(found[20], found[-1] - found[20])
            assert after.count(b"event") == 10
            assert reader.verify() == number

    run(body)


def test_a_log_that_was_rewritten_or_cut_is_found_while_the_server_runs() -> None:
    def body(sim: Simulation, _env: Environment, log: Audit, reader: AuditReader) -> None:
        for number in range(3):
            log.append("event", str(number))
        device, found = sim.memory("log"), places(sim)
        saved = device.read_at(0, found[-1])
        overwrite(sim, found[2], bytes(found[3] - found[2]))
        assert reader.verify() == 3
        with pytest.raises(Failed, match="entry 3 of the audit log cannot be read"):
            reader.read(1, 10)
        overwrite(sim, 0, saved)
        assert reader.verify() == 0

    run(body)


def test_a_log_that_was_written_anew_is_found_while_the_server_runs() -> None:
    def body(sim: Simulation, _env: Environment, log: Audit, reader: AuditReader) -> None:
        log.append("event", "truth")
        [record] = reader.read(1, 1)
        forged = link(bytes(32), 1, record.time, record.source, "event", "fraud")
        overwrite(sim, 4, msgspec.msgpack.encode(forged))
        assert reader.read(1, 1) == [forged]
        assert reader.verify() == 1

    run(body)


def test_an_entry_behind_a_changed_one_is_kept() -> None:
    def body(sim: Simulation, env: Environment, log: Audit, reader: AuditReader) -> None:
        for number in range(3):
            log.append("event", str(number))
        place = places(sim)[2] - 1  # the last digit of the second entry's hash
        old = sim.memory("log").read_at(place, 1)
        overwrite(sim, place, b"0" if old != b"0" else b"1")
        restart(env)
        assert (reader.count(), reader.verify()) == (3, 2)
        assert [record.detail for record in reader.read(1, 9)] == ["0", "1", "2"]
        assert log.append("event", "3") == 4
        assert reader.verify() == 2

    run(body)


def test_what_lies_behind_the_end_is_not_taken_for_entries() -> None:
    rubbish = (b"\0\0\0\x0a" + b"x" * 10) * 5

    def body(sim: Simulation, env: Environment, log: Audit, reader: AuditReader) -> None:
        env.sleep(10**9)  # so that all times are of one length
        log.append("event", "0")
        end = places(sim)[-1]
        log.append("event", "1")
        after = places(sim)[-1]
        overwrite(sim, end, bytes(after - end))
        restart(env)
        overwrite(sim, after, rubbish)  # as if a longer entry had been torn here
        assert log.append("event", "1") == 2
        restart(env)
        assert (reader.count(), reader.verify()) == (2, 0)
        assert sim.memory("log").read_at(after, 2048) == bytes(2048)  # wiped at the start

    run(body)


def test_a_device_that_fails_is_said_to_and_changes_nothing() -> None:
    def body(sim: Simulation, env: Environment, log: Audit, reader: AuditReader) -> None:
        log.append("event", "one")
        device = sim.memory("log")
        plain = device.write_from

        def fail(offset: int, buffers: list[memoryview]) -> int:
            plain(offset, [buffers[0][:50]])
            raise OSError(5, "input/output error")

        device.write_from = fail  # type: ignore[method-assign]
        with pytest.raises(Failed, match="cannot be written: input/output error"):
            log.append("event", "two" * 100)
        device.write_from = plain  # type: ignore[method-assign]
        assert (reader.count(), reader.verify()) == (1, 0)
        assert log.append("event", "three") == 2
        restart(env)
        assert (reader.count(), reader.verify()) == (2, 0)

    run(body)
