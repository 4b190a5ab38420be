"""What holding a capability means, as tables: who can affect whom by it, and in what.

A server answers its clients, so it can mislead them, is told what they say, and can keep them
waiting.  Clients can do nothing to a server, which is written to withstand them; offers that exist
to be controlled by their client are the exceptions.  What is read from a file and written to it
passes between its holders, whoever they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple
from itertools import pairwise
from typing import Final, NamedTuple

from tools.tcb.graph.model import (
    ALL,
    AVAILABILITY,
    CONFIDENTIALITY,
    INTEGRITY,
    NONE,
    Capability,
    Component,
    Influence,
    Kind,
    Properties,
)

KERNEL: Final = "kernel"
INIT: Final = "init"
OPERATOR: Final = "operator"
"""The person's tool, which boots the system and is init's client."""
HOST: Final = (
    Component(KERNEL, code=("kernel:",)),
    Component(INIT, code=("program:servers.init",)),
    Component(OPERATOR, code=("tool:tools.boot", "tool:tools.isolation.layers")),
)
_OVER_ALL: Final[Mapping[str, tuple[str, str]]] = {
    KERNEL: ("{} runs privileged, below {}", "{} decides who may use {}"),
    INIT: ("{} creates {}, and owns every endpoint", "{} hands out {}"),
    OPERATOR: ("the {} controls {} through init", "the {} opens {} when it boots the system"),
}
"""Who can do everything to every program, and to every asset."""


class Offer(NamedTuple):
    """What a client can do to the server."""

    properties: Properties
    why: str


CONTROLLING: Final[Mapping[tuple[str, str], Offer]] = {
    ("vmm", "vm"): Offer(ALL, "{} controls the virtual machine of {}, and can copy it"),
    ("tpm", "platform"): Offer(ALL, "{} switches {} on and off, and measures what starts"),
    ("servers.audit", "reader"): Offer(CONFIDENTIALITY, "{} reads the log of {}"),
    ("servers.console", "control"): Offer(ALL, "{} says whom the console {} listens to"),
    ("servers.display", "control"): Offer(ALL, "{} takes pictures of {}, and types for the person"),
    ("servers.display", "viewer"): Offer(ALL, "{} sees what {} shows, and types for the person"),
}
"""``(program, offer)`` -> what its client can do.  All other offers give a client nothing."""

CONTENTS: Final[Mapping[str, tuple[tuple[str, bool], ...]]] = {
    "drivers.block": (("disk", True),),
    "servers.store": (("image", True), ("backing", False)),
}
"""Program -> the names under which it holds what its clients read, and whether they write it: a
device, or another program of this table."""


class Kept(NamedTuple):
    """What a virtual machine monitor does to a disk, so that its keeper need not be trusted."""

    properties: Properties
    how: str


WRAPPERS: Final[Mapping[str, Properties]] = {
    "encrypt": CONFIDENTIALITY,
    "integrity": INTEGRITY,
}
"""Key of a disk in a description -> what it protects."""


def kept(keys: Iterable[str]) -> Kept:
    """By the keys of a disk."""
    chosen = [key for key in WRAPPERS if key in set(keys)]
    properties = NONE.union(*(WRAPPERS[key] for key in chosen))
    return Kept(properties, " and ".join(f"{key} = true" for key in chosen))


SEPARATE: Final = frozenset({"kvm"})
"""Devices of which each holder has a part of its own, by the host's kernel: nothing passes."""


def over_all(components: Iterable[Component]) -> Iterator[Influence]:
    """What everybody is subject to; a guest, by way of its virtual machine monitor."""
    for name, kind, _ in map(astuple, components):
        for source, words in _OVER_ALL.items():
            if (
                kind in (Kind.PROGRAM, Kind.ASSET)
                and source != name
                and (name, source) not in _INNER
            ):
                why = words[kind is Kind.ASSET].format(source, name)
                yield Influence(source, name, ALL, why)


