"""Endpoints: delivery, replies, timeouts, and whatever can go wrong on the way."""

from __future__ import annotations

import pytest

from kernel.abi import (
    CAPABILITY_COST,
    FOREVER,
    LABEL_LIMIT,
    MAX_CAPS,
    MAX_PAYLOAD,
    NULL,
    Error,
    Fault,
    Right,
)
from kernel.machine.sim.machine import next_deadline
from tools.check import invariants
from tools.check.harness import FULL, MIB, Actor, Service, World, provokes


def message(data: bytes = b"", caps: list[int] | None = None) -> tuple[int, bytes, list[int]]:
    return 0, data, caps or []


@pytest.mark.parametrize("first", ["sender", "receiver"])
def test_whoever_comes_first_waits(world: World, first: str) -> None:
    service = Service(world)
    if first == "receiver":
        service.server.receive(service.receive)
        service.client.call(service.send, b"hello")
        badge, label, data, caps, reply = service.server.result()
    else:
        service.client.blocks("call", service.send, 3, b"hello", [], FOREVER)
        badge, label, data, caps, reply = service.server.ok("recv", service.receive, 0)
        assert label == 3
    assert (badge, data, caps) == (7, b"hello", [])
    service.server.ok("reply", reply, 4, b"bye", [])
    assert service.client.result() == (4, b"bye", [])
    invariants.check(world.kernel)


def test_send_expects_no_answer(world: World) -> None:
    service = Service(world)
    service.client.blocks("send", service.send, *message(b"x"), FOREVER)
    assert service.server.ok("recv", service.receive, 0)[-1] == NULL
    assert service.client.result() is None


def test_senders_are_heard_in_their_order(world: World) -> None:
    service = Service(world)
    clients = [service.client, *(service.client.spawn() for _ in range(3))]
    for number, client in enumerate(clients):
        client.call(service.send, bytes([number]))
    heard = [service.server.ok("recv", service.receive, 0)[2] for _ in clients]
    assert heard == [b"\0", b"\1", b"\2", b"\3"]


def test_reply_recv_does_both(world: World) -> None:
    service = Service(world)
    second = service.client.spawn()
    reply = service.serve()
    second.call(service.send, b"next")
    heard = service.server.ok("reply_recv", reply, *message(b"first"), service.receive, FOREVER)
    assert heard[2] == b"next" and service.client.result() == (0, b"first", [])


def test_reply_recv_without_a_reply(world: World) -> None:
    service = Service(world)
    service.server.blocks("reply_recv", NULL, *message(), service.receive, FOREVER)


def test_reply_recv_goes_on_when_the_answer_cannot_be_delivered(world: World) -> None:
    service = Service(world)
    reply = service.serve()
    world.init.ok("space_destroy", service.client.slot)
    service.server.blocks("reply_recv", reply, *message(), service.receive, FOREVER)


def test_capabilities_are_derived_from_the_sender_s(world: World) -> None:
    service = Service(world)
    frame = service.client.frame()
    service.client.call(service.send, b"", [frame, frame])
    caps = service.server.ok("recv", service.receive, 0)[3]
    for slot in caps:
        assert service.server.space.caps[slot].parent is service.client.space.caps[frame]
    assert len(set(caps)) == 2


def test_largest_message(world: World) -> None:
    service = Service(world)
    frames = [service.client.frame() for _ in range(MAX_CAPS)]
    service.client.call(service.send, b"x" * MAX_PAYLOAD, frames)
    _, _, data, caps, _ = service.server.ok("recv", service.receive, 0)
    assert len(data) == MAX_PAYLOAD and len(caps) == MAX_CAPS


