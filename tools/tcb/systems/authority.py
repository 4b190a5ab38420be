"""What every process of a Cloister system holds, and the graph that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tools.tcb.graph.edits import protect
from tools.tcb.graph.model import Component, Graph, Influence, Kind, graph
from tools.tcb.systems import rules

SCHEDULING: Final = "scheduling"


@dataclass(frozen=True)
class Held:
    """One capability."""

    alias: str
    """Under which its holder knows it."""
    target: str
    """A process, or a device."""
    offer: str = ""
    """Of the process; empty for a device."""
    writable: bool = True
    """A device's contents."""

    @property
    def asset(self) -> str:
        return device(self.target)


@dataclass(frozen=True)
class Holder:
    """One program and what it holds."""

    name: str
    program: str
    holds: Sequence[Held] = ()
    process: str = ""
    """The process that it is in with others; empty for one of its own."""
    executable: bool = False
    """Whether it may make memory executable."""
    priority: int = 100
    limited: bool = False
    """Whether it has a budget of CPU time."""
    vm: bool = False
    modules: tuple[str, ...] = ()
    """What its configuration has it load besides its program."""
    wrapped: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Alias of a disk -> what its VMM does to it: keys of ``rules.WRAPPERS``."""


def device(name: str) -> str:
    """The component that a device is."""
    return f"device:{name}"


def system(name: str, holders: Iterable[Holder]) -> Graph:
    """The graph of a system; raises ``UserError`` for one whose names do not fit."""
    known = {holder.name: holder for holder in holders}
    components = [*rules.HOST]
    influences: list[Influence] = []
    for holder in known.values():
        prefix = "executable" if holder.executable else "program"
        runs = "+".join((holder.program, *holder.modules))
        components.append(Component(holder.name, code=(f"{prefix}:{runs}",)))
        influences += _held(holder, known)
        if holder.vm:
            guest = f"vm:{holder.name}"
            components.append(Component(guest, Kind.GUEST, (f"guest:{holder.name}",)))
            influences.append(rules.guest(holder.name, guest))
    names = {each.source for each in influences} | {each.target for each in influences}
    assets = sorted(names - {component.name for component in components})
    components += [Component(each, Kind.ASSET) for each in assets]
    running = [rules.Runner(h.name, h.priority, h.limited) for h in known.values()]
    levels, before = rules.ranks(running)
    return graph(
        name,
        [*components, *levels],
        [*influences, *rules.over_all(components), *before],
        {holder.name: holder.process for holder in known.values() if holder.process},
        _subjects(known),
    )


def _held(holder: Holder, known: Mapping[str, Holder]) -> Iterator[Influence]:
    """What a component's capabilities mean."""
    for held in holder.holds:
        found = list(_one(holder, held, known))
        if keys := holder.wrapped.get(held.alias):
            capability, kept = (holder.name, held.target), rules.kept(keys)
            found = list(protect(found, {capability}, *kept, guests={f"vm:{holder.name}"}))
        yield from found


def _one(holder: Holder, held: Held, known: Mapping[str, Holder]) -> Iterator[Influence]:
    """What one capability means."""
    name = holder.name
    if held.target == rules.INIT:
        if held.offer == SCHEDULING:
            yield from (rules.schedules(name, vm.name) for vm in known.values() if vm.vm)
        yield rules.serves(name, rules.INIT, held.offer)
    elif held.offer:
        yield rules.serves(name, held.target, held.offer)
        yield from rules.controls(name, held.target, known[held.target].program, held.offer)
        yield from _contents(holder, held, known)
    elif held.target not in rules.SEPARATE:
        passes_on = held.alias in dict(rules.CONTENTS.get(holder.program, ()))
        yield from rules.reads(name, held.asset, (name, held.asset), passes_on)
        if held.writable:
            yield from rules.writes(name, held.asset, (name, held.asset))


def _contents(holder: Holder, held: Held, known: Mapping[str, Holder]) -> Iterator[Influence]:
    """What a service's contents mean to its client, and to others that read or write them.

    A virtual machine monitor reads and writes what its guest says.
    """
    name, capability = holder.name, (holder.name, held.target)
    behind = contents(known, held.target)
    writable = [asset for asset, may_write in behind.items() if may_write]
    for asset in behind:
        yield from rules.reads(name, asset, capability)
    for asset in writable:
        yield from rules.writes(name, asset, capability)
    if behind and holder.vm:
        disk = f"disk:{name}.{held.alias}"
        yield from (rules.keeps(keeper, disk, capability) for keeper in (held.target, *behind))
        yield from rules.reads(name, disk, (name, disk))
        yield from rules.writes(name, disk, (name, disk))
        yield from (rules.asks(f"vm:{name}", asset, capability) for asset in (disk, *writable))


def contents(known: Mapping[str, Holder], server: str) -> dict[str, bool]:
    """The assets that a server has its clients read -> whether they can write them."""
    found: dict[str, bool] = {}
    waiting, seen = [(server, True)], {server}
    while waiting:
        name, writable = waiting.pop()
        holds = {held.alias: held for held in known[name].holds}
        for alias, written in rules.CONTENTS.get(known[name].program, ()):
            held = holds.get(alias)
            if held is None:
                continue
            may_write = writable and written and held.writable
            if not held.offer:
                found[held.asset] = found.get(held.asset, False) or may_write
            elif held.target not in seen:
                seen.add(held.target)
                waiting.append((held.target, may_write))
    return found


def _subjects(known: Mapping[str, Holder]) -> dict[str, tuple[str, ...]]:
    """A virtual machine's TPM is its process with all that this keeps."""
    found = {}
    for holder in known.values():
        for held in holder.holds:
            server = known.get(held.target)
            if holder.vm and held.offer and server is not None and server.program == "tpm":
                kept = [each.asset for each in server.holds if not each.offer]
                found[f"tpm:{holder.name}"] = (server.name, *kept)
    return found
