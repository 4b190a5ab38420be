"""A simulated run goes back and forth, and is the same run every time."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.abi import DebugOp
from tests.support.programs.counter import Counter
from tests.support.programs.worker import Worker
from tools import cli
from tools.errors import UserError
from tools.shell.commands import execute
from tools.shell.replay import MARK, Timeline
from tools.shell.session import Session
from tools.system import load

BOTH = Path(__file__).parents[2] / "support" / "programs" / "both.toml"


@pytest.fixture(name="session")
def _session() -> Iterator[Session]:
    session = Session(load(str(BOTH)), "sim", 7, False, False)
    yield session
    session.close()


def trace(time: Timeline) -> list[list[int]]:
    return list(time.rows(DebugOp.TRACE))


def test_back_and_forward_gives_the_same_trace(session: Session) -> None:
    time = session.timeline
    session.open(Worker, "worker").work()  # with timeouts: time jumps between steps
    session.system.control.kill("counter")
    time.forward(None)
    whole, steps = trace(time), time.machine.steps
    assert time.back(steps // 2) > 0
    assert time.machine.steps == steps - steps // 2
    half = trace(time)
    assert half == whole[: len(half)] != whole
    time.forward(None)
    assert time.machine.steps == steps
    assert trace(time) == whole


@pytest.mark.parametrize("distance", [1, 2, 3, 5, 8, 13, 1000])
def test_every_step_back_is_a_state_that_was(session: Session, distance: int) -> None:
    time = session.timeline
    seen = {}
    while not session.timeline.run.busy and time.machine.steps < 100:
        seen[time.machine.steps] = (trace(time), time.machine.now, time.ready())
        if not time.forward(1)[0]:
            break
    at = max(0, time.machine.steps - distance)
    time.back(distance)
    assert time.machine.steps == at
    if at in seen:
        assert (trace(time), time.machine.now, time.ready()) == seen[at]


def test_looking_moves_nothing(session: Session) -> None:
    time = session.timeline
    before = (time.run.moves, time.machine.now, trace(time))
    session.names()
    session.processes()
    time.ready()
    assert (time.run.moves, time.machine.now, trace(time)) == before


def test_a_new_request_gives_up_what_was_recorded(session: Session) -> None:
    time = session.timeline
    counter = session.open(Counter, "counter")
    assert counter.add(5) == 5
    made = len(time.history.calls)
    time.back(3)
    session.forget()
    assert len(time.history.calls) == made
    again = session.open(Counter, "counter")
    assert again.add(1) in (1, 6)  # whether the other call was made at that step
    whole = trace(time)
    time.back(10)
    time.forward(10)
    assert trace(time) == whole


def test_going_back_into_a_call_finishes_it_before_the_next(session: Session) -> None:
    time = session.timeline
    session.open(Worker, "worker").work()
    time.back(40)
    assert time.run.busy
    session.forget()
    assert session.open(Counter, "counter").add(0) == 7


def test_a_run_that_does_not_repeat_itself_is_refused(session: Session) -> None:
    time = session.timeline
    session.open(Worker, "worker").work()
    while time.run.moves < 2 * MARK:
        session.system.control.processes()
    time.history.marks[0] = b"another"
    with pytest.raises(UserError, match="did not repeat itself"):
        time.back(1)


def test_seeds_differ_and_repeat() -> None:
    traces = []
    for seed in (*range(6), *range(6)):
        session = Session(load(str(BOTH)), "sim", seed, False, False)
        session.timeline.forward(None)
        traces.append(trace(session.timeline))
        session.close()
    assert traces[:6] == traces[6:]
    assert any(one != traces[0] for one in traces)


def test_a_call_that_nobody_answers_is_an_error(session: Session) -> None:
    endpoint = session.system.calls.endpoint_create()
    with pytest.raises(UserError, match="never answered"):
        session.system.calls.call(endpoint, 0, b"", [], -1)


def test_control_c_comes_between_two_moves(session: Session) -> None:
    time = session.timeline
    session.open(Worker, "worker").work()
    whole = trace(time)
    time.back(100)
    step = time.machine.step

    def interrupted() -> bool:
        time.machine.step = step  # type: ignore[method-assign]
        os.kill(os.getpid(), signal.SIGINT)
        return step()

    time.machine.step = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        time.forward(None)
    time.forward(None)
    assert trace(time) == whole


def test_a_saved_run_is_repeated_bit_for_bit(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session.open(Worker, "worker").work()
    execute(session, "kill counter; step 30; break worker call; run")
    file = tmp_path / "run.json"
    execute(session, f"save {file}")
    whole, now = trace(session.timeline), session.timeline.machine.now
    again = Session(load(str(BOTH)), "sim", 7, False, False)
    try:
        again.repeat(json.loads(file.read_text()))
        assert trace(again.timeline) == whole and again.timeline.machine.now == now
        again.timeline.back(10)
        again.timeline.forward(10)
        assert trace(again.timeline) == whole
    finally:
        again.close()
    capsys.readouterr()
    options = ["shell", str(BOTH), "--machine", "sim", "--replay", str(file)]
    assert cli.main([*options, "-c", "where; trace 3"]) == 0
    shown = capsys.readouterr().out
    assert "the same run, bit for bit" in shown and "seed 7" in shown


def test_a_run_that_differs_is_told(session: Session, tmp_path: Path) -> None:
    session.open(Counter, "counter").add(1)
    saved = session.timeline.saved()
    other = Session(load(str(BOTH)), "sim", 8, False, False)
    try:
        with pytest.raises(UserError, match="did not repeat itself"):
            other.repeat(saved)
    finally:
        other.close()


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("{", ["--machine", "sim"], "is no run that `save` wrote"),
        ('{"system": "both", "seed": 7}', ["--machine", "sim"], "is no run that `save` wrote"),
        ('{"system": "other", "seed": 7}', ["--machine", "sim"], "of the system 'other'"),
        ('{"system": "both", "seed": 7}', [], "add --machine sim"),
    ],
)
def test_what_is_no_run_is_one_sentence(
    text: str,
    options: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    assert cli.main(["shell", str(BOTH), *options, "--replay", str(file), "-c", "ps"]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
