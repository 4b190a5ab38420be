"""``cloister trace``: boot a system, run commands in it, and show what the kernel did."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from kernel.abi import DebugOp
from tools import system as systems
from tools.arguments import add_system, positive
from tools.errors import UserError
from tools.render import table
from tools.shell.commands import execute
from tools.shell.session import Session
from tools.trace.perfetto import export
from tools.trace.words import COLUMNS, row


def configure(parser: argparse.ArgumentParser) -> None:
    add_system(parser)
    parser.add_argument("--machine", choices=("host", "sim"), default="host", help="default: host")
    parser.add_argument("--seed", type=int, default=0, help="the simulator's seed (default: 0)")
    parser.add_argument("-c", dest="commands", default="ps", help="commands of the shell to run")
    parser.add_argument(
        "--count", type=positive, default=40, metavar="N", help="events to show (default: 40)"
    )
    parser.add_argument(
        "--perfetto", type=Path, metavar="FILE", help="write all events for a trace viewer instead"
    )


def run(args: argparse.Namespace) -> int:
    session = Session(systems.load(args.system), args.machine, args.seed, False, False)
    try:
        execute(session, args.commands)
        events = session.rows(DebugOp.TRACE)
        names = session.names()
    finally:
        session.close()
    if args.perfetto is None:
        table(COLUMNS, [row(event, names) for event in events[-args.count :]])
        return 0
    try:
        args.perfetto.write_text(json.dumps(export(events, names)))
    except OSError as error:
        raise UserError(f"cannot write {args.perfetto}: {error.strerror}") from None
    print(f"{len(events)} events in {args.perfetto}")
    return 0
