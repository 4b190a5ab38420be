"""Kernels that are broken on purpose: the search must find each of them out.

A mutant replaces one part of the kernel by one that is wrong in a way that a programmer could have
got it wrong, for as long as it is ``applied``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kernel import device, endpoint
from kernel.abi import ALL_RIGHTS, MAPPING_COST
from kernel.capability import Capability, KernelObject
from kernel.endpoint import Endpoint, Message, Reply
from kernel.frame import Frame, Mapping
from kernel.kernel import Kernel
from kernel.link import Link
from kernel.notification import Notification
from kernel.quota import Account
from kernel.space import Space
from kernel.thread import Thread

AnyCapability = Capability[Any]


class Patch:
    """Attributes that are other than they were."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, target: Any, name: str, value: Any) -> None:
        self._before.append((target, name, getattr(target, name)))
        setattr(target, name, value)

    def undo(self) -> None:
        while self._before:
            setattr(*self._before.pop())


Mutant = Callable[[Patch], None]


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Have the kernel broken for a while."""
    patch = Patch()
    try:
        mutant(patch)
        yield
    finally:
        patch.undo()


def revoke_skips_a_child(patch: Patch) -> None:
    """A revoke leaves the first capability that was derived."""

    def revoke(self: AnyCapability, waiter: Thread) -> None:
        for child in tuple(self.children)[1:]:
            revoke(child, waiter)
            if child.space is not None:
                child.delete(waiter)

    patch.set(Capability, "revoke", revoke)


def revoke_does_not_wait_for_others(patch: Patch) -> None:
    """A revoke does not wait for mappings that were being removed before it."""
    patch.set(Frame, "settled", lambda *_: None)


def delete_forgets_the_mappings(patch: Patch) -> None:
    """A capability goes, and what was mapped through it stays."""
    remove = Mapping.remove

    def forget(self: Mapping, waiter: Thread | None, asked: bool = False) -> None:
        if asked:
            remove(self, waiter, asked)

    patch.set(Mapping, "remove", forget)


def _derive(patch: Patch, rights: int, badge: int) -> None:
    """Derived capabilities have more rights, and another badge."""

    def derive(self: AnyCapability, asked: int, own: int, target: Space) -> int:
        wrong = Capability(self.object, asked | rights, (own or self.badge) + badge, self)
        return wrong.install(target)

    patch.set(Capability, "derive", derive)


def rights_grow(patch: Patch) -> None:
    """A derived capability has all rights."""
    _derive(patch, int(ALL_RIGHTS), 0)


def badge_changes(patch: Patch) -> None:
    """A derived capability has another badge."""
    _derive(patch, 0, 1)


def reply_is_not_used_up(patch: Patch) -> None:
    """A call can be answered twice."""
    patch.set(Reply, "use", lambda self, _: self.caller)


def message_is_delivered_again(patch: Patch) -> None:
    """A message that waited is taken, and waits on."""
    deliver = endpoint._deliver

    def again(sender: Thread, receiver: Thread, message: Message) -> None:
        queue = sender.queue
        deliver(sender, receiver, message)
        if queue is not None:
            queue.appendleft(sender)

    patch.set(endpoint, "_deliver", again)


def cancelled_thread_stays_in_its_queue(patch: Patch) -> None:
    """A thread that gives up waiting is still in the queue."""
    patch.set(Thread, "cancel", lambda *_: None)


def deadline_is_kept(patch: Patch) -> None:
    """A call that was answered can still time out."""
    answer = Kernel.answer

    def keep(self: Kernel, thread: Thread, *arguments: Any) -> None:
        deadline = thread.deadline
        answer(self, thread, *arguments)
        thread.deadline = deadline

    patch.set(Kernel, "answer", keep)


def receivers_are_not_counted(patch: Patch) -> None:
    """An endpoint does not know that somebody can receive from it."""
    patch.set(Endpoint, "gained", lambda *_: None)


def binding_outlives_its_capability(patch: Patch) -> None:
    """A thread goes on to hear a notification that it has lost."""
    patch.set(Notification, "lost", lambda *_: None)


def refund_is_forgotten(patch: Patch) -> None:
    """The quota that a mapping took is not given back."""
    refund = Account.refund
    patch.set(Account, "refund", lambda self, size: size == MAPPING_COST or refund(self, size))


def labels_are_not_asked(patch: Patch) -> None:
    """A capability is installed whatever the labels."""
    patch.set(KernelObject, "conflicts", lambda *_: False)


def taking_a_pair_away_takes_nothing(patch: Patch) -> None:
    """Labels may not talk any more, and keep what they share."""
    patch.set(device, "_separate", lambda *_: None)


def dead_space_keeps_its_capabilities(patch: Patch) -> None:
    """A space ends and its capabilities stay."""
    patch.set(Space, "_release", lambda *_: None)


def link_is_not_cut(patch: Patch) -> None:
    """A link goes on when the capability to its end is gone."""
    patch.set(Link, "lost", lambda *_: None)


def caller_is_forgotten(patch: Patch) -> None:
    """A reply that is lost leaves its caller waiting."""
    patch.set(Reply, "lost", lambda *_: None)


def quota_is_not_charged(patch: Patch) -> None:
    """A mapping costs nothing, and is paid back."""
    charge = Account.charge
    patch.set(Account, "charge", lambda self, size: size == MAPPING_COST or charge(self, size))


def quota_has_no_limit(patch: Patch) -> None:
    """What a quota has no room for is charged all the same."""

    def charge(self: Account, size: int) -> bool:
        self.used += size
        return True

    patch.set(Account, "charge", charge)


def timeout_is_forgotten(patch: Patch) -> None:
    """A call with a timeout waits for ever."""
    patch.set(Kernel, "set_deadline", lambda *_: None)


def unmapping_is_believed(patch: Patch) -> None:
    """A revoke returns before the machine has confirmed that a mapping is gone."""

    def finish(self: Thread, *results: Any) -> None:
        self.kernel.answer(self, (0, *results))

    patch.set(Thread, "finish", finish)


def any_mapping_is_writable(patch: Patch) -> None:
    """A frame that may only be read is mapped for writing."""
    patch.set(Capability, "for_writing", lambda *_: True)


def fault_is_lost(patch: Patch) -> None:
    """A space's fault message is queued although somebody is there who would hear it."""

    def post(self: Endpoint, space: Space, badge: int, *_: object) -> None:
        space.posted = True
        self.faults.append((space, badge, b""))

    patch.set(Endpoint, "post_fault", post)


def child_outlives_its_creator(patch: Patch) -> None:
    """A space ends and those that it created go on."""

    def release(self: Space, waiter: Thread | None) -> None:
        self.children.clear()
        for cap in tuple(self.caps.values()):
            if cap.space is not None and not isinstance(cap.object, Space):
                cap.delete()

    patch.set(Space, "_release", release)


MUTANTS: tuple[Mutant, ...] = (
    revoke_skips_a_child,
    revoke_does_not_wait_for_others,
    delete_forgets_the_mappings,
    rights_grow,
    badge_changes,
    reply_is_not_used_up,
    message_is_delivered_again,
    cancelled_thread_stays_in_its_queue,
    deadline_is_kept,
    receivers_are_not_counted,
    binding_outlives_its_capability,
    refund_is_forgotten,
    labels_are_not_asked,
    taking_a_pair_away_takes_nothing,
    dead_space_keeps_its_capabilities,
    link_is_not_cut,
    caller_is_forgotten,
    quota_is_not_charged,
    quota_has_no_limit,
    timeout_is_forgotten,
    unmapping_is_believed,
    any_mapping_is_writable,
    fault_is_lost,
    child_outlives_its_creator,
)
