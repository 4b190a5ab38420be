"""``cloister shell``: boot a system and talk to it at a prompt, or run commands without one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools import system as systems
from tools.arguments import add_system, add_weak
from tools.errors import UserError
from tools.shell.commands import execute
from tools.shell.session import Session


def configure(parser: argparse.ArgumentParser) -> None:
    add_system(parser)
    parser.add_argument(
        "--machine",
        choices=("host", "sim"),
        default="host",
        help="real processes, or the deterministic simulator (default: host)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the simulator's seed (default: 0)")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("-c", dest="commands", metavar="COMMANDS", help="run these, divided by ;")
    given.add_argument("--script", type=Path, metavar="FILE", help="run the commands in a file")
    add_weak(parser)


def _given(args: argparse.Namespace) -> Iterable[tuple[str, str]] | None:
    """The lines to run without a prompt, each with the place it is from, or None."""
    if args.commands is not None:
        return [("", args.commands)]
    if args.script is not None:
        try:
            text = args.script.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {args.script}: {error}") from None
        return _placed(str(args.script), text.splitlines())
    return None if sys.stdin.isatty() else _placed("standard input", sys.stdin)


def _placed(name: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        yield f"{name}, line {number}: ", line.rstrip("\n")


def run(args: argparse.Namespace) -> int:
    source = systems.load(args.system)
    given = _given(args)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    session = Session(source, args.machine, args.seed, args.allow_weak_isolation, terminal)
    try:
        if given is None:
            _talk(session)
        else:
            _obey(session, given)
    finally:
        session.close()
    return 0


def _obey(session: Session, given: Iterable[tuple[str, str]]) -> None:
    """Run what is given, to the first failure."""
    for place, line in given:
        try:
            execute(session, line)
        except UserError as error:
            raise UserError(f"{place}{error}", error.status) from None
        sys.stdout.flush()
        if session.ended:
            return


def _talk(session: Session) -> None:
    """Run what a person types; an error is shown and the prompt comes again."""
    from tools.shell.prompt import Prompt  # takes longer than all else, and scripts do without

    name, machine = session.source.description.name, session.machine
    print(f"Cloister: system {name} on the {machine} machine. 'ps' shows it, 'help' the commands.")
    prompt = Prompt(session)
    while not session.ended:
        line = prompt.ask()
        if line is None:
            return
        try:
            execute(session, line)
        except UserError as error:
            print(error)
        except KeyboardInterrupt:
            if session.shield.broken:
                print("\nA call did not come back; the system ends.")
                raise
            print("\ninterrupted")
