"""The trace of a simulated run, for a trace viewer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import cli

BOTH = str(Path(__file__).parents[2] / "support" / "programs" / "both.toml")
ARGUMENTS = ["trace", BOTH, "--machine", "sim", "-c", "run; kill counter; run"]


@pytest.fixture(name="events")
def _events(tmp_path: Path) -> list[dict[str, object]]:
    file = tmp_path / "trace.json"
    assert cli.main([*ARGUMENTS, "--perfetto", str(file)]) == 0
    events: list[dict[str, object]] = json.loads(file.read_text())["traceEvents"]
    return events


def test_spaces_are_processes_and_threads_their_tracks(events: list[dict[str, object]]) -> None:
    names = {
        (event["name"], event["args"]["name"])  # type: ignore[index]
        for event in events
        if event["ph"] == "M"
    }
    assert {
        ("process_name", "counter"),
        ("thread_name", "counter"),
        ("thread_name", "init"),
    } <= names


def test_messages_are_arrows_between_slices(events: list[dict[str, object]]) -> None:
    starts = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    assert starts.keys() == ends.keys()
    assert starts
    assert all(starts[number]["tid"] != ends[number]["tid"] for number in starts)


def test_calls_begin_before_they_end(events: list[dict[str, object]]) -> None:
    inside: set[object] = set()
    for event in events:
        if event["ph"] == "B":
            assert event["tid"] not in inside
            inside.add(event["tid"])
        elif event["ph"] == "E":
            inside.remove(event["tid"])


def test_words_name_what_a_capability_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*ARGUMENTS, "--count", "1000"]) == 0
    shown = capsys.readouterr().out
    assert "reply_recv(0, ...)" in shown
    assert "counter: killed" in shown or "killed" in shown
    assert "signal" in shown or "message" in shown


def test_a_file_that_cannot_be_written_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*ARGUMENTS, "--perfetto", "/no/such/file"]) == 1
    assert "cannot write /no/such/file" in capsys.readouterr().err
