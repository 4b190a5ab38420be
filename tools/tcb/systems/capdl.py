"""The graph of a capDL specification: who can affect whom in a system on seL4.

A process is the threads that share a virtual address space.  It holds what can be reached through
its threads' capability spaces, and what is mapped in its address space.  A capability means:

- to an endpoint, with the right to receive: a server; with the right to send and to be answered
  (grant, or grant reply): its client, whom it can mislead and keep waiting; with the right to send
  alone: whoever tells it something;
- to a notification: one side keeps the other waiting;
- to a thread, a capability space, an address space, untyped memory that another's objects are made
  of, or as the handler of its faults: control;
- to a frame that others have as well: what the one writes, the other reads;
- to a device, its ports or interrupts: the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tools.tcb.graph.model import (
    ALL,
    AVAILABILITY,
    CONFIDENTIALITY,
    Component,
    Graph,
    Influence,
    Kind,
    graph,
)
from tools.tcb.systems import rules
from tools.tcb.systems.capdl_text import Cap, Object, read

KERNEL: Final = "seL4"
_KERNEL_CODE: Final = "figure:sel4-x64"
_SPACES: Final = frozenset({"pml4", "pdpt", "pd", "pt", "pgd", "pud", "vspace", "asid_pool"})
_TABLES: Final = frozenset({*_SPACES, "io_pt"})
_DEVICES: Final = frozenset({"io_device", "io_ports", "irq", "ioapic_irq", "msi_irq", "arm_irq"})
_EVERYTHING: Final = frozenset("RWXGP")


@dataclass
class Process:
    """Threads in one address space, with all that they hold."""

    name: str
    threads: list[Object] = field(default_factory=list)
    holds: dict[tuple[str, frozenset[str]], Cap] = field(default_factory=dict)
    spaces: set[str] = field(default_factory=set)
    """The objects that make it up: whoever has them, has it."""


def parse(text: str, name: str) -> Graph:
    """The graph of a specification; raises ``UserError`` for one that is wrong."""
    objects = read(text, f"{name}.cdl")
    processes = list(_processes(objects))
    owner = {part: process for process in processes for part in process.spaces}
    influences = [each for one in processes for each in _control(one, objects, owner)]
    influences += _messages(processes, objects)
    influences += _memory(processes, objects)
    threads = [thread for process in processes for thread in process.threads]
    components = [Component(KERNEL, code=(_KERNEL_CODE,))]
    components += [Component(thread.name) for thread in threads]
    known = {component.name for component in components}
    ends = {end for each in influences for end in (each.source, each.target)}
    components += [Component(asset, Kind.ASSET) for asset in sorted(ends - known)]
    for component in components[1:]:
        why = f"{KERNEL} runs privileged, below {component.name}"
        influences.append(Influence(KERNEL, component.name, ALL, why))
    runners = [rules.Runner(t.name, _number(t, "prio"), False) for t in threads]
    levels, before = rules.ranks(runners)
    places = {thread.name: process.name for process in processes for thread in process.threads}
    return graph(name, [*components, *levels], [*influences, *before], places)


def _processes(objects: Mapping[str, Object]) -> Iterator[Process]:
    found: dict[str, Process] = {}
    for thread in objects.values():
        if thread.kind != "tcb":
            continue
        space = thread.slots.get("vspace")
        name = space.target if space else thread.name
        process = found.setdefault(name, Process(name))
        process.threads.append(thread)
        process.spaces |= {thread.name, name}
        roots = [cap for slot, cap in thread.slots.items() if slot in ("cspace", "vspace")]
        for cap in _within(roots, objects, process.spaces):
            process.holds.setdefault((cap.target, cap.rights), cap)
    yield from found.values()


def _within(roots: Iterable[Cap], objects: Mapping[str, Object], spaces: set[str]) -> Iterator[Cap]:
    """All capabilities that can be reached; what makes up the spaces is added to ``spaces``."""
    waiting, seen = [(cap, True) for cap in roots], set[str]()
    while waiting:
        cap, own = waiting.pop()
        found = objects.get(cap.target)
        if found is None or found.name in seen:
            continue
        seen.add(found.name)
        if own:
            spaces.add(found.name)
        for inner in found.slots.values():
            kind = objects[inner.target].kind if inner.target in objects else ""
            yield inner
            if kind == "cnode" or (kind in _TABLES and found.kind in _TABLES):
                waiting.append((inner, own and found.kind in _TABLES))


def _control(
    process: Process, objects: Mapping[str, Object], owner: Mapping[str, Process]
) -> Iterator[Influence]:
    """Whom a process controls, and which devices it has."""
    holder = process.threads[0].name
    for cap in process.holds.values():
        found = objects.get(cap.target)
        if found is None:
            continue
        if found.kind in _DEVICES:
            asset = f"device:{found.name}"
            yield from rules.reads(holder, asset, (holder, asset))
            yield from rules.writes(holder, asset, (holder, asset))
            continue
        for name in (found.name, *found.covers):
            other = owner.get(name)
            if other is not None and other is not process:
                target = other.threads[0].name
                why = (
                    f"{holder} holds {_article(found)} {found.name}, by which it controls {target}"
                )
                yield Influence(holder, target, ALL, why, (holder, target))


def _article(found: Object) -> str:
    return {"tcb": "the thread", "cnode": "the capability space", "ut": "the memory"}.get(
        found.kind, "the address space"
    )


def _messages(processes: list[Process], objects: Mapping[str, Object]) -> Iterator[Influence]:
    """Who serves whom, and handles whose faults."""
    receivers: dict[str, list[str]] = {}
    senders: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for process in processes:
        name = process.threads[0].name
        for cap in process.holds.values():
            if cap.target in objects and objects[cap.target].kind in ("ep", "notification"):
                rights = cap.rights or _EVERYTHING
                if "R" in rights:
                    receivers.setdefault(cap.target, []).append(name)
                if "W" in rights:
                    senders.setdefault(cap.target, []).append((name, rights))
        for thread in process.threads:
            if (endpoint := _fault_endpoint(thread, objects)) is not None:
                handled = (thread.name, _EVERYTHING)
                senders.setdefault(endpoint, []).append(handled)
    for end, servers in receivers.items():
        for client, rights in senders.get(end, ()):
            for server in servers:
                if client != server:
                    yield _message(client, server, objects[end], rights)


def _message(client: str, server: str, end: Object, rights: frozenset[str]) -> Influence:
    held = (client, server)
    if end.kind == "notification":
        why = f"{server} waits for {client} to signal {end.name}"
        return Influence(client, server, AVAILABILITY, why, held)
    if rights & {"G", "P"}:
        why = f"{client} calls {server} through {end.name}"
        return Influence(server, client, ALL, why, held)
    why = f"{client} sends to {server} through {end.name}"
    return Influence(server, client, CONFIDENTIALITY | AVAILABILITY, why, held)


def _number(thread: Object, attribute: str) -> int:
    """Of a thread's attributes; 0 if it is none, as the loader of such systems has it."""
    try:
        return int(thread.attributes.get(attribute, "0"), 0)
    except ValueError:
        return 0


def _fault_endpoint(thread: Object, objects: Mapping[str, Object]) -> str | None:
    """Where a thread's faults go: a slot of its own, or one of its capability space."""
    if (cap := thread.slots.get("fault_ep_slot")) is not None:
        return cap.target
    space = thread.slots.get("cspace")
    if "fault_ep" not in thread.attributes or space is None or space.target not in objects:
        return None
    found = objects[space.target].slots.get(str(_number(thread, "fault_ep")))
    return found.target if found else None


def _memory(processes: list[Process], objects: Mapping[str, Object]) -> Iterator[Influence]:
    """What several processes can map."""
    users: dict[str, dict[str, set[str]]] = {}
    for process in processes:
        for cap in process.holds.values():
            if cap.target in objects and objects[cap.target].kind == "frame":
                rights = users.setdefault(cap.target, {}).setdefault(process.threads[0].name, set())
                rights |= cap.rights or _EVERYTHING
    for frame, by_user in users.items():
        if len(by_user) < 2:
            continue
        for user, rights in by_user.items():
            asset = f"memory:{frame}"
            if "R" in rights:
                yield from rules.reads(user, asset, (user, asset))
            if "W" in rights:
                yield from rules.writes(user, asset, (user, asset))
