"""Budgets: what is kept passes, what grows says through whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import cli
from tools.errors import UserError
from tools.tcb import check

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def budgets(tmp_path: Path) -> Path:
    path = tmp_path / "budgets.toml"
    path.write_text(
        '[[budget]]\nsystem = "default"\nsubject = "entropy"\nproperty = "integrity"\nallowed = 5\n'
    )
    assert cli.main(["tcb", "check", "--update", "--budgets", str(path)]) == 0
    return path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_cloister_keeps_its_budgets(capsys: Captured) -> None:
    status = cli.main(["tcb", "check"])
    captured = capsys.readouterr()
    assert status == 0, f"{captured.err}if this is wanted: cloister tcb check --update"
    assert "vm:linux" in captured.out


def test_what_is_agreed_on_passes(budgets: Path, capsys: Captured) -> None:
    assert cli.main(["tcb", "check", "--budgets", str(budgets)]) == 0
    assert "entropy" in capsys.readouterr().out
    (found,) = check.measured(check.read(budgets))
    assert found.growth == 0
    assert set(found.members) == {"entropy", "kernel", "init", "operator"}


def test_growth_says_by_how_much_and_through_whom(budgets: Path, capsys: Captured) -> None:
    (found,) = check.measured(check.read(budgets))
    init = found.members["init"]
    change(budgets, f"lines = {found.lines}", f"lines = {found.lines - 6}")
    change(budgets, f'"init" = {init}', f'"init" = {init - 6}')
    assert cli.main(["tcb", "check", "--budgets", str(budgets)]) == 1
    said = capsys.readouterr().err
    assert "default, entropy, integrity" in said
    assert "6 more than agreed and 1 over the budget: init +6" in said
    change(budgets, "allowed = 5", "allowed = 6")
    assert cli.main(["tcb", "check", "--budgets", str(budgets)]) == 0


def test_a_new_member_has_a_reason(budgets: Path, capsys: Captured) -> None:
    lines = budgets.read_text().splitlines(keepends=True)
    budgets.write_text("".join(line for line in lines if not line.startswith('"init"')))
    assert cli.main(["tcb", "check", "--budgets", str(budgets)]) == 1
    assert "init is newly trusted: init creates entropy" in capsys.readouterr().err


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x has no budgets: .*`allowed`"):
        check.parse('[[budget]]\nsystem = "a"\nsubject = "b"\nproperty = "integrity"', "x")
    with pytest.raises(UserError, match=r"cannot read .*none"):
        check.read(tmp_path / "none")
