"""Threads: creation, control, suspension, and their end."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kernel.abi import (
    FOREVER,
    LABEL_NOTIFICATION,
    NULL,
    OBJECT_COST,
    THREAD_COST,
    Error,
    Fault,
    Right,
    ThreadOp,
    ThreadState,
)
from kernel.effects import EndThread, Schedule, Start
from tools.check import invariants
from tools.check.harness import FULL, Service, World, provokes


def test_create_starts_it(world: World) -> None:
    slot = world.init.ok("thread_create", NULL, "worker", b"argument", 10)
    start = world.effects[0]
    assert isinstance(start, Start)
    assert (start.entry, start.argument, start.thread.priority) == ("worker", b"argument", 10)
    assert world.init.space.caps[slot].object is start.thread


def test_nobody_gives_a_priority_above_its_own(world: World) -> None:
    low = world.init.child(priority=50)
    assert low.spawn(priority=255).thread.priority == 50
    low.ok("thread_control", NULL, ThreadOp.PRIORITY, 200)
    assert low.thread.priority == 50
    low.ok("thread_control", NULL, ThreadOp.PRIORITY, 20)
    low.ok("thread_control", NULL, ThreadOp.PRIORITY, 50)
    assert low.thread.priority == 20
    world.init.ok("thread_control", low.control, ThreadOp.PRIORITY, 60)
    assert low.thread.priority == 60


@provokes("thread_create", Error.BAD_CAPABILITY)
def test_create_in_what_is_no_space(world: World) -> None:
    world.init.fails("thread_create", 999, "x", b"", 0)
    world.init.fails("thread_create", world.init.endpoint(), "x", b"", 0)


@provokes("thread_create", Error.NO_RIGHT)
def test_create_needs_control_of_the_space(world: World) -> None:
    child = world.init.child()
    weak = world.init.mint(child.slot, Right.READ)
    world.init.fails("thread_create", weak, "x", b"", 0)


@provokes("thread_create", Error.BAD_ARGUMENT)
@pytest.mark.parametrize(
    ("entry", "priority"), [("", 0), ("x" * 65, 0), ("é" * 33, 0), ("x", 256), ("x", 1 << 63)]
)
def test_bad_entries_and_priorities(world: World, entry: str, priority: int) -> None:
    world.init.fails("thread_create", NULL, entry, b"", priority)


@provokes("thread_control", Error.BAD_CAPABILITY)
def test_control_of_the_dead(world: World) -> None:
    other = world.init.spawn()
    other.request("thread_exit", Fault.EXIT, "")
    world.init.fails("thread_control", other.control, ThreadOp.SUSPEND, 0)
    world.init.fails("thread_control", world.init.endpoint(), ThreadOp.SUSPEND, 0)


@provokes("thread_control", Error.NO_RIGHT)
def test_control_needs_the_right(world: World) -> None:
    weak = world.init.mint(world.init.child().control, Right.GRANT)
    world.init.fails("thread_control", weak, ThreadOp.SUSPEND, 0)
    deaf = world.init.mint(world.init.notification(), Right.SEND)
    world.init.fails("thread_control", NULL, ThreadOp.BIND, deaf)


@provokes("thread_control", Error.BAD_ARGUMENT)
@pytest.mark.parametrize(
    ("operation", "value"),
    [
        (len(ThreadOp), 0),
        (1 << 63, 0),
        (ThreadOp.PRIORITY, 256),
        (ThreadOp.BUDGET, 2 << 32 | 1),
        (ThreadOp.BUDGET, (1 << 64) - 2),
    ],
)
def test_bad_operations(world: World, operation: int, value: int) -> None:
    world.init.fails("thread_control", NULL, operation, value)


def test_budget(world: World) -> None:
    child = world.init.child()
    world.init.ok("thread_control", child.control, ThreadOp.BUDGET, 3 << 32 | 10)
    assert (child.space.budget, child.space.period) == (3, 10)
    assert isinstance(world.effects[0], Schedule)


def test_suspended_thread_s_answer_is_held_back(world: World) -> None:
    service = Service(world)
    reply = service.serve()
    world.init.ok("thread_control", service.client.control, ThreadOp.SUSPEND, 0)
    service.server.ok("reply", reply, 1, b"answer", [])
    assert not service.client.answered()
    invariants.check(world.kernel)
    world.init.ok("thread_control", service.client.control, ThreadOp.RESUME, 0)
    assert service.client.result() == (1, b"answer", [])


def test_suspended_thread_times_out_when_resumed(world: World) -> None:
    child = world.init.child()
    endpoint = child.endpoint()
    child.blocks("recv", endpoint, 10)
    world.init.ok("thread_control", child.control, ThreadOp.SUSPEND, 0)
    world.advance(20)
    assert not child.answered()
    world.init.ok("thread_control", child.control, ThreadOp.RESUME, 0)
    assert child.error() == Error.TIMED_OUT


def test_suspended_thread_s_call_is_held_back(world: World) -> None:
    child = world.init.child()
    world.init.ok("thread_control", child.control, ThreadOp.SUSPEND, 0)
    child.blocks("endpoint_create")
    assert not child.space.caps
    world.init.ok("thread_control", child.control, ThreadOp.RESUME, 0)
    assert child.result() in child.space.caps


def test_second_call_while_suspended_ends_the_space(world: World) -> None:
    child = world.init.child()
    world.init.ok("thread_control", child.control, ThreadOp.SUSPEND, 0)
    child.blocks("clock")
    child.request("clock")
    assert not child.space.alive
    world.init.fails("thread_control", child.control, ThreadOp.RESUME, 0)
    invariants.check(world.kernel)


def test_resumed_threads_resume_others_without_nesting(world: World) -> None:
    """A chain of held calls, each of which resumes the next, deeper than Python's stack."""
    init = world.init
    actors = [init.spawn() for _ in range(1200)]
    for actor in actors:
        init.ok("thread_control", actor.control, ThreadOp.SUSPEND, 0)
    for actor, following in pairwise(actors):
        actor.blocks("thread_control", following.control, ThreadOp.RESUME, 0)
    init.ok("thread_control", actors[0].control, ThreadOp.RESUME, 0)
    assert all(actor.answered() for actor in actors[:-1])


