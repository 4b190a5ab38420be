"""Event logs: bytes as the specifications say, replayed by an independent computation."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpm.eventlog import (
    SHA1,
    SHA256,
    SHA512,
    Event,
    EventLog,
    EventType,
    LogError,
    parse,
    replay,
)


def example() -> EventLog:
    log = EventLog([SHA1, SHA256])
    log.measure(0, EventType.S_CRTM_VERSION, b"v\0", b"v\0")
    log.measure(4, EventType.IPL, b"kernel", b"a kernel")
    log.measure(4, EventType.IPL, b"more", b"")
    return log


def test_the_first_record() -> None:
    data = EventLog([SHA1, SHA256, SHA512]).data
    assert struct.unpack_from("<II", data) == (0, 3)
    assert data[8:28] == bytes(20)
    (size,) = struct.unpack_from("<I", data, 28)
    event = data[32:]
    assert len(event) == size
    assert event[:16] == b"Spec ID Event03\0"
    assert event[16:24] == bytes([0, 0, 0, 0, 0, 2, 0, 2])
    assert struct.unpack_from("<I6H", event, 24) == (3, 0x04, 20, 0x0B, 32, 0x0D, 64)
    assert event[40:] == b"\0"


def test_a_record() -> None:
    log = EventLog([SHA256])
    at = len(log.data)
    log.measure(9, EventType.IPL, b"data", b"said")
    expected = struct.pack("<IIIH", 9, 13, 1, 0x0B) + hashlib.sha256(b"data").digest()
    assert log.data[at:] == expected + struct.pack("<I", 4) + b"said"


def test_tpm_1_2() -> None:
    log = EventLog(None)
    log.measure(4, EventType.IPL, b"kernel", b"k")
    digest = hashlib.sha1(b"kernel").digest()
    assert log.data == struct.pack("<II", 4, 13) + digest + struct.pack("<I", 1) + b"k"
    found = parse(log.data + bytes(100))
    assert found.events == [Event(4, 13, {SHA1: digest}, b"k")]
    assert found.size == len(log.data)


def test_read_and_replayed() -> None:
    log = example()
    for data in (log.data, log.data + bytes(1000)):
        found = parse(data)
        assert found.algorithms == [SHA1, SHA256]
        assert [event.pcr for event in found.events] == [0, 4, 4]
        assert found.size == len(log.data)
        values = replay(found.events, SHA256)
        value = bytes(32)
        for measured in (b"kernel", b"more"):
            value = hashlib.sha256(value + hashlib.sha256(measured).digest()).digest()
        assert values[4] == value
        assert values[5] == bytes(32)
        assert values[17] == b"\xff" * 32
        assert len(replay(found.events, SHA1)[0]) == 20


def test_what_is_no_action_changes_no_pcr_but_the_startup_locality() -> None:
    events = [Event(0, 3, {SHA256: bytes(32)}, b"StartupLocality\0\x03")]
    assert replay(events, SHA256)[0] == bytes(31) + b"\3"
    events = [Event(5, 3, {SHA256: bytes(32)}, b"whatever")]
    assert replay(events, SHA256)[5] == bytes(32)


def test_an_empty_log() -> None:
    assert parse(b"").events == []
    assert parse(bytes(64)).events == []


def test_every_cut_is_noticed() -> None:
    data = example().data
    for size in range(1, len(data)):
        try:
            found = parse(data[:size])
            assert not any(data[found.size : size])  # zeros end a log, too
        except LogError as error:
            assert "event log" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        example().data + struct.pack("<III", 1, 2, 3),
        example().data + struct.pack("<IIIH", 1, 2, 1, 0x99),
        EventLog([SHA256]).data + struct.pack("<IIIH", 1, 2, 1, 11) + bytes(32) + b"\xff" * 4,
        struct.pack("<II20xI", 0, 3, 28) + b"Spec ID Event03\0" + bytes(8) + b"\xff" * 4,
    ],
)
def test_nonsense(data: bytes) -> None:
    with pytest.raises(LogError):
        parse(data)


def test_a_pcr_that_is_not_there() -> None:
    with pytest.raises(LogError):
        replay([Event(24, 1, {SHA256: bytes(32)}, b"")], SHA256)
    with pytest.raises(LogError):
        replay([Event(1, 1, {SHA1: bytes(20)}, b"")], SHA256)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_are_read_or_refused(data: bytes, keep: int) -> None:
    for candidate in (data, example().data[:keep] + data):
        try:
            parse(candidate)
        except LogError:
            pass


@pytest.mark.skipif(shutil.which("tpm2_eventlog") is None, reason="needs tpm2-tools")
def test_tpm2_tools_understand_it(tmp_path: Path) -> None:
    log = example()
    (tmp_path / "log").write_bytes(log.data)
    done = subprocess.run(
        ["tpm2_eventlog", str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    values = replay(parse(log.data).events, SHA256)
    assert "EV_S_CRTM_VERSION" in done.stdout
    assert f"4  : 0x{values[4].hex()}" in done.stdout