_INNER: Final = {(KERNEL, INIT), (OPERATOR, INIT)}
"""Of the three, init can do nothing to the kernel nor to the tool, and the tool is not asked."""


def serves(client: str, server: str, offer: str) -> Influence:
    """A client holds a service."""
    return Influence(server, client, ALL, f"{client} holds {server}.{offer}", (client, server))


def controls(client: str, server: str, program: str, offer: str) -> Iterator[Influence]:
    """A client holds a service that lets it do something to the server."""
    rule = CONTROLLING.get((program, offer))
    if rule is not None:
        why = rule.why.format(client, server)
        yield Influence(client, server, rule.properties, why, (client, server))


def reads(
    holder: str, asset: str, held: Capability, passes_on: bool = False
) -> Iterator[Influence]:
    """A component reads an asset, by a capability to that or to what has it.

    What it only ``passes_on`` to its clients does nothing to itself.
    """
    why = f"{holder} reads {asset}{_through(held, asset)}"
    if not passes_on:
        yield Influence(asset, holder, INTEGRITY | AVAILABILITY, why, held)
    yield Influence(holder, asset, CONFIDENTIALITY, why, held)


def writes(holder: str, asset: str, held: Capability) -> Iterator[Influence]:
    """A component writes an asset."""
    why = f"{holder} writes {asset}{_through(held, asset)}"
    yield Influence(holder, asset, INTEGRITY | AVAILABILITY, why, held)
    yield Influence(asset, holder, CONFIDENTIALITY, why, held)


def _through(held: Capability, asset: str) -> str:
    return "" if held[1] == asset else f" through {held[1]}"


def keeps(keeper: str, disk: str, held: Capability) -> Influence:
    """A server or asset has the contents of a virtual machine's disk."""
    return Influence(keeper, disk, ALL, f"{keeper} keeps what is on {disk}", held)


def guest(vmm: str, name: str) -> Influence:
    """A virtual machine monitor and its guest, which can do nothing to it."""
    return Influence(vmm, name, ALL, f"{vmm} emulates the machine that {name} runs on")


def asks(name: str, asset: str, held: Capability) -> Influence:
    """A guest says what its monitor writes to an asset, and is told what is read."""
    return Influence(name, asset, ALL, f"{name} has {held[0]} read and write {asset}", held)


def schedules(scheduler: str, vmm: str) -> Influence:
    """A holder of ``init.scheduling``."""
    why = f"{scheduler} says when {vmm} runs (init.scheduling)"
    return Influence(scheduler, vmm, AVAILABILITY, why, (scheduler, INIT))


class Runner(NamedTuple):
    """When a component runs."""

    name: str
    priority: int
    limited: bool
    """Whether it has a budget, so that it cannot run for ever."""


def ranks(runners: Iterable[Runner]) -> tuple[list[Component], list[Influence]]:
    """Who can keep whom from running, by priorities.

    Each priority is a component of its own in between, so that there are as many influences as
    components, not as pairs of them.
    """
    by_priority: dict[int, list[Runner]] = {}
    for runner in runners:
        by_priority.setdefault(runner.priority, []).append(runner)
    levels = sorted(by_priority)
    components = [Component(_rank(level), Kind.RANK) for level in levels[1:]]
    found = []
    for lower, level in pairwise(levels):
        rank = _rank(level)
        for runner in by_priority[lower]:
            why = f"{runner.name} runs at priority {lower}, when nothing above it wants to"
            found.append(Influence(rank, runner.name, AVAILABILITY, why))
        if lower != levels[0]:
            why = f"priority {level} comes before {lower}"
            found.append(Influence(rank, _rank(lower), AVAILABILITY, why))
    for level in levels[1:]:
        for runner in by_priority[level]:
            if not runner.limited:
                why = f"{runner.name} runs at priority {level} without a budget"
                found.append(Influence(runner.name, _rank(level), AVAILABILITY, why))
    return components, found


def _rank(priority: int) -> str:
    return f"priority {priority}"
