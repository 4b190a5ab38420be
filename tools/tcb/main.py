"""``cloister tcb``: say how much code a process or guest has to trust, and why."""

from __future__ import annotations

import argparse
import json

from tools import render
from tools import system as systems
from tools.arguments import add_system
from tools.tcb.report import report


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", metavar="report", required=True)
    command = commands.add_parser("report", help="the trusted code base of one process or guest")
    add_system(command)
    command.add_argument(
        "--for", dest="name", required=True, metavar="NAME", help="a process or guest"
    )
    command.add_argument("--json", action="store_true", help="print a JSON object")


def print_report(source: systems.Source, name: str) -> None:
    """The report as a table, with what it leaves out named below."""
    found = report(source, name)
    rows = [
        (
            *(member.name, member.lines, member.because),
            ", ".join(member.devices) or "-",
            ", ".join(sorted(member.code.packages)) or "-",
        )
        for member in found.members
    ]
    render.table(("member", "lines", "because", "devices", "packages"), rows)
    print()
    print(f"{name} trusts {found.lines} source lines; what several members load counts once.")
    print(f"Not counted: the packages ({', '.join(found.packages)}),")
    print(f"and the platform below all of it ({', '.join(found.platform)}).")


def run(args: argparse.Namespace) -> int:
    source = systems.load(args.system)
    if args.json:
        print(json.dumps(report(source, args.name).json(), indent=2))
    else:
        print_report(source, args.name)
    return 0
