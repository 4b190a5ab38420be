"""The explorer: all orders of small worlds, and broken kernels that it must find out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import cli
from tools.check.canonical import digest
from tools.check.configurations import CONFIGURATIONS, GENERATED
from tools.check.explore import explore, replayed, told
from tools.check.invariants import LAWS
from tools.check.main import hunt
from tools.check.model import World
from tools.check.mutants import MUTANTS, Mutant, applied

Captured = pytest.CaptureFixture[str]

LEAST = {
    "call-and-reply-with-capabilities": 700,
    "revoke-while-it-is-passed-on": 500,
    "two-clients-and-a-deaf-server": 1_400,
    "suspended-in-the-middle": 700,
    "signals-heard-in-three-ways": 3_000,
    "labels-part": 400,
    "everything-ends": 3_700,
    "frames-mapped-and-unmapped": 2_400,
    "quotas-run-out": 600,
    "busy-with-themselves": 40,
    **dict.fromkeys(GENERATED, 22_500),
}
"""Distinct states that each configuration has, or that are looked at here."""


def test_more_than_a_hundred_thousand_states_are_looked_at() -> None:
    assert set(LEAST) == set(CONFIGURATIONS)
    assert sum(LEAST.values()) > 100_000


@pytest.mark.parametrize("name", LEAST)
def test_no_law_is_broken(name: str) -> None:
    one = CONFIGURATIONS[name]
    most = LEAST[name] if name in GENERATED else None
    found = explore(one.build, None, most)
    assert found.violation is None, "\n".join(
        [found.violation.law, *told(one.build, found.violation.path)]
    )
    assert found.states >= LEAST[name]
    assert found.complete == (name not in GENERATED)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_mutant_is_found_out(mutant: Mutant) -> None:
    result = hunt(mutant)
    assert result is not None and result.found.violation is not None
    path = result.found.violation.path
    with applied(mutant):
        assert replayed(result.configuration.build, path) == result.found.violation.law
        assert len(told(result.configuration.build, path)) == len(path)
    assert replayed(result.configuration.build, path[:-1]) is None


@pytest.mark.parametrize("name", ["busy-with-themselves", "labels-part", "suspended-in-the-middle"])
def test_reduction_loses_no_end(name: str) -> None:
    build = CONFIGURATIONS[name].build
    reduced, all_orders = explore(build), explore(build, reduce=False)
    assert reduced.ends == all_orders.ends and len(reduced.ends) > 1
    assert reduced.states <= all_orders.states
    assert (reduced.violation, all_orders.violation) == (None, None)


def test_reduction_helps() -> None:
    build = CONFIGURATIONS["busy-with-themselves"].build
    assert explore(build).states * 2 < explore(build, reduce=False).states


def test_depth_ends_it() -> None:
    build = CONFIGURATIONS["any-messages"].build
    shallow, deeper = explore(build, 2), explore(build, 3)
    assert not shallow.complete and not deeper.complete
    assert shallow.states < deeper.states


def test_a_world_is_restored_as_it_was() -> None:
    world = CONFIGURATIONS["labels-part"].build()
    saved = world.save()
    first = world.actions()[0]
    world.perform(first)
    again = World.restore(saved)
    assert again.actions()[0] == first and again.describe(first) != ""
    assert digest(again) == digest(World.restore(saved)) != digest(world)


def test_it_prints_what_it_saw(capsys: Captured) -> None:
    assert cli.main(["check", "--only", "labels-part", "--no-mutants"]) == 0
    shown = capsys.readouterr().out
    assert "labels-part" in shown and f"{len(LAWS)} invariants" in shown
    assert cli.main(["check", "--only", "labels-part", "--no-mutants", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["states"] > 400 and numbers["configurations"][0]["complete"]
    assert cli.main(["check", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*CONFIGURATIONS, *LAWS, "rights-grow"))


def test_a_counterexample_is_saved_and_repeated(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [next(mutant for mutant in MUTANTS if mutant.__name__ == "reply_is_not_used_up")]
    monkeypatch.setattr("tools.check.main._MUTANTS", {"reply-is-not-used-up": found[0]})
    arguments = ["check", "--only", "labels-part", "--save", str(tmp_path)]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "mutant reply-is-not-used-up, found out in" in shown and "  1  server: " in shown
    path = tmp_path / "reply-is-not-used-up.json"
    assert cli.main(["check", "--replay", str(path)]) == 1
    assert "somebody can give it" in capsys.readouterr().out
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, "mutant": ""}))
    assert cli.main(["check", "--replay", str(path)]) == 0
    assert "all laws hold" in capsys.readouterr().out


def test_a_broken_kernel_is_a_failure(capsys: Captured) -> None:
    broken = next(mutant for mutant in MUTANTS if mutant.__name__ == "link_is_not_cut")
    with applied(broken):
        assert cli.main(["check", "--only", "labels-part", "--no-mutants"]) == 1
    shown = capsys.readouterr()
    assert "labels-part breaks a law" in shown.out
    assert shown.err == "cloister: the kernel breaks a law in labels-part\n"


def test_walks_are_repeated_by_their_seed(capsys: Captured) -> None:
    assert cli.main(["check", "--seed", "7", "--steps", "50"]) == 0
    assert "50 steps of the walk with seed 7" in capsys.readouterr().out
    with applied(MUTANTS[0]):
        assert cli.main(["check", "--seed", "1"]) in (0, 1)


@pytest.mark.parametrize("text", ["", "{}", '{"configuration": "x", "path": [], "mutant": ""}'])
def test_what_is_no_counterexample_is_one_sentence(
    text: str, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "f.json"
    path.write_text(text)
    assert cli.main(["check", "--replay", str(path)]) == 1
    assert "is no counterexample" in capsys.readouterr().err
    assert cli.main(["check", "--replay", str(tmp_path / "none")]) == 1
    assert cli.main(["check", "--only", "nothing"]) == 1
    assert "there is no configuration 'nothing'" in capsys.readouterr().err
