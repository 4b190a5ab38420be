"""Notifications: a word of bits that is never lost and never queues up."""

from __future__ import annotations

from kernel.abi import FOREVER, LABEL_NOTIFICATION, NULL, Error, Fault, Right, ThreadOp
from tools.check import invariants
from tools.check.harness import FULL, World, provokes


def test_signals_are_ored_until_somebody_asks(world: World) -> None:
    init = world.init
    notification = init.notification()
    init.ok("signal", notification, 1)
    init.ok("signal", notification, 4)
    assert init.ok("wait", notification, FOREVER) == 5
    assert init.ok("poll", notification) == 0


def test_signal_wakes_the_first_waiter_alone(world: World) -> None:
    init = world.init
    notification = init.notification()
    first, second = init.spawn(), init.spawn()
    first.blocks("wait", notification, FOREVER)
    second.blocks("wait", notification, FOREVER)
    init.ok("signal", notification, 2)
    assert first.result() == 2 and not second.answered()
    invariants.check(world.kernel)


def test_signal_of_nothing_wakes_nobody(world: World) -> None:
    init = world.init
    notification = init.notification()
    waiter = init.spawn().blocks("wait", notification, FOREVER)
    init.ok("signal", notification, 0)
    assert not waiter.answered()


def test_badge_is_sent_instead_of_the_bits(world: World) -> None:
    init = world.init
    notification = init.notification()
    init.ok("signal", init.mint(notification, Right.SEND, 8), 1)
    assert init.ok("poll", notification) == 8


def test_bound_thread_hears_it_where_it_receives(world: World) -> None:
    init = world.init
    notification, endpoint = init.notification(), init.endpoint()
    server = init.spawn()
    server.ok("thread_control", NULL, ThreadOp.BIND, notification)
    server.receive(endpoint)
    init.ok("signal", notification, 3)
    assert server.result() == (3, LABEL_NOTIFICATION, b"", [], NULL)
    init.ok("signal", notification, 4)
    assert server.ok("recv", endpoint, 0)[:2] == (4, LABEL_NOTIFICATION)


def test_bound_thread_that_does_something_else_hears_it_later(world: World) -> None:
    init = world.init
    notification, other = init.notification(), init.notification()
    server = init.spawn()
    server.ok("thread_control", NULL, ThreadOp.BIND, notification)
    server.blocks("wait", other, FOREVER)
    init.ok("signal", notification, 1)
    assert not server.answered()
    assert init.ok("poll", notification) == 1


@provokes("signal", Error.BAD_CAPABILITY)
@provokes("wait", Error.BAD_CAPABILITY)
@provokes("poll", Error.BAD_CAPABILITY)
def test_what_is_no_notification(world: World) -> None:
    for slot in (NULL, 999, world.init.endpoint()):
        world.init.fails("signal", slot, 1)
        world.init.fails("wait", slot, FOREVER)
        world.init.fails("poll", slot)


@provokes("signal", Error.NO_RIGHT)
@provokes("wait", Error.NO_RIGHT)
@provokes("poll", Error.NO_RIGHT)
def test_rights(world: World) -> None:
    notification = world.init.notification()
    world.init.fails("signal", world.init.mint(notification, Right.RECEIVE), 1)
    deaf = world.init.mint(notification, Right.SEND)
    world.init.fails("wait", deaf, FOREVER)
    world.init.fails("poll", deaf)


@provokes("wait", Error.TIMED_OUT)
def test_timeouts(world: World) -> None:
    notification = world.init.notification()
    world.init.fails("wait", notification, 0)
    world.init.blocks("wait", notification, 10)
    world.advance(9)
    assert not world.init.answered()
    world.advance(1)
    assert world.init.error() == Error.TIMED_OUT


@provokes("wait", Error.CANCELLED)
def test_revoked_while_waiting(world: World) -> None:
    child = world.init.child()
    notification = world.init.notification()
    child.blocks("wait", world.init.mint(notification, FULL, 0, child), FOREVER)
    world.init.ok("cap_revoke", notification)
    assert child.error() == Error.CANCELLED


def test_waiter_s_death(world: World) -> None:
    child = world.init.child()
    notification = world.init.notification()
    child.blocks("wait", world.init.mint(notification, FULL, 0, child), FOREVER)
    world.carry_out(world.kernel.died(child.space, Fault.CRASHED, ""))
    world.init.ok("signal", notification, 1)
    assert world.init.ok("poll", notification) == 1
    invariants.check(world.kernel)
