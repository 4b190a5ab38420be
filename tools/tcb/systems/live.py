"""The graph of a running system: what its processes really hold, as the kernel's debug calls say.

A description says what a process is given; what servers pass on later, capabilities to other
processes and memory that is shared are only here, and who does not run is not.  A disk counts as
protected only if its VMM has the trusted store in hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Final, NamedTuple

from kernel.abi import DebugOp, Right
from servers.init.description import INIT, INIT_OFFERS, DeviceEntry, Plan, plan
from servers.runtime.server import OFFER_SHIFT
from tools.system import Source, System
from tools.tcb.graph.model import Graph
from tools.tcb.systems.authority import Held, Holder, system
from tools.tcb.systems.description import holders
from tools.tcb.systems.rules import OPERATOR

_OUTSIDE: Final = (INIT, OPERATOR)
"""Spaces that have everything anyway."""


class Row(NamedTuple):
    """One capability, as ``DebugOp.CAPABILITIES`` reports it."""

    space: int
    slot: int
    kind: str
    object: int
    rights: int
    badge: int


def live(running: System, source: Source) -> Graph:
    """The graph of a system that runs; raises ``UserError`` if names do not fit."""
    planned, devices = plan(source.description)
    rows = [Row(*row[:6]) for row in running.debug(DebugOp.CAPABILITIES)]
    spaces = list(running.debug(DebugOp.SPACES))
    priorities: dict[int, int] = {}
    for _, space, _, _, priority, _ in running.debug(DebugOp.THREADS):
        priorities[space] = max(priority, priorities.get(space, 0))
    names = {row[0]: row[1] for row in spaces}
    held = _Holdings(rows, names, planned, devices)
    known = {holder.name: holder for holder in holders(planned)}
    found = [
        replace(
            known[name],
            holds=list(held.of(space, known[name])),
            priority=priorities.get(space, 0),
            limited=bool(row[12]),
        )
        for row in spaces
        if (name := row[1]) in known and (space := row[0]) in names
    ]
    return system(f"{planned.name}, running", [_really_wrapped(holder) for holder in found])


class _Holdings:
    """Who holds what, by the names of the description."""

    def __init__(
        self,
        rows: Iterable[Row],
        names: Mapping[int, str],
        planned: Plan,
        devices: Sequence[DeviceEntry],
    ) -> None:
        self._rows = list(rows)
        self._names = names
        self._offers = {process.name: process.offers for process in planned.processes}
        mine = [row for row in self._rows if names[row.space] == INIT]
        objects = sorted({row.object for row in mine if row.kind == "Device"})
        self._devices = dict(zip(objects, (entry.name for entry in devices), strict=False))
        self._servers = {
            row.object: names[row.space]
            for row in self._rows
            if row.kind == "Endpoint"
            and row.rights & Right.RECEIVE
            and names[row.space] not in _OUTSIDE
        }
        self._init = next(
            row.object
            for row in self._rows
            if row.kind == "Endpoint" and names[row.space] == OPERATOR
        )
        self._shared = self._strangers()

    def of(self, space: int, planned: Holder) -> Iterator[Held]:
        """What one process holds; by the alias that it was planned to have it under."""
        aliases = {(each.target, each.offer): each.alias for each in planned.holds}
        for row in self._rows:
            if row.space == space and (held := self._held(row)) is not None:
                yield replace(held, alias=aliases.get((held.target, held.offer), f"slot{row.slot}"))

    def _held(self, row: Row) -> Held | None:
        if row.kind == "Device" and row.object in self._devices:
            return Held("", self._devices[row.object], writable=bool(row.rights & Right.WRITE))
        if row.kind == "Frame" and row.object in self._shared:
            return Held("", f"frame{row.object}", writable=bool(row.rights & Right.WRITE))
        if row.kind != "Endpoint" or not row.rights & Right.SEND or row.rights & Right.RECEIVE:
            return None
        if row.object == self._init:
            return Held("", INIT, INIT_OFFERS[row.badge >> OFFER_SHIFT])
        server = self._servers.get(row.object)
        if server is None or server == self._names[row.space]:
            return None
        number = row.badge >> OFFER_SHIFT
        offers = self._offers[server]
        return Held("", server, offers[number] if number < len(offers) else f"{number}")

    def _strangers(self) -> set[int]:
        """Frames that processes share of which neither serves the other.

        Between a client and its server, memory carries what their messages could.
        """
        related: set[frozenset[str]] = set()
        sharers: defaultdict[int, set[str]] = defaultdict(set)
        for row in self._rows:
            name = self._names[row.space]
            if name in _OUTSIDE:
                continue
            if row.kind == "Frame":
                sharers[row.object].add(name)
            elif row.kind == "Endpoint" and row.object in self._servers:
                related.add(frozenset((name, self._servers[row.object])))
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
