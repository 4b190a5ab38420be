"""Address spaces: creation, fault messages, and every way to end."""

from __future__ import annotations

from itertools import pairwise

import msgpack
import pytest

from kernel.abi import (
    ALL_RIGHTS,
    FOREVER,
    LABEL_FAULT,
    MAX_DETAIL,
    NULL,
    SPACE_COST,
    Error,
    Fault,
    Right,
    SpaceFlag,
    ThreadState,
)
from kernel.effects import Kill
from kernel.space import Space
from tools.check import invariants
from tools.check.harness import FULL, MIB, Actor, World, provokes


def supervised(world: World, label: int = 0) -> tuple[Actor, int]:
    """A child whose fault messages come to init under badge 9; the child and the endpoint."""
    faults = world.init.endpoint()
    handler = world.init.mint(faults, Right.SEND, 9)
    return world.init.child(fault=handler, label=label), faults


def test_quota_is_taken_from_the_creator(world: World) -> None:
    before = world.init.space.account.free
    slot = world.init.ok("space_create", "child", MIB, 0, NULL, 0, NULL)
    assert before - world.init.space.account.free > MIB + SPACE_COST
    world.init.ok("cap_drop", slot)
    assert world.init.space.account.free == before


def test_space_without_quota_can_hold_nothing(world: World) -> None:
    slot = world.init.ok("space_create", "empty", 0, 0, NULL, 0, NULL)
    assert world.init.fails("thread_create", slot, "x", b"", 0) == Error.NO_QUOTA
    world.init.ok("space_destroy", slot)
    invariants.check(world.kernel)


def test_flags_are_handed_on(world: World) -> None:
    flag = SpaceFlag.EXECUTABLE
    slot = world.init.ok("space_create", "child", MIB, 0, NULL, flag, NULL)
    space = world.init.space.caps[slot].object
    assert isinstance(space, Space) and space.flags == flag


@provokes("space_create", Error.BAD_CAPABILITY)
def test_another_label_needs_the_policy_authority(world: World) -> None:
    world.init.allow(0, 1)
    for authority in (NULL, world.debug, world.init.endpoint()):
        world.init.fails("space_create", "child", 0, 1, authority, 0, NULL)
    world.init.ok("space_create", "child", 0, 1, world.policy, 0, NULL)


@provokes("space_create", Error.NO_RIGHT)
def test_authority_and_fault_endpoint_need_their_rights(world: World) -> None:
    weak = world.init.mint(world.policy, Right.READ)
    world.init.fails("space_create", "child", 0, 1, weak, 0, NULL)
    deaf = world.init.mint(world.init.endpoint(), Right.RECEIVE)
    world.init.fails("space_create", "child", 0, 0, NULL, 0, deaf)


@provokes("space_create", Error.BAD_ARGUMENT)
@pytest.mark.parametrize(
    ("name", "flags"), [("", 0), ("x" * 65, 0), ("é" * 33, 0), ("x", 2), ("x", 1 << 63)]
)
def test_bad_names_and_flags(world: World, name: str, flags: int) -> None:
    world.init.fails("space_create", name, 0, 0, NULL, flags, NULL)


@provokes("space_create", Error.BAD_ARGUMENT)
def test_flags_that_the_creator_lacks(world: World) -> None:
    world.init.child().fails("space_create", "child", 0, 0, NULL, SpaceFlag.EXECUTABLE, NULL)


@provokes("space_create", Error.NO_QUOTA)
@pytest.mark.parametrize("quota", [1 << 40, (1 << 64) - 1])
def test_quota_that_is_not_there(world: World, quota: int) -> None:
    used = world.init.space.account.used
    world.init.fails("space_create", "child", quota, 0, NULL, 0, NULL)
    assert world.init.space.account.used == used


@provokes("space_create", Error.DENIED)
def test_creator_and_child_must_be_allowed_to_talk(world: World) -> None:
    used = world.init.space.account.used
    world.init.fails("space_create", "child", MIB, 1, world.policy, 0, NULL)
    assert world.init.space.account.used == used


@provokes("space_create", Error.DENIED)
def test_fault_messages_do_not_cross_labels(world: World) -> None:
    init = world.init
    init.allow(0, 1)
    init.allow(0, 2)
    other = init.child("other", label=2)
    faults = init.endpoint()
    init.mint(faults, Right.RECEIVE, 0, other)
    init.fails("space_create", "child", 0, 1, world.policy, 0, faults)


