"""Trusted code bases as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tools import render
from tools.tcb.check import Found
from tools.tcb.code import measure
from tools.tcb.code.loaded import Layer
from tools.tcb.code.measure import Code
from tools.tcb.compare import Column
from tools.tcb.count import Tree
from tools.tcb.graph.closure import Closure
from tools.tcb.graph.model import Kind, Property
from tools.tcb.report import Member, Report
from tools.tcb.whatif import Change

_COLUMNS: Final[Mapping[str, str]] = {
    Layer.THIRD_PARTY: "3rd party",
    Layer.STANDARD_LIBRARY: "library",
    measure.NATIVE: "native KiB",
    measure.GUEST: "guests",
    measure.OTHER: "lines",
}
"""Layer -> its column, where that says more or takes less room."""
_PLATFORM: Final = (measure.INTERPRETER, measure.HOST_KERNEL, measure.FIRMWARE)
"""Below every process, so that one row of a table does not differ in it from another."""


def report(found: Report) -> None:
    """Who is trusted with what, and how much code that is."""
    members: dict[str, Member] = {}
    for base in found.bases.values():
        for name, member in base.members.items():
            members.setdefault(name, member)
    code = [base.total for base in found.bases.values()]
    layers = _layers(code)
    rows = [
        [
            name,
            "".join(p[0].upper() if name in found.bases[p].members else "." for p in Property),
            *_amounts(member.code, layers),
            member.path[0] if member.path else "it is what this is about",
        ]
        for name, member in members.items()
        if member.kind is not Kind.ASSET
    ]
    render.table(("member", "trusted", *_columns(layers), "because"), rows)
    assets = [name for name, member in members.items() if member.kind is Kind.ASSET]
    if assets:
        print(f"\nand what is kept in: {', '.join(assets)}")
    print(f"\n{found.subject} in {found.system} trusts, what several members run counted once:\n")
    totals = [
        [str(p), base.trusted, *_amounts(base.total, layers)] for p, base in found.bases.items()
    ]
    render.table(("for its", "members", *_columns(layers)), totals)
    print()
    for line in _platform(code):
        print(line)


def _layers(codes: Iterable[Code]) -> list[str]:
    """The layers that differ from process to process, as far as there is anything in them."""
    everything = measure.together(codes)
    return [name for name in measure.LAYERS if name not in _PLATFORM and everything.parts[name]]


def _columns(layers: Sequence[str]) -> list[str]:
    return [_COLUMNS.get(name, name) for name in layers]


def _amounts(code: Code, layers: Sequence[str]) -> list[object]:
    """A row's numbers: lines, of machine code KiB, of guests how many."""
    lines, text = code.lines(), code.text_bytes()
    return [
        text[name] // 1024
        if name == measure.NATIVE
        else len(code.parts[name])
        if name == measure.GUEST
        else lines[name]
        for name in layers
    ]


def _platform(codes: Iterable[Code]) -> list[str]:
    everything = measure.together(codes)
    lines = everything.lines()
    said = [
        f"{part.name} ({lines[name]:,} lines)" if lines[name] else part.name
        for name in _PLATFORM
        for part in everything.parts[name]
    ]
    return [f"and below all of it: {', '.join(said)}"] if said else []


def why(subject: str, member: str, found: Mapping[Property, Closure], system: str) -> None:
    """The chain of capabilities that makes somebody trusted, in each property."""
    if not found:
        print(f"{subject} does not have to trust {member} in {system}.")
        return
    by_path: dict[tuple[str, ...], list[str]] = {}
    for wanted, each in found.items():
        path = tuple(step.why for step in each.path(each.graph.in_process(member)))
        by_path.setdefault(path, []).append(str(wanted))
    for path, wanted_ones in by_path.items():
        *first, last = wanted_ones
        listed = f"{', '.join(first)} and {last}" if first else last
        print(f"{subject} trusts {member} for its {listed}:")
        for step in path or ("it is the same process",):
            print(f"  {step}")


def changes(subject: str, found: Mapping[Property, Change], before: Report, after: Report) -> None:
    """What edits come to: who leaves and joins, and the lines before and after."""
    for wanted, change in found.items():
        words = [f"no longer {', '.join(change.gone)}"] if change.gone else []
        words += [f"newly {', '.join(change.come)}"] if change.come else []
        print(f"{subject}, {wanted}: {'; '.join(words) or 'the same members'}")
    print()
    layers = _layers(base.total for each in (before, after) for base in each.bases.values())
    rows = [
        [
            str(wanted),
            when,
            each.bases[wanted].trusted,
            *_amounts(each.bases[wanted].total, layers),
        ]
        for wanted in Property
        for when, each in (("before", before), ("after", after))
    ]
    render.table(("for its", "", "members", *_columns(layers)), rows)


def comparison(columns: Sequence[Column]) -> None:
    """Systems and figures, one row for each and property; one row where all three are alike."""
    layers = [*_layers(code for each in columns for code in each.code.values())]
    rows = []
    for column in columns:
        alike: dict[tuple[object, ...], list[str]] = {}
        for wanted, code in column.code.items():
            known = column.members.get(wanted, "-")
            row = (known, *_amounts(code, layers), *_below(code))
            alike.setdefault(row, []).append(wanted[0].upper())
        rows += [[column.name, "".join(wanted), *row] for row, wanted in alike.items()]
    below = [f"{name} below" for name in _PLATFORM[:2]]
    render.table(("system", "for", "members", *_columns(layers), *below), rows)
    for column in columns:
        if column.note:
            print(f"\n{column.note}", end="")
    print("\nI integrity, C confidentiality, A availability; source lines, and KiB of native code")


def budgets(found: Sequence[Found]) -> None:
    """Each trusted code base beside what was agreed on."""
    rows = [
        [
            *(each.budget.system, each.budget.subject, str(each.budget.property)),
            *(len(each.members), each.lines, each.budget.lines + each.budget.allowed),
            "over" if any(each.complaints()) else "ok",
        ]
        for each in found
    ]
    render.table(("system", "for", "in", "members", "own lines", "at most", ""), rows)


def _below(code: Code) -> list[object]:
    lines = code.lines()
    return [lines[name] or "-" for name in _PLATFORM[:2]]


def tree(found: Tree) -> None:
    """A tree's languages as a table."""
    part = found.configured
    rows = [
        (
            language,
            size["files"],
            size["source_lines"],
            part.lines.get(language, 0) if part else "-",
        )
        for language, size in found.raw.json()["languages"].items()
    ]
    total = ("all", sum(found.raw.files.values()), found.raw.source_lines)
    rows.append((*total, part.source_lines if part else "-"))
    shown = 4 if part else 3
    columns = ("language", "files", "source lines", "configured")
    render.table(columns[:shown], [row[:shown] for row in rows])
    if found.skipped:
        left_out = ", ".join(f"{count} {reason}" for reason, count in found.skipped.items())
        print(f"\nnot counted: {left_out}")