@provokes("call", Error.BAD_ARGUMENT)
@provokes("send", Error.BAD_ARGUMENT)
@provokes("reply", Error.BAD_ARGUMENT)
@provokes("reply_recv", Error.BAD_ARGUMENT)
def test_messages_out_of_range(world: World) -> None:
    service = Service(world)
    reply = service.serve()
    for bad in (
        (LABEL_LIMIT, b"", []),
        (0, b"x" * (MAX_PAYLOAD + 1), []),
        (0, b"", [service.receive] * (MAX_CAPS + 1)),
    ):
        service.server.fails("call", service.receive, *bad, FOREVER)
        service.server.fails("send", service.receive, *bad, FOREVER)
        service.server.fails("reply", reply, *bad)
        service.server.fails("reply_recv", reply, *bad, service.receive, FOREVER)
    service.server.ok("reply", reply, *message())  # it was not used up


@provokes("call", Error.BAD_CAPABILITY)
@provokes("send", Error.BAD_CAPABILITY)
@provokes("recv", Error.BAD_CAPABILITY)
@provokes("reply", Error.BAD_CAPABILITY)
@provokes("reply_recv", Error.BAD_CAPABILITY)
@pytest.mark.parametrize("forged", [NULL, 999, (1 << 64) - 1])
def test_forged_numbers(world: World, forged: int) -> None:
    server = Service(world).server
    server.fails("call", forged, *message(), FOREVER)
    server.fails("send", forged, *message(), FOREVER)
    server.fails("recv", forged, FOREVER)
    server.fails("reply", forged, *message())
    server.fails("reply_recv", NULL, *message(), forged, FOREVER)
    server.fails("call", server.endpoint(), *message(b"", [forged]), FOREVER)


@provokes("call", Error.BAD_CAPABILITY)
@provokes("reply", Error.BAD_CAPABILITY)
def test_objects_of_another_kind(world: World) -> None:
    service = Service(world)
    service.server.fails("call", service.server.frame(), *message(), FOREVER)
    service.server.fails("reply", service.receive, *message())


@provokes("call", Error.NO_RIGHT)
@provokes("send", Error.NO_RIGHT)
@provokes("recv", Error.NO_RIGHT)
@provokes("reply_recv", Error.NO_RIGHT)
def test_rights_to_send_and_receive(world: World) -> None:
    service = Service(world)
    deaf = service.server.mint(service.receive, Right.RECEIVE)
    service.server.fails("call", deaf, *message(), FOREVER)
    service.server.fails("send", deaf, *message(), FOREVER)
    service.client.fails("recv", service.send, FOREVER)
    service.client.fails("reply_recv", NULL, *message(), service.send, FOREVER)


@provokes("call", Error.NO_RIGHT)
@provokes("reply", Error.NO_RIGHT)
def test_only_what_may_be_granted_is_passed_on(world: World) -> None:
    service = Service(world)
    reply = service.serve()
    kept = service.server.mint(service.receive, Right.SEND)
    service.server.fails("call", service.receive, *message(b"", [kept]), FOREVER)
    service.server.fails("reply", reply, *message(b"", [kept]))
    service.server.fails("call", service.receive, *message(b"", [reply]), FOREVER)
    service.server.fails("reply", reply, *message(b"", [reply]))  # not even itself


@provokes("call", Error.SERVER_DIED)
@provokes("send", Error.SERVER_DIED)
def test_nobody_can_ever_receive(world: World) -> None:
    init = world.init
    child = init.child()
    endpoint = init.endpoint()
    send = init.mint(endpoint, Right.SEND, 0, child)
    other = child.spawn()
    child.call(send)
    other.blocks("send", send, *message(), FOREVER)
    init.ok("cap_drop", endpoint)
    assert child.error() == other.error() == Error.SERVER_DIED
    child.fails("call", send, *message(), FOREVER)
    child.fails("send", send, *message(), 0)


@provokes("call", Error.SERVER_DIED)
@pytest.mark.parametrize("way", ["drop", "exit", "killed"])
def test_a_reply_that_is_lost(world: World, way: str) -> None:
    service = Service(world)
    reply = service.serve()
    if way == "drop":
        service.server.ok("cap_drop", reply)
    elif way == "exit":
        service.server.request("thread_exit", Fault.EXIT, "")
    else:
        world.init.ok("space_destroy", service.server.slot)
    assert service.client.error() == Error.SERVER_DIED
    invariants.check(world.kernel)


