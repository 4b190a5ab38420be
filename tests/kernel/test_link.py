"""Links: each end once, through the right to it, and cut with either capability."""

from __future__ import annotations

from kernel.abi import ALL_RIGHTS, LINK_COST, NULL, Error, Right, ThreadOp
from kernel.link import Link
from tools.check import invariants
from tools.check.harness import Actor, World, provokes


def pair(world: World) -> tuple[Actor, int, Link, int]:
    """A client with the right to its end, the link, and init's capability, which has all rights."""
    client = world.init.child("client")
    slot = world.init.ok("link_create")
    link = world.init.space.caps[slot].object
    given = world.init.mint(slot, Right.SEND | Right.GRANT, 0, client)
    return client, given, link, slot


def open_both(world: World) -> tuple[Actor, int, Link, int]:
    client, given, link, slot = pair(world)
    world.init.ok("link_open", slot, Right.RECEIVE)
    client.ok("link_open", given, Right.SEND)
    return client, given, link, slot


def test_ends_are_handed_over(world: World) -> None:
    client, given, link, slot = pair(world)
    world.init.request("link_open", slot, Right.RECEIVE)
    server = world.answers[world.init.thread]
    assert server.resource is link and server.writable
    client.request("link_open", given, Right.SEND)
    mine = world.answers[client.thread]
    assert mine.resource is link and not mine.writable


@provokes("link_open", Error.IN_USE)
def test_each_end_once(world: World) -> None:
    client, given, _, slot = open_both(world)
    assert client.fails("link_open", given, Right.SEND) is Error.IN_USE
    assert world.init.fails("link_open", slot, Right.SEND) is Error.IN_USE


@provokes("link_open", Error.NO_RIGHT, Error.BAD_ARGUMENT)
def test_an_end_needs_its_right(world: World) -> None:
    client, given, _, slot = pair(world)
    assert client.fails("link_open", given, Right.RECEIVE) is Error.NO_RIGHT
    assert world.init.fails("link_open", slot, Right.READ) is Error.BAD_ARGUMENT
    assert world.init.fails("link_open", slot, ALL_RIGHTS) is Error.BAD_ARGUMENT


def test_it_is_cut_with_the_client_s_capability(world: World) -> None:
    client, given, link, _ = open_both(world)
    assert not world.cut
    client.ok("cap_drop", given)
    assert world.cut == [link]


def test_revoking_cuts_it(world: World) -> None:
    _, _, link, slot = open_both(world)
    world.init.ok("cap_revoke", slot)
    assert world.cut == [link]
    invariants.check(world.kernel)


def test_the_end_of_a_side_cuts_it(world: World) -> None:
    client, _, link, _ = open_both(world)
    world.init.ok("space_destroy", client.slot)
    assert link in world.cut


def test_another_capability_does_not_matter(world: World) -> None:
    _, _, _, slot = open_both(world)
    other = world.init.mint(slot, Right.SEND)
    world.init.ok("cap_drop", other)
    assert not world.cut


def test_it_costs_quota_and_gives_it_back(world: World) -> None:
    before = world.init.space.account.used
    slot = world.init.ok("link_create")
    assert world.init.space.account.used - before > LINK_COST
    world.init.ok("cap_drop", slot)
    assert world.init.space.account.used == before


def test_labels_that_may_not_talk_have_no_link(world: World) -> None:
    world.init.ok("label_allow", world.policy, 0, 5, 1)
    slot = world.init.ok("link_create")
    other = world.init.child("other", label=5)
    given = world.init.mint(slot, Right.SEND, 0, other)
    world.init.ok("link_open", slot, Right.RECEIVE)
    other.ok("link_open", given, Right.SEND)
    world.init.ok("label_allow", world.policy, 0, 5, 0)
    assert world.cut, "taking the pair away cuts what it let through"
    invariants.check(world.kernel)


def test_suspended_holders_keep_their_end(world: World) -> None:
    client, _, _, _ = open_both(world)
    world.init.ok("thread_control", client.control, ThreadOp.SUSPEND, NULL)
    assert not world.cut


@provokes("link_open", Error.BAD_CAPABILITY)
def test_only_links_are_opened(world: World) -> None:
    assert world.init.fails("link_open", world.init.endpoint(), Right.SEND) is Error.BAD_CAPABILITY


@provokes("link_open", Error.NO_DEVICE)
def test_machine_that_cannot_provide_it(world: World) -> None:
    _, _, _, slot = pair(world)
    world.provides = False
    assert world.init.fails("link_open", slot, Right.RECEIVE) is Error.NO_DEVICE


@provokes("link_create", Error.NO_QUOTA)
def test_it_needs_quota(world: World) -> None:
    poor = world.init.child("poor", quota=LINK_COST)
    assert poor.fails("link_create") is Error.NO_QUOTA
