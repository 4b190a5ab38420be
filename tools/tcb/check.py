"""``cloister tcb check``: trusted code bases against budgets that were agreed on.

A budget says who may be trusted, and how much of our own code they ran when it was agreed on.
Growth beyond its allowance, or a new member, is an error that says through whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tools.errors import UserError
from tools.tcb.code import measure
from tools.tcb.code.loaded import Layer
from tools.tcb.code.measure import Code
from tools.tcb.graph.closure import closure
from tools.tcb.graph.model import Graph, Kind, Property
from tools.tcb.report import process_code
from tools.tcb.systems import source

FILE: Final = Path(__file__).with_name("budgets.toml")
_HEAD: Final = """\
# Who may be trusted for what, and the own source lines of each when this was agreed on.
# `cloister tcb check` fails where a trusted code base has a new member, or has grown by more than
# `allowed` lines.  `cloister tcb check --update` agrees on what there is.
"""


class Budget(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What was agreed on for one subject and property."""

    system: str
    subject: str
    property: Property
    allowed: int
    """Lines of growth that need no new agreement."""
    lines: int = 0
    """Own source lines of all members, counted once."""
    members: dict[str, int] = {}
    """Own source lines of each."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    budget: list[Budget]


@dataclass(frozen=True)
class Found:
    """A trusted code base as it is."""

    budget: Budget
    lines: int
    members: Mapping[str, int]
    reasons: Mapping[str, str]

    @property
    def who(self) -> str:
        return f"{self.budget.system}, {self.budget.subject}, {self.budget.property}"

    @property
    def growth(self) -> int:
        return self.lines - self.budget.lines

    def complaints(self) -> Iterator[str]:
        """What is over the budget, a sentence each."""
        for name in self.members:
            if name not in self.budget.members:
                yield f"{self.who}: {name} is newly trusted: {self.reasons[name]}"
        if self.growth > self.budget.allowed:
            yield (
                f"{self.who}: {self.lines:,} own source lines, {self.growth:,} more than agreed "
                f"and {self.growth - self.budget.allowed:,} over the budget: {self._grown()}"
            )

    def _grown(self) -> str:
        grown = {n: lines - self.budget.members.get(n, 0) for n, lines in self.members.items()}
        listed = sorted((-more, name) for name, more in grown.items() if more > 0)
        return ", ".join(f"{name} +{-more:,}" for more, name in listed) or "what they share"


def parse(text: str, where: str) -> list[Budget]:
    """The budgets of a file; raises ``UserError`` for one that is wrong."""
    try:
        return msgspec.toml.decode(text, type=_File).budget
    except msgspec.DecodeError as error:
        raise UserError(f"{where} has no budgets: {error}") from None


def read(path: Path) -> list[Budget]:
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def measured(budgets: Iterable[Budget]) -> list[Found]:
    """The trusted code bases that budgets are for; raises ``UserError`` for unknown subjects."""
    graphs: dict[str, Graph] = {}
    return [_measured(budget, graphs) for budget in budgets]


def _measured(budget: Budget, graphs: dict[str, Graph]) -> Found:
    graph = graphs.get(budget.system)
    if graph is None:
        graph = graphs[budget.system] = source.load(budget.system)
    found = closure(graph, graph.subject(budget.subject), budget.property)
    members = [name for name in found.members() if graph.kind(name) is not Kind.ASSET]
    code = process_code(graph, members)
    reasons = {n: "; ".join(step.why for step in found.path(n)) for n in members}
    total = measure.together(code.values())
    return Found(budget, _own(total), {n: _own(code[n]) for n in members}, reasons)


def _own(code: Code) -> int:
    return code.lines()[Layer.OWN]


def write(found: Iterable[Found], path: Path) -> None:
    """Agree on what there is."""
    parts = [_HEAD]
    for each in found:
        budget = each.budget
        parts.append(
            f'\n[[budget]]\nsystem = "{budget.system}"\nsubject = "{budget.subject}"\n'
            f'property = "{budget.property}"\nallowed = {budget.allowed}\nlines = {each.lines}\n'
            "[budget.members]\n"
        )
        parts += [f'"{name}" = {lines}\n' for name, lines in each.members.items()]
    path.write_text("".join(parts), encoding="utf-8")
