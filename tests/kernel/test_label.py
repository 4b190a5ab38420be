"""Mandatory access control: what a pair of labels lets through, and what taking it away removes."""

from __future__ import annotations

import pytest

from kernel.abi import FOREVER, Error, Right
from kernel.label import CONSUME, PRODUCE, Matrix, flow, meet
from tools.check import invariants
from tools.check.harness import FULL, Service, World, provokes


def test_equal_labels_always_talk() -> None:
    assert Matrix().may(5, 5)


def test_pairs_are_allowed_in_both_directions() -> None:
    matrix = Matrix()
    matrix.set(1, 2, True)
    assert matrix.may(1, 2) and matrix.may(2, 1) and not matrix.may(1, 3)
    matrix.set(2, 1, False)
    assert not matrix.may(1, 2) and not matrix.may(2, 1)


@pytest.mark.parametrize(
    ("rights", "expected"),
    [
        (Right.READ, CONSUME),
        (Right.RECEIVE, CONSUME),
        (Right.WRITE, PRODUCE),
        (Right.SEND, PRODUCE),
        (Right.CONTROL, PRODUCE | CONSUME),
        (Right.GRANT, 0),
        (Right.READ | Right.WRITE, PRODUCE | CONSUME),
    ],
)
def test_flow_of_rights(rights: Right, expected: int) -> None:
    assert flow(rights) == expected


def test_flows_meet_where_one_produces_what_the_other_consumes() -> None:
    assert meet(PRODUCE, CONSUME) and meet(CONSUME, PRODUCE)
    assert not meet(PRODUCE, PRODUCE) and not meet(CONSUME, CONSUME) and not meet(0, CONSUME)


@provokes("label_allow", Error.BAD_ARGUMENT)
def test_bad_pairs(world: World) -> None:
    world.init.fails("label_allow", world.policy, 1, 1, 1)
    world.init.fails("label_allow", world.policy, 1, 2, 2)


def test_taking_a_pair_away_takes_the_capability(world: World) -> None:
    world.init.allow(0, 1)
    service = Service(world, label=1)
    world.init.allow(0, 1, False)
    assert service.send not in service.client.space.caps
    invariants.check(world.kernel)


def test_taking_a_pair_away_ends_the_call_between_them(world: World) -> None:
    """A client of label 2 is served by label 1; the endpoint is init's."""
    init = world.init
    for first, second in ((0, 1), (0, 2), (1, 2)):
        init.allow(first, second)
    server, client = init.child("server", label=1), init.child("client", label=2)
    endpoint = init.endpoint()
    receive = init.mint(endpoint, Right.RECEIVE, 0, server)
    client.call(init.mint(endpoint, Right.SEND, 0, client))
    reply = server.ok("recv", receive, 0)[-1]
    init.allow(1, 2, False)
    assert client.error() == Error.DENIED
    assert server.fails("reply", reply, 0, b"", []) == Error.BAD_CAPABILITY
    invariants.check(world.kernel)


def test_taking_a_pair_away_waits_until_shared_memory_is_gone(world: World) -> None:
    init = world.init
    for first, second in ((0, 1), (0, 2), (1, 2)):
        init.allow(first, second)
    world.prompt = False
    one, two = init.child("one", label=1), init.child("two", label=2)
    frame = init.frame()
    for child in (one, two):
        child.ok("map", init.mint(frame, FULL, 0, child), Right.READ | Right.WRITE)
    init.blocks("label_allow", world.policy, 1, 2, 0)
    invariants.check(world.kernel)
    while not init.answered():
        world.confirm()
    assert not one.space.mappings or not two.space.mappings


def test_taking_a_pair_away_waits_for_a_holder_on_its_way_out(world: World) -> None:
    world.init.allow(0, 1)
    world.prompt = False
    child = world.init.child(label=1)
    given = world.init.mint(world.init.frame(), FULL, 0, child)
    child.ok("map", given, Right.READ | Right.WRITE)
    child.blocks("cap_drop", given)
    world.init.blocks("label_allow", world.policy, 0, 1, 0)
    assert child.space.mappings
    while not world.init.answered():
        world.confirm()
    assert not child.space.mappings


def test_a_thread_is_not_controlled_across_labels(world: World) -> None:
    world.init.allow(0, 1)
    child = world.init.child(label=1)
    world.init.allow(0, 1, False)
    assert child.control not in world.init.space.caps
    invariants.check(world.kernel)


def test_one_s_own_objects_are_kept(world: World) -> None:
    world.init.allow(0, 1)
    service = Service(world, label=1)
    world.init.allow(0, 1, False)
    assert service.receive in service.server.space.caps
    service.server.blocks("recv", service.receive, FOREVER)


def test_message_waiting_when_the_pair_is_taken_away(world: World) -> None:
    """Sender and endpoint share a label, the receivers do not."""
    init = world.init
    init.allow(0, 1)
    server, client = init.child("server", label=1), init.child("client")
    endpoint = init.endpoint()
    receive = init.mint(endpoint, Right.RECEIVE, 0, server)
    client.call(init.mint(endpoint, Right.SEND, 0, client))
    init.allow(0, 1, False)
    assert receive not in server.space.caps
    init.ok("recv", endpoint, 0)
    invariants.check(world.kernel)


def test_an_object_s_own_label_is_checked_as_any_other(world: World) -> None:
    """Its creator gave the object away, and may not get it back when labels part."""
    init = world.init
    init.allow(0, 1)
    init.allow(0, 2)
    one, two = init.child("one", label=1), init.child("two", label=2)
    middle = init.mint(one.slot, 63)
    endpoint = init.endpoint()
    frame = one.frame()
    one.call(init.mint(endpoint, Right.SEND, 0, one), b"", [frame])
    given = init.ok("recv", endpoint, 0)[3][0]
    init.fails("cap_mint", given, FULL, 0, two.slot)
    one.world.init.allow(1, 2)
    moved = init.ok("cap_mint", given, FULL, 0, two.slot)
    assert moved in two.space.caps and middle
    init.allow(1, 2, False)
    assert moved not in two.space.caps and frame in one.space.caps
    invariants.check(world.kernel)
