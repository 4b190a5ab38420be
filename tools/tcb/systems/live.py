"""The graph of a running system: what its processes really hold, as the kernel's debug calls say.

A description says what a process is given; what servers pass on later, capabilities to other
processes and memory that is shared are only here, and who does not run is not.  A disk counts as
protected only if its VMM has the trusted store in hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

from kernel.abi import DebugOp, Right
from servers.init.description import (
    INIT,
    INIT_OFFERS,
    Plan,
)
from servers.init.planning import (
    plan,
)
from servers.runtime.server import OFFER_SHIFT
from tools.system import Source, System
from tools.tcb.graph.model import Graph
from tools.tcb.systems.authority import Held, Holder, system
from tools.tcb.systems.description import holders
from tools.tcb.systems.rules import OPERATOR
from tools.trace.names import Cap, Names, Space, Thread

_OUTSIDE: Final = (INIT, OPERATOR)
"""Spaces that have everything anyway."""


def live(running: System, source: Source) -> Graph:
    """The graph of a system that runs; raises ``UserError`` if names do not fit."""
    planned, devices = plan(source.description)
    spaces = [Space(*row) for row in running.debug(DebugOp.SPACES)]
    threads = [Thread(*row) for row in running.debug(DebugOp.THREADS)]
    caps = [Cap(*row) for row in running.debug(DebugOp.CAPABILITIES)]
    names = Names(planned, [device.name for device in devices], spaces, threads, caps)
    there = {space.name: space for space in spaces}
    known = [each for each in holders(planned) if (each.process or each.name) in there]
    held = _Holdings(names, planned, {each.name for each in known})
    found = []
    for holder in known:
        space = there.get(holder.name)
        if space is None:  # a part of another process, which has what both were given
            found.append(holder)
            continue
        found.append(
            replace(
                holder,
                holds=list(held.of(space.id, holder)),
                priority=max((t.priority for t in threads if t.space == space.id), default=0),
                limited=bool(space.budget),
            )
        )
    return system(f"{planned.name}, running", [_really_wrapped(holder) for holder in found])


class _Holdings:
    """Who holds what, by the names of the description."""

    def __init__(self, names: Names, planned: Plan, running: Container[str]) -> None:
        self._names = names
        self._running = running
        self._offers = {process.name: process.offers for process in planned.processes}
        self._shared = self._strangers()

    def of(self, space: int, planned: Holder) -> Iterator[Held]:
        """What one process holds; by the alias that it was planned to have it under."""
        aliases = {(each.target, each.offer): each.alias for each in planned.holds}
        for cap in self._names.caps.values():
            if cap.space == space and (held := self._held(cap)) is not None:
                yield replace(held, alias=aliases.get((held.target, held.offer), f"slot{cap.slot}"))

    def _held(self, cap: Cap) -> Held | None:
        writable = bool(cap.rights & Right.WRITE)
        if cap.kind == "Device" and cap.object in self._names.devices:
            return Held("", self._names.devices[cap.object], writable=writable)
        if cap.kind == "Frame" and cap.object in self._shared:
            return Held("", f"frame{cap.object}", writable=writable)
        if cap.kind != "Endpoint" or not cap.rights & Right.SEND or cap.rights & Right.RECEIVE:
            return None
        server, number = self._names.servers.get(cap.object, ""), cap.badge >> OFFER_SHIFT
        if server == INIT:
            return Held("", INIT, INIT_OFFERS[number])
        if server not in self._running or server == self._names.space(cap.space):
            return None
        offers = self._offers[server]
        return Held("", server, offers[number] if number < len(offers) else f"{number}")

    def _strangers(self) -> set[int]:
        """Frames that processes share of which neither serves the other.

        Between a client and its server, memory carries what their messages could.
        """
        related: set[frozenset[str]] = set()
        sharers: defaultdict[int, set[str]] = defaultdict(set)
        for cap in self._names.caps.values():
            name = self._names.space(cap.space)
            if name in _OUTSIDE:
                continue
            if cap.kind == "Frame":
                sharers[cap.object].add(name)
            elif cap.kind == "Endpoint" and cap.object in self._names.servers:
                related.add(frozenset((name, self._names.servers[cap.object])))
        return {
            frame
            for frame, by in sharers.items()
            if any(frozenset(pair) not in related for pair in combinations(by, 2))
        }


def _really_wrapped(holder: Holder) -> Holder:
    """Without the protection of disks whose store the process does not have."""
    has = {each.target for each in holder.holds if not each.offer and each.writable}
    stores = {
        alias: {f"{holder.name}.{alias}-store", f"{holder.name}.{alias}-key"}
        for alias in holder.wrapped
    }
    kept: dict[str, Any] = {
        alias: keys for alias, keys in holder.wrapped.items() if stores[alias] <= has
    }
    return replace(holder, wrapped=kept)
