"""Broken kernels that the walk must find out: the checks are able to fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from kernel import device, endpoint
from kernel.abi import ALL_RIGHTS, MAPPING_COST
from kernel.capability import Capability, KernelObject
from kernel.endpoint import Endpoint, Message, Reply
from kernel.frame import Frame, Mapping
from kernel.kernel import Kernel
from kernel.notification import Notification
from kernel.quota import Account
from kernel.space import Space
from kernel.thread import Thread
from tests.kernel.test_state_machine import KernelMachine
from tests.kernel.walk import Walker

WALKS = 40
STEPS = 400

AnyCapability = Capability[Any]
Mutant = Callable[[pytest.MonkeyPatch], None]


def revoke_skips_a_child(patch: pytest.MonkeyPatch) -> None:
    def revoke(self: AnyCapability, waiter: Thread) -> None:
        for child in tuple(self.children)[1:]:
            revoke(child, waiter)
            if child.space is not None:
                child.delete(waiter)

    patch.setattr(Capability, "revoke", revoke)


def revoke_does_not_wait_for_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Frame, "settled", lambda *_: None)


def delete_forgets_the_mappings(patch: pytest.MonkeyPatch) -> None:
    remove = Mapping.remove

    def forget(self: Mapping, waiter: Thread | None, asked: bool = False) -> None:
        if asked:
            remove(self, waiter, asked)

    patch.setattr(Mapping, "remove", forget)


def _derive(patch: pytest.MonkeyPatch, rights: int, badge: int) -> None:
    """Derived capabilities have more rights, and another badge."""

    def derive(self: AnyCapability, asked: int, own: int, target: Space) -> int:
        wrong = Capability(self.object, asked | rights, (own or self.badge) + badge, self)
        return wrong.install(target)

    patch.setattr(Capability, "derive", derive)


def rights_grow(patch: pytest.MonkeyPatch) -> None:
    _derive(patch, int(ALL_RIGHTS), 0)


def badge_changes(patch: pytest.MonkeyPatch) -> None:
    _derive(patch, 0, 1)


def reply_is_not_used_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reply, "use", lambda self, _: self.caller)


def message_is_delivered_again(patch: pytest.MonkeyPatch) -> None:
    deliver = endpoint._deliver
    last: list[Message] = []

    def again(sender: Thread, receiver: Thread, message: Message) -> None:
        deliver(sender, receiver, last.pop() if last else message)
        last.append(message)

    patch.setattr(endpoint, "_deliver", again)


def cancelled_thread_stays_in_its_queue(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Thread, "cancel", lambda *_: None)


def deadline_is_kept(patch: pytest.MonkeyPatch) -> None:
    answer = Kernel.answer

    def keep(self: Kernel, thread: Thread, *arguments: Any) -> None:
        deadline = thread.deadline
        answer(self, thread, *arguments)
        thread.deadline = deadline

    patch.setattr(Kernel, "answer", keep)


def receivers_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endpoint, "gained", lambda *_: None)


def binding_outlives_its_capability(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Notification, "lost", lambda *_: None)


def refund_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    refund = Account.refund
    patch.setattr(Account, "refund", lambda self, size: size == MAPPING_COST or refund(self, size))


def labels_are_not_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KernelObject, "conflicts", lambda *_: False)


def taking_a_pair_away_takes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(device, "_separate", lambda *_: None)


def dead_space_keeps_its_capabilities(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Space, "_release", lambda *_: None)


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
)


def walk() -> None:
    for seed in range(WALKS):
        walker = Walker(random.Random(seed).randrange)
        for _ in range(STEPS):
            walker.step()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_walk_finds(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        walk()


@pytest.mark.parametrize(
    "mutant", [refund_is_forgotten, rights_grow, reply_is_not_used_up], ids=lambda m: m.__name__
)
def test_hypothesis_finds(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    only_find = settings(KernelMachine.TestCase.settings, phases=[Phase.generate], max_examples=200)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(KernelMachine, settings=only_find)
