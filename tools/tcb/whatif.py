"""What if a system were put together otherwise: its edits in words, and what they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tools.errors import UserError
from tools.tcb.graph import edits
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Graph, Property
from tools.tcb.systems import rules


def _merge(graph: Graph, text: str) -> Graph:
    names = text.split("+")
    if len(names) < 2 or not all(names):
        raise UserError(f"merge {text}: write A+B, or more")
    return edits.merge(graph, names)


def _wrap(graph: Graph, text: str) -> Graph:
    pair, _, listed = text.partition("=")
    keys = listed.split("+") if listed else list(rules.WRAPPERS)
    unknown = [key for key in keys if key not in rules.WRAPPERS]
    if unknown:
        known = ", ".join(rules.WRAPPERS)
        raise UserError(
            f"wrap {text}: {unknown[0]!r} is no protection of a disk; there are {known}"
        )
    return edits.wrap(graph, *_pair("wrap", pair), *rules.kept(keys))


def _pair(edit: str, text: str) -> tuple[str, str]:
    """``A:B``, where both may have colons in their names, such as ``vm:linux``: the last counts."""
    first, colon, second = text.rpartition(":")
    for kind in ("device", "vm", "disk"):
        if first.endswith(f":{kind}"):
            first, second = first.removesuffix(f":{kind}"), f"{kind}:{second}"
    if not (first and colon and second):
        raise UserError(f"{edit} {text}: write two names with a colon between them")
    return first, second


EDITS: Final[Mapping[str, Callable[[Graph, str], Graph]]] = {
    "merge": _merge,
    "move": lambda graph, text: edits.move(graph, *_pair("move", text)),
    "split": lambda graph, text: edits.split(graph, *_pair("split", text)),
    "drop": lambda graph, text: edits.drop(graph, *_pair("drop", text)),
    "wrap": _wrap,
}
HELP: Final[Mapping[str, tuple[str, str]]] = {
    "merge": ("A+B", "run the programs of several processes in one"),
    "move": ("PROGRAM:PROCESS", "run a program in another process, or in a new one of that name"),
    "split": ("SERVER:CLIENT", "give a client a server of its own"),
    "drop": ("HOLDER:SERVER", "take away what a process holds of another"),
    "wrap": ("VM:SERVER[=encrypt+integrity]", "protect a disk from who keeps it"),
}
"""Edit -> the form of its argument, and what it does."""


@dataclass(frozen=True)
class Change:
    """Who is trusted no longer, and who is newly, with one property."""

    gone: Sequence[str]
    come: Sequence[str]

    def json(self) -> dict[str, Any]:
        return {"gone": list(self.gone), "come": list(self.come)}


def edited(graph: Graph, wanted: Sequence[tuple[str, str]]) -> Graph:
    """A graph after edits, ``(name, argument)`` each; raises ``UserError`` for one it cannot do."""
    for name, text in wanted:
        graph = EDITS[name](graph, text)
    return graph


def changes(before: Graph, after: Graph, subject: str) -> dict[Property, Change]:
    """What edits come to for a subject; raises ``UserError`` if there is none such."""
    old, new = closures(before, subject), closures(after, subject)
    found = {}
    for wanted in Property:
        was, now = old[wanted].members(), new[wanted].members()
        found[wanted] = Change(
            [name for name in was if name not in new[wanted]],
            [name for name in now if name not in old[wanted]],
        )
    return found
