"""What attackers have a part in is shown to a person as it is, and as theirs."""

from __future__ import annotations

import pytest

from tests.hostile import attacks as _attacks
from tests.hostile.attacks.threads import FORGED
from tests.hostile.registry import BORN
from tests.hostile.rig import Range
from tools.render import table

assert _attacks


def test_reason_of_an_end_cannot_forge_a_line(
    arena: Range, capsys: pytest.CaptureFixture[str]
) -> None:
    said = arena.attack("forge-a-line-of-the-log", BORN)
    record = arena.entry(BORN, said)
    assert record is not None and record.detail == f"{BORN}: {FORGED}"
    capsys.readouterr()
    table(("what", "detail"), [[record.event, record.detail], ["end", "other"]])
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 3
    assert all(line.isprintable() for line in shown.splitlines())


def test_ends_of_many_are_told_apart(arena: Range) -> None:
    """Each end of the same program is logged once, in its order, with its own reason."""
    first = arena.log.count()
    wanted = ["leave-without-a-word", "ask-twice", "trace-victim", "close-notices"]
    said = [arena.attack(name, BORN) for name in wanted]
    assert arena.entry(BORN, said[-1]) is not None
    ends = [r.detail for r in arena.log.read(first + 1, 100) if r.event == "end"]
    assert ends == [f"{BORN}: {text}" for text in said]
    assert arena.log.verify() == 0


def test_processes_that_come_and_go_leave_others_alone(arena: Range) -> None:
    """Numbers of processes that are used again never lead a signal astray."""
    before = arena.calm()
    for _ in range(8):
        arena.brief("leave-without-a-word")
        arena.control.start(BORN)
        arena.control.kill(BORN)
        arena.control.wait(BORN)
    assert not arena.settle(before)
    arena.still = before
