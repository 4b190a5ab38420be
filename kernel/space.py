"""Address spaces: the protection domains.

A space is a table of capabilities, mappings of frames, threads, a quota and a label.  It ends when
its first thread does, when any of its threads fails, when it is destroyed, when the last capability
to it goes, or with the space that created it, whose quota it lives on; its fault endpoint then gets
one message that says why.  Whoever destroyed it waits until the machine has seen the end of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernel import abi
from kernel.abi import ANY, NULL, Error, Fault, Right
from kernel.capability import Capability, KernelObject, Refused, require
from kernel.effects import Kill
from kernel.endpoint import Endpoint
from kernel.label import CONSUME, PRODUCE
from kernel.quota import Account

if TYPE_CHECKING:
    from kernel.kernel import Kernel, Mapping, Thread

Handler = Capability[Endpoint] | None


class Space(KernelObject):
    """A protection domain."""

    def __init__(self, kernel: Kernel, name: str, label: int, account: Account, flags: int) -> None:
        super().__init__(kernel, label, account.parent, abi.SPACE_COST)
        self.name, self.flags = name, flags
        self.account: Account = account  # charged with what it causes to exist, but itself
        self.creator: Space | None = None
        self.children: dict[Space, None] = {}  # the living ones that it created
        self.fault: Handler = None  # the creator's capability; no message once it is gone
        self.posted = False  # its fault message is queued, and so its record still charged
        self.caps: dict[int, Capability[Any]] = {}
        self.last_slot = NULL  # slots are never used twice, so a stale number names nothing
        self.mappings: dict[int, Mapping] = {}
        self.threads: list[Thread] = []  # the space lives as long as the first
        self.waiters: list[Thread] = []  # threads that wait until the machine has seen its end
        self.budget = self.period = 0  # microseconds it may run per period; 0: no limit
        self.alive = True
        self.flows[(label, PRODUCE | CONSUME)] = 1  # whoever controls it talks with its label

    def lookup(self, slot: int, kind: str = ANY, rights: int = 0, optional: bool = False) -> Any:
        """The capability in a slot, if it is to an object of the kind and has the rights.

        None for ``NULL``, if the capability is optional.
        """
        cap = self.caps.get(slot)
        if cap is None or (kind != cap.object.kind and kind != ANY):
            if optional and slot == NULL:
                return None
            raise Refused(Error.BAD_CAPABILITY)
        if rights & ~cap.rights:
            raise Refused(Error.NO_RIGHT)
        return cap

    def reach(self, cap: Capability[Space] | None) -> Space:
        """The living space that a call names; this one if it names none."""
        space = cap.object if cap else self
        require(space.alive, Error.BAD_CAPABILITY)
        return space

    def end(self, fault: Fault, detail: str, waiter: Thread | None = None) -> None:
        """Take everything from the space and have the machine end it."""
        kernel = self.kernel
        if waiter is not None and self.id in kernel.spaces and waiter.space is not self:
            waiter.pending += 1
            self.waiters.append(waiter)
        if not self.alive:
            return
        self.alive = False
        if self.creator is not None:
            self.creator.children.pop(self, None)
        first = self.threads[0].id if self.threads else 0
        kernel.note((kernel.now, abi.TraceEvent.FAULT, first, self.id, fault))
        kernel.effects.append(Kill(self, fault, detail))
        for thread in self.threads:
            thread.end()
        if self.fault is not None and self.fault.space is not None:
            self.fault.object.post_fault(self, self.fault.badge, fault, first, detail)
        kernel.ending.append((self, waiter))
        if len(kernel.ending) > 1:
            return  # one space ends within another's end; a loop, as they nest without limit
        while kernel.ending:
            space, waiter = kernel.ending[0]
            space._release(waiter)
            kernel.ending.popleft()

    def _release(self, waiter: Thread | None) -> None:
        """Take its children and capabilities from it."""
        for child in tuple(self.children):
            child.end(Fault.KILLED, f"{self.name}, which created it, ended", waiter)
        for cap in tuple(self.caps.values()):
            if cap.space is not None:  # else gone with another
                cap.delete()

    def ended(self) -> None:
        """The machine has seen the end: its mappings are gone, its memory is free."""
        if self.kernel.spaces.pop(self.id, None) is None:
            return
        for mapping in tuple(self.mappings.values()):
            mapping.gone()
        self.account.close()
        for waiter in self.waiters:
            waiter.settle()

    def destroy(self) -> None:
        self.end(Fault.KILLED, "nobody holds a capability to it")
        if not self.posted:
            super().destroy()

    def heard(self) -> None:
        """Its queued fault message is received, or never will be."""
        self.posted = False
        if not self.holders:
            super().destroy()


def space_create(
    thread: Thread, name: str, quota: int, label: int, authority: object, flags: int, fault: Handler
) -> None:
    creator, kernel = thread.space, thread.kernel
    require(0 < len(name.encode()) <= abi.MAX_NAME, Error.BAD_ARGUMENT)
    require(not flags & ~creator.flags, Error.BAD_ARGUMENT)
    require(label == creator.label or authority, Error.BAD_CAPABILITY)
    require(not fault or not fault.object.conflicts(label, Right.SEND), Error.DENIED)
    require(creator.account.free >= quota + abi.SPACE_COST + abi.CAPABILITY_COST, Error.NO_QUOTA)
    space = Space(kernel, name, label, Account(quota, creator.account), flags)
    slot = space.create(creator, int(abi.ALL_RIGHTS))
    creator.account.charge(quota)
    space.creator, space.fault = creator, fault
    kernel.spaces[space.id] = space
    creator.children[space] = None
    thread.finish(slot)


def space_destroy(thread: Thread, space: Capability[Space]) -> None:
    space.object.end(Fault.KILLED, f"destroyed by {thread.space.name}", thread)
    thread.finish()
