"""What the person types: words, completion, and Control-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from tools.errors import UserError
from tools.shell.prompt import CommandCompleter
from tools.shell.session import Session
from tools.shell.shield import Shield
from tools.shell.words import commands
from tools.system import load

BOTH = Path(__file__).parents[2] / "support" / "programs" / "both.toml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ; ;", []),
        ("ps; log 3", [["ps"], ["log", "3"]]),
        ("# ps; log", [[" log"[1:]]]),
        ("vm type demo 'a; b' \"c;d\" e\\;f", [["vm", "type", "demo", "a; b", "c;d", "e;f"]]),
        ('kill ""', [["kill", ""]]),
    ],
)
def test_lines_are_divided_at_semicolons(text: str, words: list[list[str]]) -> None:
    assert commands(text) == words


def test_a_quote_that_stays_open_is_an_error() -> None:
    with pytest.raises(UserError, match="no closing quotation"):
        commands("vm type demo 'a; ps")


@pytest.fixture(name="session")
def _session() -> Iterator[Session]:
    session = Session(load(str(BOTH)), "sim", 0, False, False)
    yield session
    session.close()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kil", ["kill"]),
        ("kill c", ["counter"]),
        ("ps; kill w", ["worker"]),
        ("vm st", ["start", "stop", "status"]),
        ("vm start ", []),
        ("break reply_", ["reply_recv"]),
        ("break init reply_", ["reply_recv"]),
        ("log v", ["verify"]),
        ("ps x", []),
    ],
)
def test_completion(session: Session, typed: str, offered: list[str]) -> None:
    found = CommandCompleter(session).get_completions(Document(typed), CompleteEvent())
    assert [completion.text for completion in found] == offered


def test_control_c_waits_for_the_answer_and_the_second_does_not() -> None:
    shield = Shield()
    shield.install()
    reached = []

    def call(times: int) -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        reached.append(times)

    try:
        with pytest.raises(KeyboardInterrupt):
            shield.guard(call)(1)
        assert reached == [1]
        assert not shield.broken
        with pytest.raises(KeyboardInterrupt):
            shield.guard(call)(2)
        assert reached == [1]
        assert shield.broken
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        shield.remove()
