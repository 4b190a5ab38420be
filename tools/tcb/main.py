"""``cloister tcb``: say who has to be trusted, why, and how much code that is."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from tools.tcb import check, show, whatif
from tools.tcb.compare import compare
from tools.tcb.count import count
from tools.tcb.graph.closure import why
from tools.tcb.graph.model import Graph
from tools.tcb.pictures import bars, network, page, svg
from tools.tcb.report import report
from tools.tcb.systems import source


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(
        dest="what", metavar="|".join(_COMMANDS), required=True, title="commands"
    )
    command = commands.add_parser("report", help="who a subject trusts, and how much code that is")
    _system(command)
    _subject(command)
    _without(command)
    _json(command)
    _picture(command, "--graph", "draw the graph, with who is trusted marked")
    _picture(command, "--bars", "draw how much code is trusted, by layer")
    command.add_argument(
        "--html", type=Path, metavar="FILE", help="write one page with pictures, tables and reasons"
    )
    command = commands.add_parser("why", help="the capabilities that make one trusted by another")
    command.add_argument("subject", metavar="SUBJECT", help="who trusts")
    command.add_argument("member", metavar="MEMBER", help="who is trusted, perhaps")
    command.add_argument("--system", default="default", help=source.HELP)
    _live(command)
    _without(command)
    command = commands.add_parser("what-if", help="what another decomposition would change")
    _system(command)
    _subject(command)
    for edit, (form, meaning) in whatif.HELP.items():
        command.add_argument(
            f"--{edit}",
            dest="edits",
            action="append",
            default=[],
            type=partial(_edit, edit),
            metavar=form,
            help=meaning,
        )
    _json(command)
    command = commands.add_parser("compare", help="systems and published figures, side by side")
    command.add_argument(
        "columns", nargs="+", metavar="SYSTEM@SUBJECT|figure:NAME", help="what to compare"
    )
    _json(command)
    _picture(command, "--bars", "draw it, by layer")
    command = commands.add_parser("check", help="trusted code bases against agreed budgets")
    command.add_argument(
        "--budgets", type=Path, default=check.FILE, metavar="FILE", help="default: Cloister's own"
    )
    command.add_argument("--update", action="store_true", help="agree on what there is")
    command = commands.add_parser("count", help="the source lines of any file or folder")
    command.add_argument("path", type=Path, metavar="PATH", help="what to count")
    command.add_argument(
        "--compile-commands",
        type=Path,
        metavar="FILE",
        help="a compile database: count what it compiles of the tree, as well",
    )
    _json(command)


def _system(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "system", nargs="?", default="default", help=f"{source.HELP} (default: default)"
    )
    _live(parser)


def _live(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--live", action="store_true", help="boot the system, and look at what its processes hold"
    )


def _subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for",
        dest="subject",
        required=True,
        metavar="SUBJECT",
        help="a process, or a guest (vm:NAME), a disk (disk:VM.disk0), a device (device:NAME), "
        "a virtual TPM (tpm:VM)",
    )


def _edit(name: str, text: str) -> tuple[str, str]:
    return name, text


def _without(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without-wrappers",
        action="store_true",
        help="as if nothing were encrypted or authenticated",
    )


def _picture(parser: argparse.ArgumentParser, option: str, meaning: str) -> None:
    form = "FILE.svg|FILE.png"
    parser.add_argument(option, type=Path, metavar=form, help=meaning)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def _print(found: dict[str, Any]) -> None:
    print(json.dumps(found, indent=2))


def _report(args: argparse.Namespace) -> None:
    graph = _graph(args)
    found = report(graph, args.subject, not args.without_wrappers)
    _print(found.json()) if args.json else show.report(found)
    if args.graph:
        svg.save(network.network(graph, args.subject, not args.without_wrappers), args.graph)
    if args.bars:
        codes = {wanted: base.total for wanted, base in found.bases.items()}
        svg.save(bars.bars(bars.rows(args.subject, codes)), args.bars)
    if args.html:
        svg.write(args.html, page.page(graph, found).encode())


def _graph(args: argparse.Namespace) -> Graph:
    if not args.live:
        return source.load(args.system)
    with source.running(args.system) as graph:
        return graph


def _why(args: argparse.Namespace) -> None:
    graph = _graph(args)
    found = why(graph, args.subject, args.member, not args.without_wrappers)
    show.why(args.subject, args.member, found, graph.name)


def _what_if(args: argparse.Namespace) -> None:
    before = _graph(args)
    after = whatif.edited(before, args.edits)
    changed = whatif.changes(before, after, args.subject)
    reports = report(before, args.subject), report(after, args.subject)
    if args.json:
        names = ("before", "after")
        totals = {
            name: {str(p): base.json()["totals"] for p, base in each.bases.items()}
            for name, each in zip(names, reports, strict=True)
        }
        _print(
            {"for": args.subject, "changes": {str(p): c.json() for p, c in changed.items()}}
            | totals
        )
    else:
        show.changes(args.subject, changed, *reports)


def _compare(args: argparse.Namespace) -> None:
    found = compare(args.columns)
    if args.bars:
        rows = [row for each in found for row in bars.rows(each.name, each.code)]
        svg.save(bars.bars(rows), args.bars)
    _print({"columns": [column.json() for column in found]}) if args.json else show.comparison(
        found
    )


def _check(args: argparse.Namespace) -> int:
    found = check.measured(check.read(args.budgets))
    if args.update:
        check.write(found, args.budgets)
        return 0
    show.budgets(found)
    complaints = [text for each in found for text in each.complaints()]
    for text in complaints:
        print(text, file=sys.stderr)
    return 1 if complaints else 0


def _count(args: argparse.Namespace) -> None:
    tree = count(args.path, args.compile_commands)
    _print(tree.json()) if args.json else show.tree(tree)


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int | None]]] = {
    "report": _report,
    "why": _why,
    "what-if": _what_if,
    "compare": _compare,
    "check": _check,
    "count": _count,
}


def run(args: argparse.Namespace) -> int:
    return _COMMANDS[args.what](args) or 0
