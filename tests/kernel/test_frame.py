"""Frames: mapping, unmapping, and that a revoke is not over before the memory is gone."""

from __future__ import annotations

import pytest

from kernel.abi import NULL, PAGE_SIZE, Error, Fault, Right, ThreadOp
from kernel.effects import DropFrame, Resume, Unmap
from kernel.frame import Mapping
from tools.check import invariants
from tools.check.harness import FULL, Actor, World, provokes

BOTH = Right.READ | Right.WRITE


def shared(world: World, rights: int = FULL) -> tuple[int, Actor, int]:
    """Init's frame, a child, and the child's capability to the frame."""
    frame = world.init.frame()
    child = world.init.child()
    return frame, child, world.init.mint(frame, rights, 0, child)


def test_map_hands_the_memory_over(world: World) -> None:
    frame = world.init.frame(3 * PAGE_SIZE)
    number, size = world.init.ok("map", frame, BOTH)
    effect = world.effects[0]
    assert isinstance(effect, Resume) and isinstance(effect.resource, Mapping)
    assert effect.writable and size == 3 * PAGE_SIZE and effect.resource.id == number


def test_read_only_mapping_is_not_writable(world: World) -> None:
    world.init.ok("map", world.init.frame(), Right.READ)
    effect = world.effects[0]
    assert isinstance(effect, Resume) and not effect.writable


@provokes("frame_create", Error.BAD_ARGUMENT)
@pytest.mark.parametrize("size", [0, 1, PAGE_SIZE + 1, (1 << 64) - 1])
def test_frames_are_whole_pages(world: World, size: int) -> None:
    world.init.fails("frame_create", size)


@provokes("map", Error.BAD_ARGUMENT)
@pytest.mark.parametrize("rights", [0, Right.WRITE, BOTH | Right.SEND, 64])
def test_rights_of_a_mapping(world: World, rights: int) -> None:
    world.init.fails("map", world.init.frame(), rights)


@provokes("map", Error.BAD_CAPABILITY)
def test_map_of_what_is_no_frame(world: World) -> None:
    world.init.fails("map", NULL, BOTH)
    world.init.fails("map", world.init.endpoint(), BOTH)


@provokes("map", Error.NO_RIGHT)
def test_map_needs_the_rights(world: World) -> None:
    _, child, given = shared(world, Right.READ)
    child.fails("map", given, BOTH)
    child.ok("map", given, Right.READ)


@provokes("map", Error.NO_DEVICE)
def test_memory_that_the_machine_does_not_have(world: World) -> None:
    frame = world.init.frame()
    world.provides = False
    used = world.init.space.account.used
    world.init.fails("map", frame, BOTH)
    assert world.init.space.account.used == used
    world.init.ok("cap_drop", frame)  # nothing of the mapping is left to wait for
    invariants.check(world.kernel)


@provokes("unmap", Error.BAD_ARGUMENT)
def test_unmap_of_what_is_not_mapped_here(world: World) -> None:
    _, child, given = shared(world)
    number, _ = child.ok("map", given, BOTH)
    world.init.fails("unmap", number)
    child.ok("unmap", number)
    child.fails("unmap", number)


def test_unmap_waits_for_the_machine(world: World) -> None:
    world.prompt = False
    number, _ = world.init.ok("map", world.init.frame(), BOTH)
    world.init.blocks("unmap", number)
    assert isinstance(world.effects[0], Unmap) and world.effects[0].asked
    world.confirm()
    assert world.init.result() is None


def test_revoke_waits_until_the_memory_is_gone(world: World) -> None:
    world.prompt = False
    frame, child, given = shared(world)
    child.ok("map", given, BOTH)
    child.ok("map", given, Right.READ)
    world.init.blocks("cap_revoke", frame)
    world.confirm()
    assert not world.init.answered()
    invariants.check(world.kernel)
    world.confirm()
    assert world.init.result() is None and not child.space.mappings


def test_revoke_waits_for_what_others_are_removing(world: World) -> None:
    """The holder dropped its capability, but has not let go of the memory yet."""
    world.prompt = False
    frame, child, given = shared(world)
    child.ok("map", given, BOTH)
    child.blocks("cap_drop", given)
    world.init.blocks("cap_revoke", frame)
    world.confirm()
    assert world.init.answered() and child.answered()


def test_revoke_waits_for_a_holder_that_is_being_killed(world: World) -> None:
    world.prompt = False
    frame, child, given = shared(world)
    child.ok("map", given, BOTH)
    world.carry_out(world.kernel.died(child.space, Fault.CRASHED, ""))
    world.init.blocks("cap_revoke", frame)
    world.confirm()  # the end of the space is the end of its mappings
    assert world.init.result() is None
    invariants.check(world.kernel)


def test_revoke_is_over_when_the_disobedient_dies(world: World) -> None:
    world.prompt = False
    frame, child, given = shared(world)
    child.ok("map", given, BOTH)
    world.init.blocks("cap_revoke", frame)
    world.carry_out(world.kernel.died(child.space, Fault.DISOBEYED, "kept a mapping"))
    world.confirm()
    assert world.init.result() is None and not child.space.mappings


def test_frame_is_freed_after_its_last_mapping(world: World) -> None:
    world.prompt = False
    frame = world.init.frame()
    world.init.ok("map", frame, BOTH)
    used = world.init.space.account.used
    world.init.blocks("cap_drop", frame)
    assert not world.dropped and world.init.space.account.used > used - PAGE_SIZE
    world.confirm()
    assert len(world.dropped) == 1
    invariants.check(world.kernel)


def test_frame_lives_as_long_as_a_capability(world: World) -> None:
    frame, child, given = shared(world)
    world.init.ok("cap_drop", frame)
    assert not world.dropped
    child.ok("cap_drop", given)
    assert any(isinstance(effect, DropFrame) for effect in world.effects)


def test_frame_revoked_on_its_way_arrives_as_nothing(world: World) -> None:
    init = world.init
    frame, child, given = shared(world)
    endpoint = init.endpoint()
    child.call(init.mint(endpoint, FULL, 0, child), b"", [given])
    init.ok("cap_revoke", frame)
    assert init.ok("recv", endpoint, 0)[3] == [NULL]


def test_a_call_while_suspended_maps_nothing_until_resumed(world: World) -> None:
    """Else the memory would be handed over after it was revoked."""
    init = world.init
    frame, child, given = shared(world)
    init.ok("thread_control", child.control, ThreadOp.SUSPEND, 0)
    child.blocks("map", given, BOTH)
    init.ok("cap_revoke", frame)
    init.ok("thread_control", child.control, ThreadOp.RESUME, 0)
    assert child.error() == Error.BAD_CAPABILITY
    assert not child.space.mappings


def test_machine_confirms_twice(world: World) -> None:
    world.prompt = False
    number, _ = world.init.ok("map", world.init.frame(), BOTH)
    mapping = world.init.space.mappings[number]
    world.init.blocks("unmap", number)
    world.confirm()
    assert world.kernel.unmapped(mapping) == []
    invariants.check(world.kernel)
