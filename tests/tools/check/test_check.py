"""``cloister check`` at the command line."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tools import cli
from tools.check import walks
from tools.check.configurations import CONFIGURATIONS, GENERATED
from tools.check.counterexample import NAMED, parse
from tools.check.invariants import LAWS
from tools.check.mutants import applied

Captured = pytest.CaptureFixture[str]
SMALL = ["check", "--only", "labels-part", "--no-mutants"]


def only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Leave one mutant."""
    for other in [other for other in NAMED if other != name]:
        monkeypatch.delitem(NAMED, other)


def test_it_prints_what_it_saw(capsys: Captured) -> None:
    assert cli.main(SMALL) == 0
    shown = capsys.readouterr().out
    head, row = shown.splitlines()[:2]
    columns = ["configuration", "threads", "calls", "states", "transitions", "cpu", "verdict"]
    assert head.split() == columns
    name, threads, calls, states, *_, verdict = row.split()
    assert (name, threads, calls, verdict) == ("labels-part", "3", "11", "holds")
    assert f"1 configurations, {states} distinct states, {len(LAWS)} invariants" in shown
    assert cli.main([*SMALL, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["states"] == int(states) and numbers["configurations"][0]["complete"]


def test_processes_share_the_work(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in CONFIGURATIONS if name not in (*GENERATED, "labels-part")]:
        monkeypatch.delitem(CONFIGURATIONS, name)  # a few are enough here
    everything = ["check", "--depth", "2", "--no-mutants", "--json", "--jobs"]
    found = []
    for jobs in "12":
        assert cli.main([*everything, jobs]) == 0
        numbers = json.loads(capsys.readouterr().out)
        found.append([(one["name"], one["states"]) for one in numbers["configurations"]])
    assert found[0] == found[1]
    assert [name for name, _ in found[0]] == list(CONFIGURATIONS)


def test_a_list_of_what_there_is(capsys: Captured) -> None:
    assert cli.main(["check", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*CONFIGURATIONS, *LAWS, *NAMED))
    assert all(mutant.__doc__ for mutant in NAMED.values())


def test_mutants_alone(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "rights-grow")
    assert cli.main(["check", "--mutants"]) == 0
    shown = capsys.readouterr().out
    assert "distinct states" not in shown and "1 of 1 mutants found out" in shown


def test_a_mutant_that_is_not_found_out_is_a_failure(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "rights-grow")
    monkeypatch.setitem(NAMED, "rights-grow", lambda _: None)
    monkeypatch.setattr("tools.check.main._TRIES", (20,))
    assert cli.main(["check", "--mutants"]) == 1
    shown = capsys.readouterr()
    assert "mutant rights-grow: NOT FOUND OUT" in shown.out
    assert shown.err == "cloister: the search did not find the mutant rights-grow out\n"


def test_the_command_that_is_printed_repeats_it(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "reply-is-not-used-up")
    assert cli.main(["check", "--mutants"]) == 0
    shown = capsys.readouterr().out
    command = next(line for line in shown.splitlines() if "--replay" in line)
    script = re.findall(r"^  (\d+  .*)$", shown, re.MULTILINE)
    assert script and all(re.match(r"\d+  \w+: \w", line) for line in script)
    assert any(" -> " in line for line in script)
    assert cli.main(shlex.split(command)[1:]) == 1
    again = capsys.readouterr().out
    assert again.splitlines()[: len(script)] == script
    assert "breaks replies: " in shown and "breaks replies: " in again


def test_a_counterexample_is_saved_and_repeated(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "reply-is-not-used-up")
    assert cli.main(["check", "--mutants", "--save", str(tmp_path / "found")]) == 0
    path = tmp_path / "found" / "reply-is-not-used-up.json"
    assert cli.main(["check", "--replay", str(path)]) == 1
    saved = json.loads(path.read_text())
    shown = capsys.readouterr().out
    assert saved["law"] == "replies" and all(line in shown for line in saved["script"])
    sound = saved["replay"].replace("/reply-is-not-used-up", "")
    path.write_text(json.dumps({"replay": sound}))
    assert cli.main(["check", "--replay", str(path)]) == 0
    assert "all laws hold" in capsys.readouterr().out
    assert parse(sound).text() == sound


def test_a_broken_kernel_is_a_failure(capsys: Captured) -> None:
    with applied(NAMED["link-is-not-cut"]):
        assert cli.main(SMALL) == 1
    shown = capsys.readouterr()
    assert "labels-part breaks a law" in shown.out and "BREAKS links" in shown.out
    assert shown.err == "cloister: the kernel breaks a law in labels-part\n"


def test_what_cannot_be_taken_is_told(capsys: Captured) -> None:
    assert cli.main(["check", "--replay", "labels-part: server time ended.0"]) == 1
    assert "step 3 cannot be taken" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", '{"replay": 3}', '{"replay": "x: time"}', "[]"])
def test_what_is_no_counterexample_is_one_sentence(
    text: str, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "f.json"
    path.write_text(text)
    assert cli.main(["check", "--replay", str(path)]) == 1
    assert "is no counterexample" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--replay", "/none"], "cannot read /none"),
        (["--replay", "labels-part: nobody"], "is no counterexample"),
        (["--replay", "labels-part/nothing: time"], "is no counterexample"),
        (["--only", "nothing"], "there is no configuration 'nothing'"),
        (["--walk", "messages:x"], "is no step of a walk"),
        (["--walk", "dances"], "is no step of a walk"),
        ([*SMALL[1:], "--save", "/dev/null/f"], "cannot write to /dev/null/f"),
    ],
)
def test_bad_use_is_one_sentence(arguments: list[str], said: str, capsys: Captured) -> None:
    assert cli.main(["check", *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


# Walks


def test_walks_are_repeated_by_their_seed(capsys: Captured) -> None:
    assert cli.main(["check", "--seed", "7", "--steps", "50"]) == 0
    assert "50 steps of the walk with seed 7: all laws hold" in capsys.readouterr().out
    with applied(NAMED["revoke-skips-a-child"]):
        assert cli.main(["check", "--seed", "7"]) == 1
        first = capsys.readouterr().out
        assert cli.main(["check", "--seed", "7"]) == 1
        assert capsys.readouterr().out == first
    assert re.match(r"step \d+ of the walk with seed 7: \w+: ", first)


def test_a_walk_that_fails_names_the_command_that_repeats_it(capsys: Captured) -> None:
    def notes(mutant: str) -> list[str]:
        with applied(NAMED[mutant]), pytest.raises(AssertionError) as raised:
            walk = walks.Numbered()
            walk.take("family", [1, 2, 3])
            for number in range(2000):
                kind = ("machine", *walks.ACTS)[number % 7]
                if kind == "machine" or walk.free():
                    walk.take(kind, [number * 7919 % 1000 for _ in range(number % 12)])
        return raised.value.__notes__

    (command,) = notes("reply-is-not-used-up")
    assert command.startswith("./cloister check --walk ")
    repeat = shlex.split(command)[1:]
    with applied(NAMED["reply-is-not-used-up"]):
        assert cli.main(repeat) == 1
    assert ": replies: " in capsys.readouterr().out
    assert cli.main(repeat) == 0
    assert "all laws hold" in capsys.readouterr().out


def test_a_seeded_walk_that_fails_names_its_command() -> None:
    with applied(NAMED["rights-grow"]), pytest.raises(AssertionError) as raised:
        list(walks.seeded(7, 400))
    assert raised.value.__notes__ == ["./cloister check --seed 7 --steps 400"]
