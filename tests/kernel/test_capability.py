"""Capabilities: derivation, moving, dropping and revoking."""

from __future__ import annotations

import pytest

from kernel.abi import ALL_RIGHTS, FOREVER, NULL, Error, Right
from kernel.device import Device
from tools.check import invariants
from tools.check.harness import FULL, Service, World, provokes


def test_mint_gives_fewer_rights_and_a_badge(world: World) -> None:
    init = world.init
    endpoint = init.endpoint()
    badged = init.mint(endpoint, Right.SEND, 5)
    cap = init.space.caps[badged]
    assert (cap.rights, cap.badge) == (Right.SEND, 5)
    assert cap.parent is init.space.caps[endpoint]


def test_zero_badge_keeps_the_source_s(world: World) -> None:
    badged = world.init.mint(world.init.endpoint(), FULL, 5)
    assert world.init.space.caps[world.init.mint(badged, FULL, 0)].badge == 5
    assert world.init.space.caps[world.init.mint(badged, FULL, 5)].badge == 5


def test_badges_and_bits_of_64_bits_pass_the_wire(world: World) -> None:
    largest = (1 << 64) - 1
    service = Service(world)
    badged = world.init.mint(service.endpoint, Right.SEND, largest)
    world.init.blocks("send", badged, 0, b"", [], FOREVER)
    assert service.server.ok("recv", service.receive, 0)[0] == largest
    notification = world.init.notification()
    world.init.ok("signal", notification, largest)
    assert world.init.ok("poll", notification) == largest


def test_slots_are_never_used_twice(world: World) -> None:
    first = world.init.endpoint()
    world.init.ok("cap_drop", first)
    assert world.init.endpoint() > first
    assert world.init.fails("cap_drop", first) == Error.BAD_CAPABILITY


@provokes("cap_mint", Error.BAD_CAPABILITY)
@pytest.mark.parametrize("forged", [NULL, 999, (1 << 64) - 1])
def test_mint_from_a_forged_slot(world: World, forged: int) -> None:
    world.init.fails("cap_mint", forged, 0, 0, NULL)


@provokes("cap_mint", Error.BAD_CAPABILITY)
def test_mint_into_what_is_no_space(world: World) -> None:
    endpoint = world.init.endpoint()
    world.init.fails("cap_mint", endpoint, FULL, 0, endpoint)


@provokes("cap_mint", Error.BAD_CAPABILITY)
def test_mint_into_a_dying_space(world: World) -> None:
    world.prompt = False
    child = world.init.child()
    endpoint = world.init.endpoint()
    child.request("thread_exit", 0, "")
    world.init.fails("cap_mint", endpoint, FULL, 0, child.slot)
    invariants.check(world.kernel)


@provokes("cap_mint", Error.NO_RIGHT)
@pytest.mark.parametrize("rights", [ALL_RIGHTS, 64, 1 << 40])
def test_mint_never_adds_rights(world: World, rights: int) -> None:
    world.init.fails("cap_mint", world.init.endpoint(), rights, 0, NULL)


@provokes("cap_mint", Error.NO_RIGHT)
def test_mint_elsewhere_needs_grant(world: World) -> None:
    child = world.init.child()
    kept = world.init.mint(world.init.endpoint(), Right.SEND)
    world.init.fails("cap_mint", kept, Right.SEND, 0, child.slot)
    world.init.mint(kept, Right.SEND)


@provokes("cap_mint", Error.NO_RIGHT)
def test_a_reply_is_not_copied(world: World) -> None:
    service = Service(world)
    service.server.fails("cap_mint", service.serve(), Right.SEND, 0, NULL)


@provokes("cap_mint", Error.BAD_ARGUMENT)
def test_a_badge_is_not_changed(world: World) -> None:
    badged = world.init.mint(world.init.endpoint(), FULL, 5)
    world.init.fails("cap_mint", badged, FULL, 6, NULL)


@provokes("cap_mint", Error.NO_QUOTA)
def test_mint_is_charged_to_the_space_that_gets_it(world: World) -> None:
    empty = world.init.ok("space_create", "empty", 0, 0, NULL, 0, NULL)
    world.init.fails("cap_mint", world.init.endpoint(), FULL, 0, empty)


@provokes("cap_mint", Error.DENIED)
@provokes("cap_move", Error.DENIED)
def test_labels_are_asked_where_a_capability_crosses(world: World) -> None:
    init = world.init
    init.allow(0, 1)
    init.allow(0, 2)
    one, two = init.child("one", label=1), init.child("two", label=2)
    frame = init.frame()
    init.mint(frame, FULL, 0, one)
    init.fails("cap_mint", frame, FULL, 0, two.slot)
    init.fails("cap_mint", frame, Right.READ | Right.GRANT, 0, two.slot)
    init.fails("cap_move", frame, two.slot)
    init.mint(frame, Right.GRANT, 0, two)  # through which nothing flows
    invariants.check(world.kernel)


