"""Devices: access, interrupts that are one shot, and the two authorities."""

from __future__ import annotations

import pytest

from kernel.abi import ALL_RIGHTS, NULL, Error, Fault, Right
from kernel.effects import Resume, Unmask
from tools.check import invariants
from tools.check.harness import FULL, World, provokes

BOTH = Right.READ | Right.WRITE


def test_map_hands_the_device_over(world: World) -> None:
    device, slot = world.device(size=512)
    assert world.init.ok("device_map", slot, Right.READ) == 512
    effect = world.effects[0]
    assert isinstance(effect, Resume) and effect.resource is device and not effect.writable


@provokes("device_map", Error.BAD_ARGUMENT)
@pytest.mark.parametrize("rights", [0, Right.WRITE, ALL_RIGHTS])
def test_rights_of_a_mapping(world: World, rights: int) -> None:
    world.init.fails("device_map", world.device()[1], rights)


@provokes("device_map", Error.NO_RIGHT)
@provokes("irq_bind", Error.NO_RIGHT)
@provokes("irq_ack", Error.NO_RIGHT)
def test_rights_of_a_driver(world: World) -> None:
    init = world.init
    _, slot = world.device()
    weak = init.mint(slot, Right.READ)
    notification = init.notification()
    init.fails("device_map", weak, BOTH)
    init.fails("irq_bind", weak, notification, 1)
    init.fails("irq_ack", weak)
    init.fails("irq_bind", slot, init.mint(notification, Right.RECEIVE), 1)


@provokes("device_map", Error.NO_DEVICE)
def test_device_that_the_machine_does_not_have(world: World) -> None:
    world.provides = False
    world.init.fails("device_map", world.device()[1], BOTH)


@provokes("device_map", Error.BAD_CAPABILITY)
@provokes("irq_bind", Error.BAD_CAPABILITY)
@provokes("irq_ack", Error.BAD_CAPABILITY)
def test_what_is_no_hardware(world: World) -> None:
    init = world.init
    notification = init.notification()
    for slot in (NULL, 999, notification, world.policy, world.debug):
        init.fails("device_map", slot, BOTH)
        init.fails("irq_bind", slot, notification, 1)
        init.fails("irq_ack", slot)
    init.fails("irq_bind", world.device()[1], init.endpoint(), 1)


@provokes("irq_ack", Error.BAD_ARGUMENT)
def test_acknowledging_what_is_not_bound(world: World) -> None:
    world.init.fails("irq_ack", world.device()[1])


@provokes("irq_bind", Error.IN_USE)
def test_one_driver_at_a_time(world: World) -> None:
    init = world.init
    _, slot = world.device()
    mine, other = init.notification(), init.notification()
    init.ok("irq_bind", slot, mine, 1)
    init.fails("irq_bind", slot, other, 1)
    init.ok("irq_bind", slot, mine, 2)
    init.ok("cap_drop", mine)
    init.ok("irq_bind", slot, other, 1)


def test_interrupt_is_one_shot(world: World) -> None:
    init = world.init
    device, slot = world.device()
    notification = init.notification()
    init.ok("irq_bind", slot, notification, 4)
    world.carry_out(world.kernel.interrupt(device))
    assert init.ok("poll", notification) == 0  # masked until acknowledged
    init.ok("irq_ack", slot)
    assert any(isinstance(effect, Unmask) for effect in world.effects)
    init.ok("irq_ack", slot)
    assert not any(isinstance(effect, Unmask) for effect in world.effects)
    world.carry_out(world.kernel.interrupt(device))
    world.carry_out(world.kernel.interrupt(device))
    assert init.ok("wait", notification, 0) == 4
    assert init.ok("poll", notification) == 0


@pytest.mark.parametrize("lost", ["device", "notification", "driver", "moved"])
def test_binding_ends_with_its_capabilities(world: World, lost: str) -> None:
    """The next driver is not kept out, and nobody is signalled for the last one."""
    init = world.init
    device, slot = world.device()
    notification = init.notification()
    driver = init.child("driver")
    disk = init.mint(slot, ALL_RIGHTS, 0, driver)
    word = init.mint(notification, FULL, 0, driver)
    driver.ok("irq_bind", disk, word, 1)
    driver.ok("irq_ack", disk)
    match lost:
        case "device":
            init.ok("cap_revoke", slot)
        case "notification":
            init.ok("cap_revoke", notification)
        case "driver":
            world.carry_out(world.kernel.died(driver.space, Fault.CRASHED, ""))
        case "moved":
            driver.ok("cap_move", word, NULL)
    world.carry_out(world.kernel.interrupt(device))
    assert init.ok("poll", notification) == 0
    init.ok("irq_bind", slot, init.notification(), 1)
    invariants.check(world.kernel)


def test_label_taken_away_takes_the_interrupt(world: World) -> None:
    init = world.init
    init.allow(0, 1)
    device, slot = world.device()
    driver = init.child("driver", label=1)
    notification = init.notification()
    disk = init.mint(slot, ALL_RIGHTS, 0, driver)
    driver.ok("irq_bind", disk, init.mint(notification, Right.SEND, 0, driver), 1)
    driver.ok("irq_ack", disk)
    init.allow(0, 1, False)
    world.carry_out(world.kernel.interrupt(device))
    assert init.ok("poll", notification) == 0


@provokes("label_allow", Error.NO_RIGHT)
@provokes("debug", Error.NO_RIGHT)
def test_authorities_need_control(world: World) -> None:
    init = world.init
    init.fails("label_allow", init.mint(world.policy, Right.READ), 1, 2, 1)
    init.fails("debug", init.mint(world.debug, Right.READ), 0, 0)


def test_clock_is_the_machine_s(world: World) -> None:
    world.advance(1234)
    assert world.init.ok("clock") == world.now
