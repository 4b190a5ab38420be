"""Address spaces: the protection domains.

A space is a table of capabilities, mappings of frames, threads, a quota and a label.  It ends when
its first thread does, when any of its threads fails, when it is destroyed, or when the last
capability to it goes; its fault endpoint then gets one message that says why.  Whoever destroyed
it waits until the machine has seen the end of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kernel import capability
from kernel.abi import ALL_RIGHTS, MAX_NAME, NULL, SPACE_COST, Error, Fault, Right, TraceEvent
from kernel.capability import Capability, KernelObject, Refused
from kernel.device import POLICY, Device
from kernel.effects import Kill
from kernel.endpoint import Endpoint, post_fault
from kernel.label import CONSUME, PRODUCE

if TYPE_CHECKING:
    from kernel.frame import Mapping
    from kernel.kernel import Kernel
    from kernel.quota import Account
    from kernel.thread import Thread

O = TypeVar("O", bound=KernelObject)


class Space(KernelObject):
    """A protection domain."""

    __slots__ = (
        "account",
        "alive",
        "caps",
        "fault",
        "flags",
        "last_slot",
        "mappings",
        "name",
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
        fault: Capability | None = None,
    ) -> None:
        super().__init__(kernel, label, account.parent, SPACE_COST if account.parent else 0)
        self.name = name
        self.account = account  # what it causes to exist is charged to; payer paid for itself
        self.flags = flags
        self.fault = fault  # the creator's capability; no message once it is gone
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

    def lookup(self, slot: int, kind: type[O], rights: int) -> O:
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
        first = self.threads[0].id if self.threads else 0
        kernel.note(TraceEvent.FAULT, first, self.id, fault)
        kernel.effects.append(Kill(self, fault, detail))
        for thread in self.threads:
            thread.end(kernel)
        for cap in tuple(self.caps.values()):
            if cap.space is not None:  # else gone with another
                capability.delete(kernel, cap)
        if self.fault is not None and self.fault.space is not None:
            post_fault(kernel, self.fault, fault, first, detail)

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
    if label != creator.label:
        if creator.lookup(authority, Device, Right.CONTROL).name != POLICY:
            raise Refused(Error.BAD_CAPABILITY)
    handler = None
    if fault != NULL:
        creator.lookup(fault, Endpoint, Right.SEND)
        handler = creator.find(fault)
    account = creator.account.open(quota)
    if account is None:
        raise Refused(Error.NO_QUOTA)
    space = Space(kernel, name, label, account, flags, handler)
    try:
        slot = capability.create(kernel, space, creator, ALL_RIGHTS)
    except Refused:
        account.close()
        raise
    kernel.spaces[space.id] = space
    kernel.finish(thread, slot)


def space_destroy(kernel: Kernel, thread: Thread, space: int) -> None:
    target = thread.space.lookup(space, Space, Right.CONTROL)
    target.end(kernel, Fault.KILLED, f"destroyed by {thread.space.name}", thread)
    kernel.finish_when_unmapped(thread)
