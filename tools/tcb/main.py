"""``cloister tcb``: say how much code a process or guest has to trust, and why."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tools import render
from tools import system as systems
from tools.arguments import add_system
from tools.tcb.count import Tree, count
from tools.tcb.report import report


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", metavar="report|count", required=True)
    command = commands.add_parser("report", help="the trusted code base of one process or guest")
    add_system(command)
    command.add_argument(
        "--for", dest="name", required=True, metavar="NAME", help="a process or guest"
    )
    command.add_argument("--json", action="store_true", help="print a JSON object")
    command = commands.add_parser("count", help="the source lines of any file or folder")
    command.add_argument("path", type=Path, metavar="PATH", help="what to count")
    command.add_argument(
        "--compile-commands",
        type=Path,
        metavar="FILE",
        help="a compile database: count what it compiles of the tree, as well",
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


def print_count(tree: Tree) -> None:
    """A tree's languages as a table."""
    part = tree.configured
    rows = [
        (
            language,
            size["files"],
            size["source_lines"],
            part.lines.get(language, 0) if part else "-",
        )
        for language, size in tree.raw.json()["languages"].items()
    ]
    total = ("all", sum(tree.raw.files.values()), tree.raw.source_lines)
    rows.append((*total, part.source_lines if part else "-"))
    shown = 4 if part else 3
    columns = ("language", "files", "source lines", "configured")
    render.table(columns[:shown], [row[:shown] for row in rows])
    if tree.skipped:
        left_out = ", ".join(f"{count} {reason}" for reason, count in tree.skipped.items())
        print(f"\nnot counted: {left_out}")


def run(args: argparse.Namespace) -> int:
    if args.what == "count":
        tree = count(args.path, args.compile_commands)
        if args.json:
            print(json.dumps(tree.json(), indent=2))
        else:
            print_count(tree)
        return 0
    source = systems.load(args.system)
    if args.json:
        print(json.dumps(report(source, args.name).json(), indent=2))
    else:
        print_report(source, args.name)
    return 0