def test_server_s_death_leaves_those_who_wait_for_its_successor(world: World) -> None:
    service = Service(world)
    service.client.call(service.send)
    world.init.ok("space_destroy", service.server.slot)
    assert not service.client.answered()
    assert world.init.ok("recv", service.endpoint, 0)[-1]


@provokes("call", Error.CANCELLED)
@provokes("send", Error.CANCELLED)
@provokes("recv", Error.CANCELLED)
@provokes("reply_recv", Error.CANCELLED)
def test_capability_revoked_while_blocked_through_it(world: World) -> None:
    service = Service(world)
    second = service.client.spawn()
    service.client.call(service.send)
    second.blocks("send", service.send, *message(), FOREVER)
    world.init.ok("cap_revoke", service.endpoint)
    assert service.client.error() == second.error() == Error.CANCELLED
    service = Service(world)
    second = service.server.spawn()
    service.server.receive(service.receive)
    second.blocks("reply_recv", NULL, *message(), service.receive, FOREVER)
    world.init.ok("cap_revoke", service.endpoint)
    assert service.server.error() == second.error() == Error.CANCELLED


def test_call_that_is_being_served_outlives_the_capability(world: World) -> None:
    service = Service(world)
    reply = service.serve()
    world.init.ok("cap_revoke", service.endpoint)
    service.server.ok("reply", reply, *message(b"late"))
    assert service.client.result() == (0, b"late", [])


@provokes("reply", Error.BAD_CAPABILITY)
def test_a_reply_is_used_once(world: World) -> None:
    service = Service(world)
    reply = service.serve()
    service.server.ok("reply", reply, *message(b"once"))
    service.client.result()
    service.client.call(service.send, b"again")
    service.server.fails("reply", reply, *message(b"twice"))
    assert not service.client.answered()
    service.server.ok("recv", service.receive, 0)
    service.server.fails("reply", reply, *message(b"twice"))
    assert not service.client.answered()


# Quotas and labels


def fill(actor: Actor, left: int) -> None:
    """Use up the actor's quota but for so many capabilities."""
    slot = actor.endpoint()
    while actor.space.account.free >= (left + 1) * CAPABILITY_COST:
        actor.mint(slot, 0)


@provokes("call", Error.RECEIVER_FULL)
@provokes("send", Error.RECEIVER_FULL)
@provokes("reply", Error.RECEIVER_FULL)
def test_receiver_without_quota(world: World) -> None:
    service = Service(world, quota=MIB)
    frame, second = service.client.frame(), service.client.spawn()
    fill(service.server, 1)
    service.client.call(service.send, b"", [frame])  # needs two, with the reply
    assert service.server.fails("recv", service.receive, 0) == Error.TIMED_OUT
    assert service.client.error() == Error.RECEIVER_FULL
    service.server.receive(service.receive)
    service.client.fails("send", service.send, *message(b"", [frame, frame]), FOREVER)
    service.client.blocks("call", service.send, *message(), FOREVER)
    reply = service.server.result()[-1]
    fill(second, 0)
    service.server.fails("reply", reply, *message(b"", [service.receive]))
    assert service.client.error() == Error.RECEIVER_FULL
    invariants.check(world.kernel)


@provokes("call", Error.DENIED)
@provokes("send", Error.DENIED)
@provokes("reply", Error.DENIED)
def test_what_may_not_flow_is_not_delivered(world: World) -> None:
    """The server holds a frame with label 2; its client, of label 1, may not share it."""
    init = world.init
    init.allow(0, 1)
    init.allow(0, 2)
    service = Service(world, label=1)
    other = init.child("other", label=2)
    frame = init.frame()
    init.mint(frame, FULL, 0, other)
    given = init.mint(frame, FULL, 0, service.server)
    reply = service.serve()
    service.server.fails("reply", reply, *message(b"", [given]))
    assert service.client.error() == Error.DENIED
    endpoint = init.endpoint()
    back = init.mint(endpoint, Right.SEND, 0, service.server)
    service.client.receive(init.mint(endpoint, Right.RECEIVE, 0, service.client))
    service.server.fails("call", back, *message(b"", [given]), FOREVER)
    service.server.fails("send", back, *message(b"", [given]), FOREVER)
    service.server.ok("send", back, *message(), 0)
    invariants.check(world.kernel)