def test_two_readers_need_not_talk(world: World) -> None:
    init = world.init
    init.allow(0, 1)
    init.allow(0, 2)
    frame = init.frame()
    for label in (1, 2):
        init.mint(frame, Right.READ, 0, init.child("reader", label=label))


def test_move_keeps_the_place_in_the_tree(world: World) -> None:
    init = world.init
    child = init.child()
    endpoint = init.endpoint()
    middle = init.mint(endpoint)
    leaf = init.mint(middle)
    cap = init.space.caps[middle]
    moved = init.ok("cap_move", middle, child.slot)
    assert child.space.caps[moved] is cap
    assert init.space.caps[leaf].parent is cap
    assert cap.parent is init.space.caps[endpoint]
    assert middle not in init.space.caps
    init.ok("cap_revoke", endpoint)
    assert not child.space.caps and leaf not in init.space.caps


def test_move_within_a_space_changes_the_number(world: World) -> None:
    endpoint = world.init.endpoint()
    assert world.init.ok("cap_move", endpoint, NULL) > endpoint


def test_move_of_the_last_receiver_does_not_fail_the_senders(world: World) -> None:
    init = world.init
    server, client = init.child("server"), init.child("client")
    endpoint = init.endpoint()
    send = init.mint(endpoint, Right.SEND, 0, client)
    client.call(send, b"held")
    moved = init.ok("cap_move", endpoint, server.slot)
    assert not client.answered()
    assert server.ok("recv", moved, 0)[2] == b"held"


def test_move_cancels_those_blocked_through_it(world: World) -> None:
    init = world.init
    other = init.spawn()
    endpoint = init.endpoint()
    other.receive(endpoint)
    init.ok("cap_move", endpoint, NULL)
    assert other.error() == Error.CANCELLED


@provokes("cap_move", Error.BAD_CAPABILITY)
def test_move_of_a_forged_slot(world: World) -> None:
    world.init.fails("cap_move", 999, NULL)


@provokes("cap_move", Error.NO_RIGHT)
def test_move_elsewhere_needs_grant(world: World) -> None:
    service = Service(world)
    kept = world.init.mint(service.endpoint, Right.SEND)
    world.init.fails("cap_move", kept, service.client.slot)
    service.server.fails("cap_move", service.serve(), NULL)


@provokes("cap_move", Error.BAD_ARGUMENT)
def test_move_of_what_is_mapped(world: World) -> None:
    frame = world.init.frame()
    world.init.ok("map", frame, Right.READ)
    world.init.fails("cap_move", frame, NULL)


@provokes("cap_move", Error.NO_QUOTA)
def test_move_is_charged_to_the_space_that_gets_it(world: World) -> None:
    endpoint = world.init.endpoint()
    empty = world.init.ok("space_create", "empty", 0, 0, NULL, 0, NULL)
    world.init.fails("cap_move", endpoint, empty)
    assert endpoint in world.init.space.caps


def test_drop_hands_the_children_to_the_parent(world: World) -> None:
    init = world.init
    endpoint = init.endpoint()
    middle = init.mint(endpoint)
    leaf = init.mint(middle)
    init.ok("cap_drop", middle)
    assert init.space.caps[leaf].parent is init.space.caps[endpoint]
    init.ok("cap_revoke", endpoint)
    assert leaf not in init.space.caps


@provokes("cap_drop", Error.BAD_CAPABILITY)
def test_drop_of_a_forged_slot(world: World) -> None:
    world.init.fails("cap_drop", 999)


@provokes("cap_revoke", Error.BAD_CAPABILITY)
def test_revoke_of_a_forged_slot(world: World) -> None:
    world.init.fails("cap_revoke", 999)


def test_revoke_keeps_the_capability_itself(world: World) -> None:
    endpoint = world.init.endpoint()
    world.init.ok("cap_revoke", endpoint)
    assert endpoint in world.init.space.caps


def test_revoke_of_a_deep_tree(world: World) -> None:
    init = world.init
    first = slot = init.endpoint()
    for _ in range(3000):
        slot = init.mint(slot)
    init.ok("cap_revoke", first)
    assert list(init.space.caps)[-1] == first


def test_revoke_that_ends_its_caller(world: World) -> None:
    init = world.init
    child = init.child()
    own = init.mint(child.slot, ALL_RIGHTS, 0, child)  # the child controls itself
    sibling = child.spawn()
    sibling.request("space_destroy", own)
    assert not sibling.answered() and not child.space.alive
    invariants.check(world.kernel)


def test_revoking_an_ancestor_reaches_no_further_up(world: World) -> None:
    init = world.init
    child = init.child()
    endpoint = init.endpoint()
    given = init.mint(endpoint, FULL, 0, child)
    child.mint(given)
    child.ok("cap_revoke", given)
    assert endpoint in init.space.caps and given in child.space.caps


@provokes("label_allow", Error.BAD_CAPABILITY)
def test_authority_is_one_device_alone(world: World) -> None:
    disk = world.give(Device(world.kernel, "disk", 0))
    for slot in (disk, world.debug, 999):
        world.init.fails("label_allow", slot, 1, 2, 1)
