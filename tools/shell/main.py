"""``cloister shell``: boot a system and talk to it at a prompt, or run commands without one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools import system as systems
from tools.errors import UserError
from tools.shell.commands import execute
from tools.shell.session import Session


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "system",
        nargs="?",
        default="default",
        help="a system description: a .toml file or a name in images/systems (default: default)",
    )
    parser.add_argument(
        "--machine",
        choices=("host", "sim"),
        default="host",
        help="real processes, or the deterministic simulator (default: host)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the simulator's seed (default: 0)")
    parser.add_argument("-c", dest="commands", metavar="COMMANDS", help="run these, divided by ;")
    parser.add_argument("--script", type=Path, metavar="FILE", help="run the commands in a file")
    parser.add_argument(
        "--allow-weak-isolation",
        action="store_true",
        help="go on where this host lacks a layer of isolation",
    )


def _given(args: argparse.Namespace) -> Iterable[str] | None:
    """The commands to run without a prompt, or None."""
    if args.commands is not None:
        return [line.strip() for line in args.commands.split(";")]
    if args.script is not None:
        try:
            return args.script.read_text(encoding="utf-8").splitlines()  # type: ignore[no-any-return]
        except OSError as error:
            raise UserError(f"cannot read {args.script}: {error.strerror}") from None
    return None if sys.stdin.isatty() else (line.rstrip("\n") for line in sys.stdin)


def run(args: argparse.Namespace) -> int:
    source = systems.load(args.system)
    given = _given(args)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    session = Session(source, args.machine, args.seed, args.allow_weak_isolation, terminal)
    try:
        if given is not None:
            for line in given:
                execute(session, line)
                if session.ended:
                    break
        else:
            _talk(session)
    finally:
        session.system.close()
    return 0


def _talk(session: Session) -> None:
    """Run what a person types; an error is shown and the prompt comes again."""
    print("This is Cloister. 'help' lists the commands, 'ps' shows what is running.\n")
    for line in _prompt(session):
        try:
            execute(session, line)
        except UserError as error:
            print(error)
        except KeyboardInterrupt:
            print("\ninterrupted in a call: the system ends")
            raise
        if session.ended:
            return


def _prompt(session: Session) -> Iterator[str]:
    from tools.shell.prompt import lines  # takes longer than all else, and scripts do not need it

    return lines(session)
