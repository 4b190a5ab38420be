"""A small load, on both machines."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tools import cli
from tools.bench import load
from tools.bench.load import Held, Load, leaks, measure
from tools.errors import UserError

Captured = pytest.CaptureFixture[str]
DONE = ("calls", "over links", "with capabilities", "frames shared", "frames taken back")
ALSO = ("streams", "packets", "threads")


@pytest.mark.skipif(sys.platform != "linux", reason="the host machine needs Linux")
def test_nothing_is_lost_and_nothing_left_over(capsys: Captured) -> None:
    arguments = "--processes 20 --calls 20000 --seconds 60 --kills 4 --json"
    status = cli.main(["bench", "load", *arguments.split()])
    said = capsys.readouterr()
    if any(why in said.err for why in ("--allow-weak-isolation", "kernel.pid_max")):
        pytest.skip(said.err)
    assert said.out, said.err
    numbers = json.loads(said.out)
    assert numbers["problems"] == []
    assert status == 0
    assert numbers["counts"]["calls"] >= 20_000
    assert all(numbers["counts"][what] > 10 for what in (*DONE, *ALSO)), numbers
    assert all(numbers["kills"][how] for how in ("by the host", "by the kernel")), numbers


def test_on_the_simulator() -> None:
    numbers = measure(Load(processes=9, calls=1200, kills=4.0), machine="sim")
    assert numbers["problems"] == []
    assert all(numbers["counts"][what] > 0 for what in (*DONE, *ALSO)), numbers
    assert set(numbers["kills"]) <= {"by the kernel"}


def held(**changes: Any) -> Held:
    base = Held({"a": (1000, 5, 0, 1), "b": (2000, 6, 1, 2)}, {"Frame": 1}, 2, 4, 30, 1 << 20)
    return base._replace(**changes)


def test_what_is_left_over_is_said() -> None:
    assert leaks(held(), held()) == []
    spaces = {"a": (2024, 6, 0, 1), "c": (0, 0, 0, 1)}
    found = leaks(held(), held(spaces=spaces, kinds={"Frame": 3, "Reply": 1}, descriptors=33))
    assert found == [
        "a has +1024 bytes",
        "a has +1 capabilities",
        "the process b is gone",
        "the process c is new",
        "+2 capabilities to objects of kind Frame",
        "+1 capabilities to objects of kind Reply",
        "+3 descriptors of the kernel's process",
    ]


def test_a_problem_is_shown_and_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    numbers = {
        "processes": 4,
        "seconds": 1.5,
        "counts": {"calls": 7},
        "kills": {"by the host": 2},
        "held": {"before": {"bytes": 4096}, "half way": {}, "after": {"bytes": 8192}},
        "problems": ["a has +4096 bytes"],
    }
    monkeypatch.setattr(load, "measure", lambda *_: numbers)
    assert cli.main(["bench", "load"]) == 1
    said = capsys.readouterr().out
    assert "wrong: a has +4096 bytes" in said
    assert "nothing is left over" not in said
    numbers["problems"] = []
    assert cli.main(["bench", "load"]) == 0
    assert "nothing was lost, nothing is left over" in capsys.readouterr().out


@pytest.mark.parametrize("processes", [3, 257])
def test_how_many_processes_there_can_be(processes: int) -> None:
    with pytest.raises(UserError, match=f"4 to 256 processes, not {processes}"):
        measure(Load(processes=processes))


def test_rates_are_checked(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "load", "--kills", "-1"])
    assert "0 to 1000" in capsys.readouterr().err