def test_thread_suspends_itself(world: World) -> None:
    child = world.init.child()
    child.blocks("thread_control", NULL, ThreadOp.SUSPEND, 0)
    world.init.ok("thread_control", child.control, ThreadOp.RESUME, 0)
    assert child.result() is None


@provokes("thread_control", Error.IN_USE)
def test_one_binding_at_a_time(world: World) -> None:
    init = world.init
    first, second = init.notification(), init.notification()
    other = init.spawn()
    init.ok("thread_control", NULL, ThreadOp.BIND, first)
    init.fails("thread_control", NULL, ThreadOp.BIND, second)
    other.fails("thread_control", NULL, ThreadOp.BIND, first)
    init.ok("thread_control", NULL, ThreadOp.BIND, NULL)
    init.ok("thread_control", NULL, ThreadOp.BIND, NULL)  # unbinding nothing is no error
    other.ok("thread_control", NULL, ThreadOp.BIND, first)


@provokes("thread_control", Error.DENIED)
def test_binding_does_not_cross_labels(world: World) -> None:
    world.init.allow(0, 1)
    child = world.init.child(label=1)
    notification = world.init.notification()
    world.init.fails("thread_control", child.control, ThreadOp.BIND, notification)


def test_binding_ends_with_its_capability(world: World) -> None:
    init = world.init
    child = init.child()
    notification, endpoint = init.notification(), child.endpoint()
    given = init.mint(notification, FULL, 0, child)
    child.ok("thread_control", NULL, ThreadOp.BIND, given)
    child.receive(endpoint)
    init.ok("cap_revoke", notification)
    init.ok("signal", notification, 1)
    assert not child.answered() and child.thread.bound is None
    assert init.ok("poll", notification) == 1
    invariants.check(world.kernel)


def test_binding_a_receiver_hears_what_was_signalled_before(world: World) -> None:
    init = world.init
    other = init.spawn()
    notification = init.notification()
    init.ok("signal", notification, 6)
    other.receive(init.endpoint())
    init.ok("thread_control", other.control, ThreadOp.BIND, notification)
    assert other.result()[:2] == (6, LABEL_NOTIFICATION)


def test_binding_ends_with_the_thread(world: World) -> None:
    init = world.init
    other = init.spawn()
    notification = init.notification()
    other.ok("thread_control", NULL, ThreadOp.BIND, notification)
    other.request("thread_exit", Fault.EXIT, "")
    invariants.check(world.kernel)
    init.ok("signal", notification, 1)
    init.ok("thread_control", NULL, ThreadOp.BIND, notification)


def test_exit_of_another_thread_leaves_the_space(world: World) -> None:
    other = world.init.spawn()
    used = world.init.space.account.used
    other.request("thread_exit", Fault.EXIT, "")
    assert world.ended_threads == [other.thread] and world.init.space.alive
    assert any(isinstance(effect, EndThread) for effect in world.effects)
    assert world.init.space.account.used == used - THREAD_COST + OBJECT_COST
    world.init.ok("cap_drop", other.control)  # its record stayed as long as that
    invariants.check(world.kernel)


def test_exception_of_any_thread_ends_the_space(world: World) -> None:
    child = world.init.child()
    child.spawn().request("thread_exit", Fault.EXCEPTION, "ValueError")
    assert not child.space.alive and child.thread.state is ThreadState.DEAD


@provokes("thread_exit", Error.BAD_ARGUMENT)
@pytest.mark.parametrize("fault", [Fault.KILLED, Fault.CRASHED, 99])
def test_exit_does_not_pretend(world: World, fault: int) -> None:
    world.init.child().fails("thread_exit", fault, "")


def test_losing_the_last_capability_does_not_stop_it(world: World) -> None:
    other = world.init.spawn()
    world.init.ok("cap_drop", other.control)
    other.ok("clock")
    other.request("thread_exit", Fault.EXIT, "")
    invariants.check(world.kernel)


def test_second_call_while_one_is_outstanding(world: World) -> None:
    child = world.init.child()
    child.receive(child.endpoint())
    child.request("clock")
    assert not child.space.alive and not child.answered()


def test_call_of_a_thread_that_ended(world: World) -> None:
    """Its machine may have had the frame already: its space answers for it."""
    child = world.init.child()
    other = child.spawn()
    other.request("thread_exit", Fault.EXIT, "")
    other.request("clock")
    assert not child.space.alive
    invariants.check(world.kernel)


def test_calling_oneself_only_times_out(world: World) -> None:
    endpoint = world.init.endpoint()
    world.init.blocks("call", endpoint, 0, b"", [], 5)
    world.advance(5)
    assert world.init.error() == Error.TIMED_OUT
    assert world.init.fails("recv", endpoint, 0) == Error.TIMED_OUT
    world.init.blocks("recv", endpoint, FOREVER)
