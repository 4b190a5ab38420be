"""Address spaces: the protection domains.

A space is a table of capabilities, mappings of frames, threads, a quota and a label.  It ends when
its first thread does, when any of its threads fails, when it is destroyed, when the last capability
to it goes, or with the space that created it, whose quota it lives on; its fault endpoint then gets
one message that says why.  Whoever destroyed it waits until the machine has seen the end of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kernel import capability
from kernel.abi import ALL_RIGHTS, MAX_NAME, NULL, SPACE_COST, Error, Fault, Right, TraceEvent
from kernel.capability import Capability, KernelObject, Refused, check_flow
from kernel.device import POLICY, Device
from kernel.effects import Kill
from kernel.endpoint import Endpoint, post_fault
from kernel.label import CONSUME, PRODUCE

if TYPE_CHECKING:
    from kernel.frame import Mapping
    from kernel.kernel import Kernel
    from kernel.quota import Account
    from kernel.thread import Thread

Kind = TypeVar("Kind", bound=KernelObject)


class Space(KernelObject):
    """A protection domain."""

    __slots__ = (
        "account",
        "alive",
        "caps",
        "children",
        "creator",
        "fault",
        "flags",
        "last_slot",
        "mappings",
        "name",
        "posted",
        "threads",
        "waiters",
    )

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        label: int,
        account: Account,
        flags: int,
        creator: Space | None = None,
        fault: Capability | None = None,
    ) -> None:
        super().__init__(kernel, label, creator.account if creator else None, SPACE_COST)
        self.name = name
        self.account: Account = account  # charged with what it causes to exist, but itself
        self.flags = flags
        self.creator = creator
        self.children: dict[Space, None] = {}  # the living ones that it created
        self.fault = fault  # the creator's capability; no message once it is gone
        self.posted = False  # its fault message is queued, and so its record still charged
        self.caps: dict[int, Capability] = {}
        self.last_slot = NULL  # slots are never used twice, so a stale number names nothing
        self.mappings: dict[int, Mapping] = {}
        self.threads: list[Thread] = []  # the space lives as long as the first
        self.waiters: list[Thread] = []  # threads that wait until the machine has seen its end
        self.alive = True
        self.flows[(label, PRODUCE | CONSUME)] = 1  # whoever controls it talks with its label

    def find(self, slot: int) -> Capability:
        """The capability in a slot, or ``Refused``."""
        cap = self.caps.get(slot)
        if cap is None:
            raise Refused(Error.BAD_CAPABILITY)
        return cap

    def lookup(self, slot: int, kind: type[Kind], rights: int) -> Kind:
        """The object that a slot names, if it is of the kind and the rights are there."""
        cap = self.caps.get(slot)
        if cap is None or not isinstance(cap.object, kind):
            raise Refused(Error.BAD_CAPABILITY)
        if rights & ~cap.rights:
            raise Refused(Error.NO_RIGHT)
        return cap.object

    def space(self, slot: int) -> Space:
        """The living space that a slot names for control, this one for ``NULL``."""
        if slot == NULL:
            return self
        space = self.lookup(slot, Space, Right.CONTROL)
        if not space.alive:
            raise Refused(Error.BAD_CAPABILITY)
        return space

    def end(self, kernel: Kernel, fault: Fault, detail: str, waiter: Thread | None = None) -> None:
        """Take everything from the space and have the machine end it."""
        if waiter is not None and self.id in kernel.spaces and waiter.space is not self:
            waiter.pending += 1
            self.waiters.append(waiter)
        if not self.alive:
            return
        self.alive = False
        if self.creator is not None:
            self.creator.children.pop(self, None)
        first = self.threads[0].id if self.threads else 0
        kernel.note(TraceEvent.FAULT, first, self.id, fault)
        kernel.effects.append(Kill(self, fault, detail))
        for thread in self.threads:
            thread.end(kernel)
        if self.fault is not None and self.fault.space is not None:
            post_fault(kernel, self, self.fault, fault, first, detail)
        kernel.ending.append((self, waiter))
        if len(kernel.ending) > 1:
            return  # one space ends within another's end; a loop, as they nest without limit
        while kernel.ending:
            space, waiter = kernel.ending[0]
            space._release(kernel, waiter)
            kernel.ending.popleft()

    def _release(self, kernel: Kernel, waiter: Thread | None) -> None:
        """Take its children and capabilities from it."""
        for child in tuple(self.children):
            child.end(kernel, Fault.KILLED, f"{self.name}, which created it, ended", waiter)
        for cap in tuple(self.caps.values()):
            if cap.space is not None:  # else gone with another
                capability.delete(kernel, cap)

    def ended(self, kernel: Kernel) -> None:
        """The machine has seen the end: its mappings are gone, its memory is free."""
        if kernel.spaces.pop(self.id, None) is None:
            return
        for mapping in tuple(self.mappings.values()):
            mapping.gone(kernel)
        self.account.close()
        for waiter in self.waiters:
            kernel.settle(waiter)

    def destroy(self, kernel: Kernel) -> None:
        self.end(kernel, Fault.KILLED, "nobody holds a capability to it")
        if not self.posted:
            super().destroy(kernel)

    def heard(self, kernel: Kernel) -> None:
        """Its queued fault message is received, or never will be."""
        self.posted = False
        if not self.holders:
            super().destroy(kernel)


def space_create(
    kernel: Kernel,
    thread: Thread,
    name: str,
    quota: int,
    label: int,
    authority: int,
    flags: int,
    fault: int,
) -> None:
    creator = thread.space
    if not 0 < len(name.encode()) <= MAX_NAME or flags & ~creator.flags:
        raise Refused(Error.BAD_ARGUMENT)
    if label != creator.label and (creator.lookup(authority, Device, Right.CONTROL).name != POLICY):
        raise Refused(Error.BAD_CAPABILITY)
    handler = None
    if fault != NULL:
        check_flow(kernel, creator.lookup(fault, Endpoint, Right.SEND), label, Right.SEND)
        handler = creator.find(fault)
    account = creator.account.open(quota)
    if account is None:
        raise Refused(Error.NO_QUOTA)
    space = Space(kernel, name, label, account, flags, creator, handler)
    try:
        slot = capability.create(kernel, space, creator, ALL_RIGHTS)
    except Refused:
        account.close()
        raise
    kernel.spaces[space.id] = space
    creator.children[space] = None
    kernel.finish(thread, slot)


def space_destroy(kernel: Kernel, thread: Thread, space: int) -> None:
    target = thread.space.lookup(space, Space, Right.CONTROL)
    target.end(kernel, Fault.KILLED, f"destroyed by {thread.space.name}", thread)
    kernel.finish_when_unmapped(thread)
