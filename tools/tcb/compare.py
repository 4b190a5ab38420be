"""Systems, decompositions and published figures, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tools.errors import UserError
from tools.tcb import figures, whatif
from tools.tcb.code.measure import Code
from tools.tcb.code.sizes import size
from tools.tcb.graph.model import Property
from tools.tcb.report import amounts, report
from tools.tcb.systems import source

FIGURE: Final = "figure:"


@dataclass(frozen=True)
class Column:
    """One thing that is compared."""

    name: str
    members: dict[Property, int]
    """How many processes and guests are trusted, by property; empty for a figure."""
    code: dict[Property, Code]
    note: str = ""

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "note": self.note,
            **{
                str(wanted): {"members": self.members.get(wanted, 1), **amounts(code)}
                for wanted, code in self.code.items()
            },
        }


def compare(names: Iterable[str]) -> list[Column]:
    """``SYSTEM@SUBJECT`` or ``figure:NAME`` each; raises ``UserError`` for one that is neither.

    A system may be followed by edits: ``default,merge=console+block0@vm:linux``.
    """
    return [_column(name) for name in names]


def _column(name: str) -> Column:
    if name.startswith(FIGURE):
        figure = figures.figure(name.removeprefix(FIGURE))
        note = f"{figure.title}: {figure.what}; {figure.how}, {figure.source}"
        return Column(name, {}, dict.fromkeys(Property, size(name)), note)
    system, at, subject = name.partition("@")
    if not at or not subject or not system:
        raise UserError(f"{name!r}: write SYSTEM@SUBJECT, such as default@vm:linux, or figure:NAME")
    system, *words = system.split(",")
    wanted = []
    for word in words:
        edit, equals, text = word.partition("=")
        if not equals or edit not in whatif.EDITS:
            known = ", ".join(f"{each}=..." for each in whatif.EDITS)
            raise UserError(f"{name!r}: {word!r} is no edit; there are {known}")
        wanted.append((edit, text))
    found = report(whatif.edited(source.load(system), wanted), subject)
    members = {p: base.trusted for p, base in found.bases.items()}
    return Column(name, members, {p: base.total for p, base in found.bases.items()})