def test_capability_moved_away_is_no_longer_the_sender_s(world: World) -> None:
    service = Service(world)
    frame, second = service.client.frame(), service.client.spawn()
    service.client.call(service.send, b"", [frame])
    own = world.init.mint(service.server.slot, FULL | Right.CONTROL, 0, service.client)
    second.ok("cap_move", frame, own)
    assert service.server.ok("recv", service.receive, 0)[3] == [NULL]


# Timeouts


@provokes("call", Error.TIMED_OUT)
@provokes("send", Error.TIMED_OUT)
@provokes("recv", Error.TIMED_OUT)
@provokes("reply_recv", Error.TIMED_OUT)
def test_zero_does_not_block(world: World) -> None:
    service = Service(world)
    service.client.fails("call", service.send, *message(), 0)
    service.client.fails("send", service.send, *message(), 0)
    service.server.fails("recv", service.receive, 0)
    service.server.fails("reply_recv", NULL, *message(), service.receive, 0)


@provokes("call", Error.TIMED_OUT)
def test_call_with_zero_sends_nothing(world: World) -> None:
    """An answer is always waited for, even if a receiver is there."""
    service = Service(world)
    service.server.receive(service.receive)
    service.client.fails("call", service.send, *message(), 0)
    assert not service.server.answered()
    service.client.ok("send", service.send, *message(), 0)
    assert service.server.answered()


def test_timeout_is_for_sending_and_the_answer_together(world: World) -> None:
    service = Service(world)
    service.client.blocks("call", service.send, *message(), 100)
    world.advance(60)
    reply = service.server.ok("recv", service.receive, 0)[-1]
    world.advance(39)
    assert not service.client.answered()
    world.advance(1)
    assert service.client.error() == Error.TIMED_OUT
    assert service.server.fails("reply", reply, *message()) == Error.BAD_CAPABILITY


def test_timeout_starts_anew_with_each_call(world: World) -> None:
    child = world.init.child()
    endpoint, other = child.endpoint(), child.spawn()
    child.blocks("recv", endpoint, 100)
    world.advance(50)
    other.ok("send", endpoint, 0, b"", [], 0)
    child.result()
    child.blocks("recv", endpoint, 100)
    world.advance(99)
    assert not child.answered()
    world.advance(1)
    assert child.error() == Error.TIMED_OUT


@pytest.mark.parametrize("timeout", [FOREVER, (1 << 64) - 1])
def test_forever_is_long(world: World, timeout: int) -> None:
    child = world.init.child()
    child.blocks("recv", child.endpoint(), timeout)
    world.advance(1 << 62)
    assert not child.answered()


def test_next_deadline_is_the_earliest(world: World) -> None:
    kernel = world.kernel
    actors = [world.init.spawn() for _ in range(3)]
    endpoint = world.init.endpoint()
    assert next_deadline(kernel) is None
    for actor, timeout in zip(actors, (30, 10, 20), strict=True):
        actor.blocks("recv", endpoint, timeout)
    assert next_deadline(kernel) == world.now + 10
    world.init.ok("send", endpoint, *message(), 0)  # the first in the queue, due last
    world.advance(10)
    assert actors[1].error() == Error.TIMED_OUT
    assert next_deadline(kernel) == world.now + 10


def test_timed_calls_leave_nothing_behind(world: World) -> None:
    service = Service(world)
    for _ in range(5000):
        service.server.blocks("recv", service.receive, 1 << 40)
        service.client.ok("send", service.send, *message(), 1 << 40)
        service.server.result()
    assert len(world.kernel.deadlines) <= 65
