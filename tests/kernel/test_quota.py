"""Quotas: accounts, and that what user mode can make the kernel keep is paid for."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from kernel.abi import NULL, Error, Right
from kernel.quota import Account
from tools.check import invariants
from tools.check.harness import MIB, Actor, World, provokes


def test_charge_and_refund() -> None:
    account = Account(100)
    assert account.charge(60) and not account.charge(41) and account.free == 40
    account.refund(60)
    assert account.used == 0


def test_opened_account_takes_its_limit_at_once() -> None:
    parent = Account(100)
    child = parent.open(70)
    assert child is not None and parent.free == 30
    assert parent.open(31) is None


def test_closed_account_gives_back_now_and_later() -> None:
    parent = Account(100)
    child = parent.open(70)
    assert child is not None and child.charge(50)
    child.close()
    assert parent.used == 50
    child.refund(50)
    assert parent.used == 0


def test_closed_accounts_nest_without_limit() -> None:
    root = account = Account(1 << 20)
    chain = []
    for _ in range(5000):
        child = account.open(account.free)
        assert child is not None
        chain.append(child)
        account = child
    assert account.charge(1)
    for child in chain:
        child.close()
    assert root.used == 1
    account.refund(1)
    assert root.used == 0


@provokes("endpoint_create", Error.NO_QUOTA)
@provokes("notification_create", Error.NO_QUOTA)
@provokes("frame_create", Error.NO_QUOTA)
@provokes("map", Error.NO_QUOTA)
@provokes("thread_create", Error.NO_QUOTA)
def test_all_that_is_created_is_charged(world: World) -> None:
    child = world.init.child(quota=MIB)
    frame = child.frame()
    while not child.fails_to("endpoint_create"):
        pass
    assert child.fails("endpoint_create") == Error.NO_QUOTA
    assert child.fails("notification_create") == Error.NO_QUOTA
    assert child.fails("frame_create", 4096) == Error.NO_QUOTA
    assert child.fails("frame_create", 1 << 62) == Error.NO_QUOTA
    assert child.fails("thread_create", NULL, "x", b"", 0) == Error.NO_QUOTA
    while not child.fails_to("map", frame, Right.READ):
        pass
    invariants.check(world.kernel)
    world.init.ok("space_destroy", child.slot)
    invariants.check(world.kernel)


def _mint_chain(actor: Actor) -> None:
    slot = list(actor.space.caps)[-1]
    actor.ok("cap_mint", slot, 0, 0, NULL)


def _space(actor: Actor) -> None:
    actor.ok("space_create", "x" * 64, 0, 0, NULL, 0, NULL)


def _map(actor: Actor) -> None:
    frame = next(iter(actor.space.caps))
    actor.ok("map", frame, Right.READ)


def _thread(actor: Actor) -> None:
    actor.ok("thread_create", NULL, "x" * 64, b"", 0)


def _exited(actor: Actor) -> None:
    """A thread that ended, and its capability."""
    actor.spawn().request("thread_exit", 0, "")


@pytest.mark.parametrize(
    "make",
    [
        lambda actor: actor.endpoint(),
        lambda actor: actor.notification(),
        lambda actor: actor.frame(),
        _mint_chain,
        _space,
        _map,
        _thread,
        _exited,
    ],
    ids=["endpoint", "notification", "frame", "capability", "space", "mapping", "thread", "exited"],
)
def test_charge_covers_the_real_memory(world: World, make: Callable[[Actor], object]) -> None:
    child = world.init.child(quota=256 * MIB)
    child.frame()
    world.kernel.note = lambda _: None  # the trace has a size of its own
    rounds = 500
    used = child.space.account.used
    tracemalloc.start()
    for _ in range(rounds):
        make(child)
        world.started.clear()
        world.ended_threads.clear()
    world.answers.clear()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < child.space.account.used - used