def test_fault_message_says_who_and_why(world: World) -> None:
    child, faults = supervised(world)
    world.init.receive(faults)
    child.request("thread_exit", Fault.EXCEPTION, "ValueError: no")
    badge, label, data, caps, reply = world.init.result()
    assert (badge, label, caps, reply) == (9, LABEL_FAULT, [], NULL)
    assert msgpack.unpackb(data) == [Fault.EXCEPTION, child.thread.id, "ValueError: no"]


@pytest.mark.parametrize("way", ["exit", "malformed", "destroyed", "died", "dropped", "busy"])
def test_every_end_posts_one_message(world: World, way: str) -> None:
    child, faults = supervised(world)
    match way:
        case "exit":
            child.request("thread_exit", Fault.EXIT, "")
        case "malformed":
            world.carry_out(world.kernel.malformed(child.thread, "nonsense"))
        case "destroyed":
            world.init.ok("space_destroy", child.slot)
        case "died":
            world.carry_out(world.kernel.died(child.space, Fault.CRASHED, "signal 9"))
        case "dropped":
            world.init.ok("cap_drop", child.slot)
        case "busy":
            child.receive(child.endpoint())
            child.request("clock")
    assert not child.space.alive and child.thread.state is ThreadState.DEAD
    assert world.init.ok("recv", faults, 0)[1] == LABEL_FAULT
    assert world.init.fails("recv", faults, 0) == Error.TIMED_OUT
    world.carry_out(world.kernel.died(child.space, Fault.CRASHED, "again"))
    assert world.init.fails("recv", faults, 0) == Error.TIMED_OUT
    invariants.check(world.kernel)


def test_no_message_once_the_handler_is_gone(world: World) -> None:
    child, faults = supervised(world)
    world.init.ok("cap_revoke", faults)
    world.init.ok("space_destroy", child.slot)
    assert world.init.fails("recv", faults, 0) == Error.TIMED_OUT


def test_detail_of_a_fault_is_cut_and_made_clean(world: World) -> None:
    child, faults = supervised(world)
    detail = "\udcff" + "é" * MAX_DETAIL
    world.carry_out(world.kernel.died(child.space, Fault.CRASHED, detail))
    text = msgpack.unpackb(world.init.ok("recv", faults, 0)[2])[2]
    assert text.startswith("?é") and len(text.encode()) in (MAX_DETAIL - 1, MAX_DETAIL)


def test_queued_fault_messages_are_charged(world: World) -> None:
    """Else a loop that creates and destroys would fill the kernel's memory."""
    child = world.init.child(quota=MIB)
    faults = child.endpoint()
    made = 0
    while made < 1000:
        child.request("space_create", "x", 0, 0, NULL, 0, faults)
        if child.thread in world.answers and world.answers[child.thread].answer[0]:
            break
        child.ok("cap_drop", child.result())
        made += 1
    assert child.error() == Error.NO_QUOTA and made < MIB // SPACE_COST
    child.ok("recv", faults, 0)
    child.ok("space_create", "x", 0, 0, NULL, 0, faults)
    invariants.check(world.kernel)


def test_fault_queue_goes_with_its_endpoint(world: World) -> None:
    before = world.init.space.account.used
    child, faults = supervised(world)
    for slot in (child.control, child.slot):
        world.init.ok("cap_drop", slot)
    world.init.ok("cap_revoke", faults)
    world.init.ok("cap_drop", faults)
    assert world.init.space.account.used == before


def test_fault_of_a_label_taken_away_is_not_heard(world: World) -> None:
    world.init.allow(0, 1)
    child, faults = supervised(world, label=1)
    child.request("thread_exit", Fault.EXIT, "secret")
    world.init.allow(0, 1, False)
    assert world.init.fails("recv", faults, 0) == Error.TIMED_OUT
    invariants.check(world.kernel)


def test_destroy_waits_for_the_machine(world: World) -> None:
    world.prompt = False
    child = world.init.child()
    world.init.blocks("space_destroy", child.slot)
    assert isinstance(world.effects[0], Kill)
    second = world.init.thread
    assert second.state is ThreadState.UNMAPPING
    world.confirm()
    assert world.init.result() is None
    world.init.ok("space_destroy", child.slot)  # it is over: nothing to wait for


