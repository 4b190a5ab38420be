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

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kernel.abi import ALL_RIGHTS, CAPABILITY_COST, NULL, Error, Right, TraceEvent
from kernel.label import flow, meet

if TYPE_CHECKING:
    from kernel.kernel import Account, Kernel, Mapping, Space, Thread

FULL = int(ALL_RIGHTS & ~Right.CONTROL)
"""The rights of the first capability to an endpoint, notification or frame."""


class Refused(Exception):
    """The system call ends with this error and has changed nothing."""

    def __init__(self, error: Error) -> None:
        self.error = error


def require(condition: object, error: Error) -> None:
    """Refuse the call with ``error`` unless the condition holds."""
    if not condition:
        raise Refused(error)


class KernelObject:
    """What a capability can name.  ``machine`` is for the machine below; the kernel ignores it."""

    derivable = True  # whether capabilities to it can be derived from one another

    def __init__(self, kernel: Kernel, label: int, payer: Account | None, cost: int) -> None:
        self.kernel = kernel
        self.id = kernel.next_id()
        self.kind = type(self).__name__
        self.label = label  # of the space that created it
        self.payer, self.cost = payer, cost  # the account that is charged, and with how much
        self.holders: dict[Capability[Any], None] = {}  # who name it; a dict keeps their order
        self.flows: dict[tuple[int, int], int] = {}  # (label, flow) of the holders -> how many
        self.machine: Any = None

    def create(self, space: Space, rights: int = FULL) -> int:
        """Charge the new object to its payer and install the first capability to it."""
        assert self.payer is not None
        cost = self.cost + (CAPABILITY_COST if self.payer is space.account else 0)
        require(self.payer.free >= cost, Error.NO_QUOTA)
        slot = Capability(self, rights).install(space)
        self.payer.charge(self.cost)
        self.kernel.note((self.kernel.now, TraceEvent.CREATE, 0, self.id, 0))
        return slot

    def conflicts(self, label: int, rights: int) -> bool:
        """Whether something could flow between a holder with these and one it may not talk to."""
        mine, may = flow(rights), self.kernel.labels.may
        return any(meet(mine, theirs) and not may(label, other) for other, theirs in self.flows)

    def gained(self, cap: Capability[Any]) -> None:
        """``cap``, which names this object, was installed."""

    def lost(self, cap: Capability[Any]) -> None:
        """``cap``, which named this object, was deleted; called before ``destroy`` if the last."""

    def destroy(self) -> None:
        """The last capability is gone."""
        if self.payer is not None:
            self.payer.refund(self.cost)
        self.kernel.note((self.kernel.now, TraceEvent.DESTROY, 0, self.id, 0))

    def settled(self, waiter: Thread) -> None:
        """Let ``waiter`` wait until what was taken from holders of it earlier is gone as well."""


Kind = TypeVar("Kind", bound=KernelObject, covariant=True)


class Capability(Generic[Kind]):
    """One entry of one capability table."""

    __slots__ = ("badge", "children", "mappings", "object", "parent", "rights", "slot", "space")

    def __init__(
        self, obj: Kind, rights: int, badge: int = 0, parent: Capability[Kind] | None = None
    ) -> None:
        self.object, self.rights, self.badge = obj, rights, badge
        self.parent = parent  # it was derived from
        self.children: dict[Capability[Kind], None] = {}
        self.mappings: dict[Mapping, None] = {}
        self.space: Space | None = None  # in whose table it is; None once it is deleted
        self.slot = NULL

    def install(self, space: Space) -> int:
        """Put it into a table, charged to its space; return the slot."""
        obj = self.object
        require(not obj.conflicts(space.label, self.rights), Error.DENIED)
        require(space.account.charge(CAPABILITY_COST), Error.NO_QUOTA)
        space.last_slot = self.slot = slot = space.last_slot + 1
        space.caps[slot] = self
        self.space = space
        obj.holders[self] = None
        if self.parent is not None:
            self.parent.children[self] = None
        key = (space.label, flow(self.rights))
        obj.flows[key] = obj.flows.get(key, 0) + 1
        obj.gained(self)
        return slot

    def uninstall(self) -> None:
        """The reverse of ``install``, but for what was derived from it."""
        space, self.space, obj = self.space, None, self.object
        assert space is not None
        del space.caps[self.slot], obj.holders[self]
        space.account.refund(CAPABILITY_COST)
        if obj.flows:  # a reply has none: it flows where its call did
            key = (space.label, flow(self.rights))
            obj.flows[key] -= 1
            if not obj.flows[key]:
                del obj.flows[key]

    def derive(self, rights: int, badge: int, space: Space) -> int:
        """Install a capability derived from this one in ``space``; return its slot there."""
        require(not rights & ~self.rights, Error.NO_RIGHT)
        require(not badge or self.badge in (0, badge), Error.BAD_ARGUMENT)
        require(self.object.derivable, Error.NO_RIGHT)
        return Capability(self.object, rights, badge or self.badge, self).install(space)

    def delete(self, waiter: Thread | None = None) -> None:
        """Delete it; ``waiter`` will wait for the mappings made through it to be gone."""
        self.uninstall()
        if self.parent is not None:
            del self.parent.children[self]
            self.parent.children.update(self.children)
        for child in self.children:
            child.parent = self.parent
        self.children = {}
        for mapping in tuple(self.mappings):
            mapping.remove(waiter)
        self.object.lost(self)
        if not self.object.holders:
            self.object.destroy()

    def revoke(self, waiter: Thread) -> None:
        """Delete all that is derived from it, the leaves first."""
        order = list(self.children)
        for child in order:
            order.extend(child.children)
        for child in reversed(order):
            if child.space is not None:  # else gone with an object or space that it kept alive
                child.delete(waiter)

    def for_writing(self, rights: int) -> bool:
        """Whether a mapping with these rights is, which this capability must allow."""
        require(rights in (Right.READ, Right.READ | Right.WRITE), Error.BAD_ARGUMENT)
        require(not rights & ~self.rights, Error.NO_RIGHT)
        return rights != Right.READ


def _target(thread: Thread, cap: Capability[Any], space: Capability[Space] | None) -> Space:
    """The living space that a capability is minted or moved into."""
    target = thread.space.reach(space)
    require(target is thread.space or cap.rights & Right.GRANT, Error.NO_RIGHT)
    return target


def cap_mint(
    thread: Thread, cap: Capability[Any], rights: int, badge: int, space: Capability[Space] | None
) -> None:
    thread.finish(cap.derive(rights, badge, _target(thread, cap, space)))


def cap_move(thread: Thread, cap: Capability[Any], space: Capability[Space] | None) -> None:
    target = _target(thread, cap, space)
    require(not cap.mappings, Error.BAD_ARGUMENT)  # a mapping belongs to the space it was made in
    require(not cap.object.conflicts(target.label, cap.rights), Error.DENIED)
    require(target is thread.space or target.account.free >= CAPABILITY_COST, Error.NO_QUOTA)
    require(cap.object.derivable, Error.NO_RIGHT)
    cap.uninstall()
    cap.install(target)
    cap.object.lost(cap)  # whoever was blocked through it; as a whole nothing is lost
    thread.finish(cap.slot)


def cap_drop(thread: Thread, cap: Capability[Any]) -> None:
    cap.delete(thread)
    thread.finish()


def cap_revoke(thread: Thread, cap: Capability[Any]) -> None:
    cap.revoke(thread)
    cap.object.settled(thread)
    thread.finish()
