"""Names for the kernel's numbers: of spaces, threads, objects, capabilities and badges.

The kernel knows numbers alone.  Most names come from its own reports; what a badge means, and whose
endpoint or which device one is, comes from the system's description: init mints badges by the order
of processes in it, and endpoints and devices are created in its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from kernel.abi import Right
from servers.init.description import Plan
from servers.init.process import INIT_CLIENT, OPERATOR_CLIENT
from servers.runtime.server import OFFER_SHIFT, SESSION

INIT: Final = "init"
OPERATOR: Final = "operator"
_AUTHORITIES: Final = ("policy", "debug of init", "debug")
"""Devices that stand for an authority, in the order in which every machine makes them."""


class Space(NamedTuple):
    """A row of ``DebugOp.SPACES``."""

    id: int
    name: str
    label: int
    flags: int
    used: int
    limit: int
    capabilities: int
    mappings: int
    threads: int
    pid: int
    cpu_ns: int
    resident: int
    budget: int
    period: int


class Thread(NamedTuple):
    """A row of ``DebugOp.THREADS``."""

    id: int
    space: int
    name: str
    state: int
    priority: int
    blocked_on: int


class Cap(NamedTuple):
    """A row of ``DebugOp.CAPABILITIES``."""

    space: int
    slot: int
    kind: str
    object: int
    rights: int
    badge: int
    parent_space: int
    parent_slot: int


def rights_text(rights: int) -> str:
    """Letters: read, write, send, receive, control, grant."""
    return "".join(letter if rights >> bit & 1 else "-" for bit, letter in enumerate("rwsvcg"))


class Names(dict[int, str]):
    """What is known of one system at one moment; as a mapping, the names of threads."""

    def __init__(
        self,
        plan: Plan,
        devices: Sequence[str],
        spaces: Sequence[Space],
        threads: Sequence[Thread],
        caps: Sequence[Cap],
        ended: Mapping[int, str] | None = None,
    ) -> None:
        """``devices`` are named in their order; ``ended`` names threads that are no more."""
        super().__init__(ended or {})
        self.plan = plan
        self.spaces = {space.id: space for space in spaces}
        self.threads = {thread.id: thread for thread in threads}
        self.caps = {(cap.space, cap.slot): cap for cap in caps}
        self._kinds = {cap.object: cap.kind.lower() for cap in caps}
        self._first = {t.space: t.id for t in reversed(threads)}  # the first thread of each space
        self.update((number, self._thread(number)) for number in self.threads)
        self.servers = self._owners(caps)
        self.devices = dict(self._device_names(devices, caps))

    def _owners(self, caps: Sequence[Cap]) -> dict[int, str]:
        """Endpoint -> the process whose offers it is for."""
        init = next((s.id for s in self.spaces.values() if s.name == INIT), 0)
        own = (c for c in caps if c.space == init and not c.parent_space)
        made = sorted(cap.object for cap in own if cap.kind == "Endpoint")
        offering = [process.name for process in self.plan.processes if process.offers]
        if len(made) == len(offering) + 1:  # the first is init's own
            return dict(zip(made, [INIT, *offering], strict=True))
        found = {}
        for cap in caps:
            if cap.kind == "Endpoint" and cap.rights & Right.RECEIVE and cap.space in self.spaces:
                found[cap.object] = self.spaces[cap.space].name
        return found

    def _device_names(self, devices: Sequence[str], caps: Sequence[Cap]) -> zip[tuple[int, str]]:
        """Device -> its name: the machine made them in order, and the authorities after them."""
        found = sorted({cap.object for cap in caps if cap.kind == "Device"})
        return zip(found, [*devices, *_AUTHORITIES], strict=False)

    def serving(self, endpoint: int) -> list[str]:
        """Whoever can receive from it, beside init that keeps it for the next server."""
        spaces = {
            cap.space
            for cap in self.caps.values()
            if cap.object == endpoint and cap.rights & Right.RECEIVE
        }
        names = sorted({self.space(space) for space in spaces})
        others = [name for name in names if name != INIT]
        return others or ([INIT] if self.servers.get(endpoint) == INIT else [])

    def space(self, number: int) -> str:
        return self.spaces[number].name if number in self.spaces else f"space {number}"

    def label(self, number: int) -> str:
        labels = self.plan.labels
        return labels[number] if number < len(labels) else str(number)

    def _thread(self, number: int) -> str:
        """``process`` for its first thread, else ``process/thread``."""
        thread = self.threads[number]
        if self._first[thread.space] == number:
            return self.space(thread.space)
        return f"{self.space(thread.space)}/{thread.name}"

    def object(self, number: int) -> str:
        """``endpoint of console``, ``frame 12``."""
        if number in self.servers:
            return f"endpoint of {self.servers[number]}"
        if number in self.threads:
            return f"thread of {self.space(self.threads[number].space)}"
        if number in self.spaces:
            return f"space {self.spaces[number].name}"
        if number in self.devices:
            return f"device {self.devices[number]}"
        return f"{self._kinds.get(number, 'object')} {number}"

    def slot(self, thread: int, slot: int) -> str:
        """What a thread means by the number of a capability."""
        holder = self.threads.get(thread)
        cap = self.caps.get((holder.space, slot)) if holder else None
        return self.object(cap.object) if cap else f"slot {slot}"

    def origin(self, cap: Cap) -> str:
        """What a capability was derived from."""
        if not cap.parent_space:
            return "-"
        return f"{self.space(cap.parent_space)}, slot {cap.parent_slot}"

    def badge(self, cap: Cap) -> str:
        """Whom a message through this capability comes from, as its receiver hears it."""
        if not cap.badge or cap.kind != "Endpoint":
            return f"{cap.badge:#x}" if cap.badge else "-"
        if cap.badge & SESSION:
            return f"session {cap.badge & ~SESSION}"
        offer, number = cap.badge >> OFFER_SHIFT, cap.badge & ((1 << OFFER_SHIFT) - 1)
        owner = self.servers.get(cap.object, "")
        if owner == INIT:
            return f"faults of {self.client(number)}"
        offers = next((p.offers for p in self.plan.processes if p.name == owner), [])
        name = offers[offer] if offer < len(offers) else f"offer {offer}"
        return f"{name} for {self.client(number)}"

    def client(self, number: int) -> str:
        """Who has a number in badges."""
        known = {OPERATOR_CLIENT: OPERATOR, INIT_CLIENT: INIT}
        if 0 < number <= len(self.plan.processes):
            return self.plan.processes[number - 1].name
        return known.get(number, f"client {number}")
