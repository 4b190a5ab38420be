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
    def revoke(self: AnyCapability, waiter: Thread) -> None:
        for child in tuple(self.children)[1:]:
            revoke(child, waiter)
            if child.space is not None:
                child.delete(waiter)

    patch.set(Capability, "revoke", revoke)


def revoke_does_not_wait_for_others(patch: Patch) -> None:
    patch.set(Frame, "settled", lambda *_: None)


def delete_forgets_the_mappings(patch: Patch) -> None:
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
    _derive(patch, int(ALL_RIGHTS), 0)


def badge_changes(patch: Patch) -> None:
    _derive(patch, 0, 1)


def reply_is_not_used_up(patch: Patch) -> None:
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
    patch.set(Thread, "cancel", lambda *_: None)


def deadline_is_kept(patch: Patch) -> None:
    answer = Kernel.answer

    def keep(self: Kernel, thread: Thread, *arguments: Any) -> None:
        deadline = thread.deadline
        answer(self, thread, *arguments)
        thread.deadline = deadline

    patch.set(Kernel, "answer", keep)


def receivers_are_not_counted(patch: Patch) -> None:
    patch.set(Endpoint, "gained", lambda *_: None)


def binding_outlives_its_capability(patch: Patch) -> None:
    patch.set(Notification, "lost", lambda *_: None)


def refund_is_forgotten(patch: Patch) -> None:
    refund = Account.refund
    patch.set(Account, "refund", lambda self, size: size == MAPPING_COST or refund(self, size))


def labels_are_not_asked(patch: Patch) -> None:
    patch.set(KernelObject, "conflicts", lambda *_: False)


def taking_a_pair_away_takes_nothing(patch: Patch) -> None:
    patch.set(device, "_separate", lambda *_: None)


def dead_space_keeps_its_capabilities(patch: Patch) -> None:
    patch.set(Space, "_release", lambda *_: None)


def link_is_not_cut(patch: Patch) -> None:
    patch.set(Link, "lost", lambda *_: None)


def caller_is_forgotten(patch: Patch) -> None:
    """A reply that is lost leaves its caller waiting."""
    patch.set(Reply, "lost", lambda *_: None)


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
)
