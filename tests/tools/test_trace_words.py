"""The kernel's events in words and for viewers."""

from __future__ import annotations

import json
from pathlib import Path

from kernel.abi import CALLS, TraceEvent
from tools import cli
from tools.trace.words import row, rows_in_words, slices

CALL = next(spec.number for spec in CALLS if spec.name == "call")
EVENTS = [
    [1, 1000, TraceEvent.CALL, 7, CALL, 3],
    [2, 2000, TraceEvent.MESSAGE, 7, 9, 4],
    [3, 3000, TraceEvent.RETURN, 7, 6, 0],
    [4, 4000, TraceEvent.RETURN, 9, 0, 0],
]
NAMES = {7: "client", 9: "server"}


def test_rows_are_in_words() -> None:
    assert row(EVENTS[0], NAMES) == [1, "0.000001", "call", "client", "call(3, ...)"]
    assert row(EVENTS[1], NAMES)[4] == "to server, label 4"
    assert row(EVENTS[2], NAMES)[4] == "server_died"


def test_rows_are_lines() -> None:
    assert rows_in_words(EVENTS[2:], NAMES) == [
        "3  0.000003  return  client  server_died",
        "4  0.000004  return  server  ok",
    ]


def test_a_call_is_a_slice_and_an_answer_without_its_call_is_left_out() -> None:
    phases = [entry["ph"] for entry in slices(EVENTS, NAMES)]
    assert phases == ["M", "M", "B", "i", "E"]


def test_a_simulated_run_is_exported(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    assert cli.main(["trace", "--machine", "sim", "--perfetto", str(file)]) == 0
    events = json.loads(file.read_text())["traceEvents"]
    begun = sum(entry["ph"] == "B" for entry in events)
    ended = sum(entry["ph"] == "E" for entry in events)
    assert begun >= ended > 10


def test_two_runs_with_one_seed_are_the_same(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two", "other")]
    for file, seed in zip(files, ("5", "5", "6"), strict=True):
        arguments = ["trace", "--machine", "sim", "--seed", seed, "-c", "run 300"]
        assert cli.main([*arguments, "--perfetto", str(file)]) == 0
    texts = [file.read_text() for file in files]
    assert texts[0] == texts[1] != texts[2]
