"""Capabilities: the only names that user mode has for kernel objects.

A capability is an object, rights and a badge, in one slot of one address space's table.  Each
knows the capability it was derived from and those derived from it, across all address spaces.
The laws, which the tests search for violations of:

* No capability appears but at the creation of its object, or by derivation from one that exists.
* Rights never grow along a derivation; a badge once set is never changed.
* After a revoke returns, nothing derived from the capability is left, nor any mapping through it.
* The labels of an object's holders may talk wherever something could flow between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernel.abi import CAPABILITY_COST, NULL, Error, Right, TraceEvent
from kernel.label import flow, meet

if TYPE_CHECKING:
    from kernel.frame import Mapping
    from kernel.kernel import Kernel
    from kernel.quota import Account
    from kernel.space import Space
    from kernel.thread import Thread


class Refused(Exception):
    """The system call ends with this error and has changed nothing."""

    def __init__(self, error: Error) -> None:
        self.error = error


class KernelObject:
    """What a capability can name.  ``machine`` is for the machine below; the kernel ignores it."""

    __slots__ = ("cost", "flows", "holders", "id", "label", "machine", "payer")

    derivable = True  # whether capabilities to it can be derived from one another

    def __init__(self, kernel: Kernel, label: int, payer: Account | None, cost: int) -> None:
        self.id = kernel.next_id()
        self.label = label  # of the space that created it
        self.payer = payer  # the account that is charged with cost
        self.cost = cost
        self.holders: dict[Capability, None] = {}  # all that name it; a dict keeps their order
        self.flows: dict[tuple[int, int], int] = {}  # (label, flow) of the holders -> how many
        self.machine: Any = None

    def gained(self, cap: Capability) -> None:
        """``cap``, which names this object, was installed."""

    def lost(self, kernel: Kernel, cap: Capability) -> None:
        """``cap``, which named this object, was deleted; called before ``destroy`` if the last."""

    def destroy(self, kernel: Kernel) -> None:
        """The last capability is gone."""
        if self.payer is not None:
            self.payer.refund(self.cost)
        kernel.note(TraceEvent.DESTROY, 0, self.id)

    def settled(self, kernel: Kernel, waiter: Thread) -> None:
        """Let ``waiter`` wait until what was taken from holders of it earlier is gone as well."""


class Capability:
    """One entry of one capability table."""

    __slots__ = ("badge", "children", "mappings", "object", "parent", "rights", "slot", "space")

    def __init__(
        self, obj: KernelObject, rights: int, badge: int, parent: Capability | None
    ) -> None:
        self.object = obj
        self.rights = rights
        self.badge = badge
        self.parent = parent
        self.children: dict[Capability, None] = {}
        self.mappings: dict[Mapping, None] = {}
        self.space: Space | None = None
        self.slot = NULL


def check_flow(kernel: Kernel, obj: KernelObject, label: int, rights: int) -> None:
    """Refuse if a holder with ``label`` and ``rights`` would conflict with another holder."""
    mine = flow(rights)
    for other, theirs in obj.flows:
        if other != label and meet(mine, theirs) and not kernel.labels.may(label, other):
            raise Refused(Error.DENIED)


def install(kernel: Kernel, cap: Capability, space: Space) -> int:
    """Put ``cap`` into a table, charged to its space; return the slot."""
    obj = cap.object
    check_flow(kernel, obj, space.label, cap.rights)
    if not space.account.charge(CAPABILITY_COST):
        raise Refused(Error.NO_QUOTA)
    space.last_slot = slot = space.last_slot + 1
    space.caps[slot] = cap
    cap.space, cap.slot = space, slot
    obj.holders[cap] = None
    if cap.parent is not None:
        cap.parent.children[cap] = None
    key = (space.label, flow(cap.rights))
    obj.flows[key] = obj.flows.get(key, 0) + 1
    obj.gained(cap)
    return slot


def _uninstall(cap: Capability) -> None:
    space = cap.space
    assert space is not None
    del space.caps[cap.slot]
    space.account.refund(CAPABILITY_COST)
    flows = cap.object.flows
    key = (space.label, flow(cap.rights))
    if key in flows:  # replies are issued without it: they flow where their call did
        flows[key] -= 1
        if not flows[key]:
            del flows[key]


def create(kernel: Kernel, obj: KernelObject, space: Space, rights: int) -> int:
    """Charge a new object to its payer and install the first capability to it."""
    if obj.payer is not None and not obj.payer.charge(obj.cost):
        raise Refused(Error.NO_QUOTA)
    try:
        slot = install(kernel, Capability(obj, int(rights), 0, None), space)
    except Refused:
        if obj.payer is not None:
            obj.payer.refund(obj.cost)
        raise
    kernel.note(TraceEvent.CREATE, 0, obj.id)
    return slot


def derive(kernel: Kernel, source: Capability, rights: int, badge: int, space: Space) -> int:
    """Install a capability derived from ``source`` in ``space``; return its slot there."""
    if rights & ~source.rights:
        raise Refused(Error.NO_RIGHT)
    if badge and source.badge and badge != source.badge:
        raise Refused(Error.BAD_ARGUMENT)
    if not source.object.derivable:
        raise Refused(Error.NO_RIGHT)
    return install(kernel, Capability(source.object, rights, badge or source.badge, source), space)


def delete(kernel: Kernel, cap: Capability, waiter: Thread | None = None) -> None:
    """Delete one capability; ``waiter`` will wait for the mappings made through it to be gone."""
    _uninstall(cap)
    parent, obj = cap.parent, cap.object
    if parent is not None:
        del parent.children[cap]
        parent.children.update(cap.children)
    for child in cap.children:
        child.parent = parent
    cap.children = {}
    for mapping in tuple(cap.mappings):
        mapping.remove(kernel, waiter, asked=False)
    del obj.holders[cap]
    cap.space = None
    obj.lost(kernel, cap)
    if not obj.holders:
        obj.destroy(kernel)


def revoke(kernel: Kernel, cap: Capability, waiter: Thread | None = None) -> None:
    """Delete all that is derived from ``cap``, the leaves first."""
    order, todo = [], list(cap.children)
    while todo:
        child = todo.pop()
        order.append(child)
        todo.extend(child.children)
    for child in reversed(order):
        if child.space is not None:  # else deleted meanwhile, with an object or space it kept alive
            delete(kernel, child, waiter)


def cap_mint(
    kernel: Kernel, thread: Thread, source: int, rights: int, badge: int, space: int
) -> None:
    cap = thread.space.find(source)
    target = thread.space.space(space)
    if target is not thread.space and not cap.rights & Right.GRANT:
        raise Refused(Error.NO_RIGHT)
    kernel.finish(thread, derive(kernel, cap, rights, badge, target))


def cap_move(kernel: Kernel, thread: Thread, source: int, space: int) -> None:
    cap = thread.space.find(source)
    target = thread.space.space(space)
    if target is not thread.space and not cap.rights & Right.GRANT:
        raise Refused(Error.NO_RIGHT)
    if cap.mappings:
        raise Refused(Error.BAD_ARGUMENT)  # a mapping belongs to the space it was made in
    check_flow(kernel, cap.object, target.label, cap.rights)
    if target is not thread.space and target.account.free < CAPABILITY_COST:
        raise Refused(Error.NO_QUOTA)
    if not cap.object.derivable:
        raise Refused(Error.NO_RIGHT)
    _uninstall(cap)
    slot = install(kernel, cap, target)
    cap.object.lost(kernel, cap)  # whoever was blocked through it; as a whole nothing is lost
    kernel.finish(thread, slot)


def cap_drop(kernel: Kernel, thread: Thread, source: int) -> None:
    delete(kernel, thread.space.find(source), thread)
    kernel.finish_when_unmapped(thread)


def cap_revoke(kernel: Kernel, thread: Thread, source: int) -> None:
    cap = thread.space.find(source)
    revoke(kernel, cap, thread)
    cap.object.settled(kernel, thread)
    kernel.finish_when_unmapped(thread)
