"""``cloister shell``: boot a system and talk to it at a prompt, or run commands without one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="repeat a simulated run that `save` wrote"
    )
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


def _saved(args: argparse.Namespace, source: systems.Source) -> dict[str, Any] | None:
    """The run to repeat, if there is one."""
    if args.replay is None:
        return None
    if args.machine != "sim":
        raise UserError("runs are repeated on the simulator alone: add --machine sim")
    try:
        found = json.loads(args.replay.read_text(encoding="utf-8"))
        name, args.seed = found["system"], int(found["seed"])
    except OSError as error:
        raise UserError(f"cannot read {args.replay}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{args.replay} is no run that `save` wrote") from None
    if name != source.description.name:
        raise UserError(f"{args.replay} is a run of the system {name!r}: name that one")
    return dict(found)


def _placed(name: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        yield f"{name}, line {number}: ", line.rstrip("\n")


def run(args: argparse.Namespace) -> int:
    source = systems.load(args.system)
    saved = _saved(args, source)
    given = _given(args)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    session = Session(source, args.machine, args.seed, args.allow_weak_isolation, terminal)
    try:
        if saved is not None:
            session.repeat(saved)
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
