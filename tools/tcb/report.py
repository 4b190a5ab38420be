"""A trusted code base: who is in it, why, and how much code that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.tcb.code import measure
from tools.tcb.code.measure import Code
from tools.tcb.code.sizes import sizes
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Graph, Kind, Property


@dataclass(frozen=True)
class Member:
    """A process, guest or asset that has to be trusted."""

    name: str
    kind: Kind
    components: Sequence[str]
    """What is in the process."""
    path: Sequence[str]
    """Why, in words: from the member to the subject; empty for the subject itself."""
    code: Code

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": str(self.kind),
            "components": list(self.components),
            "path": list(self.path),
            **amounts(self.code),
        }


@dataclass(frozen=True)
class Base:
    """Those who are trusted with one property."""

    members: Mapping[str, Member]
    """By name, nearest first."""
    total: Code
    """What all of them run; what several run counts once."""

    @property
    def trusted(self) -> int:
        """How many processes and guests that is: assets are not counted."""
        return sum(member.kind is not Kind.ASSET for member in self.members.values())

    def json(self) -> dict[str, Any]:
        return {
            "members": [member.json() for member in self.members.values()],
            "totals": amounts(self.total)
            | {"unknown": {k: v for k, v in self.total.unknown().items() if v}},
        }


@dataclass(frozen=True)
class Report:
    """The three trusted code bases of a subject."""

    system: str
    subject: str
    wrappers: bool
    """Whether what protects from others was taken into account."""
    bases: Mapping[Property, Base]

    def json(self) -> dict[str, Any]:
        everything = measure.together(base.total for base in self.bases.values())
        return {
            "system": self.system,
            "for": self.subject,
            "wrappers": self.wrappers,
            **{str(wanted): base.json() for wanted, base in self.bases.items()},
            "manifest": measure.manifest(everything),
        }


def amounts(code: Code) -> dict[str, Any]:
    """How much code something is, for JSON."""
    return {
        "lines": code.lines(),
        "text_bytes": code.text_bytes(),
        "system_calls": code.system_calls,
    }


def report(graph: Graph, subject: str, wrappers: bool = True) -> Report:
    """What a subject has to trust; raises ``UserError`` if there is none such."""
    found = closures(graph, subject, wrappers)
    names = dict.fromkeys(name for each in found.values() for name in each.members())
    code = process_code(graph, names)
    bases = {}
    for wanted, each in found.items():
        members = {}
        for name in each.members():
            inside = graph.members[name]
            path = [influence.why for influence in each.path(name)]
            members[name] = Member(name, graph.kind(name), inside, path, code[name])
        bases[wanted] = Base(members, measure.together(code[name] for name in members))
    return Report(graph.name, subject, wrappers, bases)


def process_code(graph: Graph, processes: Iterable[str]) -> dict[str, Code]:
    """What each of some processes runs."""
    words = {
        name: [word for each in graph.members[name] for word in graph.components[each].code]
        for name in processes
    }
    known = sizes(word for each in words.values() for word in each)
    return {name: measure.together(known[word] for word in each) for name, each in words.items()}
