"""A system as a graph: components, what each can do to others, and the processes they are in.

Influence is between components; a process (in other systems a protection domain, a task, a virtual
machine) is whatever components share an address space, where each can do everything to the others.
Another decomposition of a system is the same graph with its components put into other processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple

from tools.errors import UserError


class Property(StrEnum):
    """What somebody may want of a system."""

    INTEGRITY = "integrity"
    """That nobody else changes it, or what it computes."""
    CONFIDENTIALITY = "confidentiality"
    """That nobody else learns what it knows."""
    AVAILABILITY = "availability"
    """That nobody else keeps it from running, or from what it needs for that."""


Properties = frozenset[Property]
NONE: Final[Properties] = frozenset()
ALL: Final[Properties] = frozenset(Property)
INTEGRITY: Final = frozenset({Property.INTEGRITY})
CONFIDENTIALITY: Final = frozenset({Property.CONFIDENTIALITY})
AVAILABILITY: Final = frozenset({Property.AVAILABILITY})


class Kind(StrEnum):
    """What a component is."""

    PROGRAM = "program"
    """Code that runs, the kernel and the person's tool among it."""
    GUEST = "guest"
    """What runs in a virtual machine."""
    ASSET = "asset"
    """Something that does nothing by itself: a disk, a device, a key."""
    RANK = "rank"
    """A priority, by which those at one are ahead of those below; nobody has to trust it."""


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a system."""

    name: str
    kind: Kind = Kind.PROGRAM
    code: tuple[str, ...] = ()
    """What it runs, in words that ``tools.tcb.code.sizes`` understands."""


Capability = tuple[str, str]
"""Who holds what: two components."""


@dataclass(frozen=True, slots=True)
class Influence:
    """What one component can do to another.

    In integrity: change it, or what it computes.  In confidentiality: learn what it knows, or have
    it tell.  In availability: keep it from running or from what it needs.
    """

    source: str
    target: str
    properties: Properties
    why: str
    """In words, with both names."""
    held: Capability | None = None
    """The capability that it follows from: who holds what; None for what nobody was given."""
    wrapped: Properties = NONE
    """What the source could affect besides, were it not for the target's protection."""
    wrapper: str = ""
    """What that protection is."""

    def without(self, properties: Properties, how: str) -> Influence:
        """The same where the target protects itself."""
        wrapped = self.properties & properties
        if not wrapped:
            return self
        how = f"{self.wrapper} and {how}" if self.wrapper else how
        left = self.properties - wrapped
        return replace(self, properties=left, wrapped=self.wrapped | wrapped, wrapper=how)


class Reach(NamedTuple):
    """An influence from one process on another, with what it comes to."""

    process: str
    """Its source's."""
    properties: Properties
    """What it affects, by what it implies; ``unwrapped``, were there no protection."""
    unwrapped: Properties
    influence: Influence


@dataclass(frozen=True)
class Graph:
    """A system.  Names of processes and of components may be the same."""

    name: str
    components: Mapping[str, Component]
    influences: tuple[Influence, ...]
    process_of: Mapping[str, str] = field(default_factory=dict)
    """Component -> its process, where that has another name than the component."""
    subjects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further names of what can be asked about: several components together, or another's name."""

    def process(self, component: str) -> str:
        return self.process_of.get(component, component)

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """Process -> its components."""
        found: dict[str, list[str]] = {}
        for component in self.components:
            found.setdefault(self.process(component), []).append(component)
        return found

    @cached_property
    def reaching(self) -> dict[str, list[Reach]]:
        """Process -> all that reaches it from outside."""
        found: dict[str, list[Reach]] = {}
        process_of, components = self.process, self.components
        for influence in self.influences:
            source, target = process_of(influence.source), process_of(influence.target)
            if source != target:
                kind = components[influence.target].kind
                plain = implied(influence.properties, kind)
                wrapped = influence.wrapped
                whole = implied(influence.properties | wrapped, kind) if wrapped else plain
                found.setdefault(target, []).append(Reach(source, plain, whole, influence))
        return found

    def subject(self, name: str) -> tuple[str, ...]:
        """The processes that a subject is; raises ``UserError`` if there is none such."""
        if name in self.subjects:
            return tuple(dict.fromkeys(map(self.process, self.subjects[name])))
        if name in self.members:
            return (name,)
        if name in self.components:
            return (self.process(name),)
        raise UserError(f"there is no {name!r} in {self.name}; there are {self._known()}")

    def _known(self) -> str:
        names = [name for name in self.members if not self.is_rank(name)]
        names += [name for name in self.subjects if name not in self.members]
        shown = ", ".join(names[:_SHOWN])
        return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown

    def kind(self, process: str) -> Kind:
        """Of what is in a process: only programs are in one together."""
        return self.components[self.members[process][0]].kind

    def is_rank(self, process: str) -> bool:
        return self.kind(process) is Kind.RANK

    def in_process(self, name: str) -> str:
        """A process by its name or that of a component in it; raises ``UserError``."""
        found = self.subject(name)
        if len(found) != 1:
            raise UserError(f"{name!r} is several: {', '.join(found)}; name one of them")
        return found[0]


_SHOWN: Final = 24


def implied(properties: Properties, kind: Kind) -> Properties:
    """What somebody affects who affects these directly.

    Whoever can change what a program computes can also have it tell what it knows, and stop.  An
    asset tells nothing, whoever writes to it.
    """
    return ALL if Property.INTEGRITY in properties and kind is not Kind.ASSET else properties


def graph(
    name: str,
    components: Iterable[Component],
    influences: Iterable[Influence],
    process_of: Mapping[str, str] | None = None,
    subjects: Mapping[str, tuple[str, ...]] | None = None,
) -> Graph:
    """A graph of parts that fit; raises ``UserError`` for those that do not."""
    known: dict[str, Component] = {}
    for component in components:
        if component.name in known:
            raise UserError(f"{name}: there are two components named {component.name!r}")
        known[component.name] = component
    all_of_them = tuple(influences)
    for influence in all_of_them:
        for end in (influence.source, influence.target):
            if end not in known:
                raise UserError(f"{name}: {influence.why}: there is no component {end!r}")
    places, others = dict(process_of or {}), dict(subjects or {})
    for end in (*places, *(part for parts in others.values() for part in parts)):
        if end not in known:
            raise UserError(f"{name}: there is no component {end!r}")
    return Graph(name, known, all_of_them, places, others)