@provokes("space_destroy", Error.BAD_CAPABILITY)
def test_destroy_of_what_is_no_space(world: World) -> None:
    world.init.fails("space_destroy", NULL)
    world.init.fails("space_destroy", world.init.endpoint())


@provokes("space_destroy", Error.NO_RIGHT)
def test_destroy_needs_control(world: World) -> None:
    child = world.init.child()
    world.init.fails("space_destroy", world.init.mint(child.slot, Right.READ))


def test_destroying_one_s_own_space(world: World) -> None:
    child, faults = supervised(world)
    own = world.init.mint(child.slot, ALL_RIGHTS, 0, child)
    child.request("space_destroy", own)
    assert not child.answered() and child.thread.state is ThreadState.DEAD
    assert world.init.ok("recv", faults, 0)[1] == LABEL_FAULT


def test_dead_space_owns_nothing(world: World) -> None:
    world.prompt = False
    child = world.init.child()
    endpoint = world.init.endpoint()
    given = world.init.mint(endpoint, FULL, 0, child)
    child.ok("map", child.frame(), Right.READ)
    child.receive(given)
    world.carry_out(world.kernel.died(child.space, Fault.CRASHED, ""))
    assert not child.space.caps and all(m.removing for m in child.space.mappings.values())
    invariants.check(world.kernel)
    while world.killed:
        world.confirm()
    assert not child.space.mappings
    invariants.check(world.kernel)


def test_children_end_with_their_creator(world: World) -> None:
    """Else a space that holds itself would keep its quota for ever."""
    before = world.init.space.account.used
    child = world.init.child()
    grandchild = child.child(quota=MIB)
    child.ok("cap_move", grandchild.slot, grandchild.slot)  # nobody else can end it now
    own = [cap for cap in grandchild.space.caps.values() if cap.object is grandchild.space]
    assert own and grandchild.space.alive
    world.init.ok("space_destroy", child.slot)
    assert not grandchild.space.alive and grandchild.space.id not in world.kernel.spaces
    world.init.ok("cap_drop", child.control)
    world.init.ok("cap_drop", child.slot)
    assert world.init.space.account.used == before


def test_destroy_waits_for_the_children_too(world: World) -> None:
    world.prompt = False
    child = world.init.child()
    child.child(quota=MIB)
    world.init.blocks("space_destroy", child.slot)
    world.confirm()
    assert not world.init.answered()
    world.confirm()
    assert world.init.result() is None


def test_spaces_nest_deeper_than_python_calls(world: World) -> None:
    """Each space holds the only capability to the next: one end is the end of all."""
    init = world.init
    slots = [init.ok("space_create", "x", MIB, 0, NULL, 0, NULL) for _ in range(400)]
    for outer, inner in reversed(list(pairwise(slots))):
        init.ok("cap_move", inner, outer)
    init.ok("cap_drop", slots[0])
    assert list(world.kernel.spaces.values()) == [init.space]
    invariants.check(world.kernel)


def test_killed_while_its_frame_is_on_its_way(world: World) -> None:
    init = world.init
    child, server = init.child(), init.child("server")
    endpoint = init.endpoint()
    send, receive = init.mint(endpoint, FULL, 0, child), init.mint(endpoint, FULL, 0, server)
    child.call(send, b"", [child.frame()])
    init.ok("space_destroy", child.slot)
    assert server.fails("recv", receive, 0) == Error.TIMED_OUT
    assert world.dropped
    invariants.check(world.kernel)


def test_nobody_answers_the_dead(world: World) -> None:
    init = world.init
    child = init.child()
    endpoint = init.endpoint()
    child.call(init.mint(endpoint, FULL, 0, child))
    reply = init.ok("recv", endpoint, 0)[-1]
    world.carry_out(world.kernel.died(child.space, Fault.CRASHED, ""))
    assert init.fails("reply", reply, 0, b"", []) == Error.BAD_CAPABILITY
    assert init.fails("reply_recv", reply, 0, b"", [], endpoint, 0) == Error.TIMED_OUT
    init.blocks("recv", endpoint, FOREVER)
