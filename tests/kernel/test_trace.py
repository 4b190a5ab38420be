"""The trace ring: bounded, in order, and with a number that tells what was lost."""

from __future__ import annotations

from kernel.abi import Fault, TraceEvent
from kernel.trace import RING, SLACK, Ring
from tools.check.harness import SPECS, Service, World


def events(world: World, kind: TraceEvent) -> list[tuple[int, ...]]:
    """``(thread, a, b)`` of all events of a kind."""
    ring = world.kernel.trace.since(0, RING)
    return [tuple(event[3:]) for event in ring if event[2] == kind]


def test_ring_forgets_the_oldest() -> None:
    ring = Ring()
    for number in range(RING + 10):
        ring.add((0, number, 0, 0, 0))
    found = ring.since(0, RING + 10)
    assert len(found) == RING and found[0][0] == 11 and found[-1][0] == RING + 10
    ring.trim()
    assert len(ring.events) == RING and ring.sequence == RING + 10
    assert ring.since(0, RING + 10) == found


def test_ring_is_bounded(world: World) -> None:
    for _ in range(RING):
        world.init.ok("clock")
    assert len(world.kernel.trace.events) <= RING + SLACK + 10
    assert world.kernel.trace.sequence >= 2 * RING


def test_since_starts_at_a_sequence_number() -> None:
    ring = Ring()
    for number in range(10):
        ring.add((0, number, 0, 0, 0))
    assert [event[0] for event in ring.since(4, 3)] == [4, 5, 6]
    assert [event[0] for event in ring.since(9, 100)] == [9, 10]
    assert ring.since(11, 1) == [] and ring.since(1 << 64, 1) == []


def test_calls_returns_and_messages(world: World) -> None:
    service = Service(world)
    reply = service.serve()
    server, client = service.server.thread.id, service.client.thread.id
    assert (client, SPECS["call"].number, service.send) in events(world, TraceEvent.CALL)
    assert (client, server, 0) in events(world, TraceEvent.MESSAGE)
    service.server.ok("reply", reply, 5, b"", [])
    assert (server, client, 5) in events(world, TraceEvent.MESSAGE)
    assert events(world, TraceEvent.RETURN)[-2:] == [(client, 0, 0), (server, 0, 0)]


def test_lives_of_objects(world: World) -> None:
    slot = world.init.notification()
    number = world.init.space.caps[slot].object.id
    world.init.ok("signal", slot, 9)
    world.init.ok("cap_drop", slot)
    assert (0, number, 0) in events(world, TraceEvent.CREATE)
    assert (0, number, 9) in events(world, TraceEvent.SIGNAL)
    assert (0, number, 0) in events(world, TraceEvent.DESTROY)


def test_faults_and_interrupts(world: World) -> None:
    child = world.init.child()
    child.request("thread_exit", Fault.EXCEPTION, "")
    found = events(world, TraceEvent.FAULT)
    assert found == [(child.thread.id, child.space.id, Fault.EXCEPTION)]
    device, _ = world.device()
    world.carry_out(world.kernel.interrupt(device))
    assert events(world, TraceEvent.INTERRUPT) == [(0, device.id, 0)]
