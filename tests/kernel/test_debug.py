"""What the debug authority sees."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from kernel.abi import (
    MAX_PAYLOAD,
    NULL,
    DebugOp,
    Error,
    ThreadOp,
    ThreadState,
    TraceEvent,
)
from tools.check.harness import Service, World, provokes


def report(world: World, operation: DebugOp, start: int = 0) -> list[list[Any]]:
    """All pages of a report."""
    rows: list[list[Any]] = []
    while True:
        page, start = world.init.ok("debug", world.debug, operation, start)
        assert len(page) <= MAX_PAYLOAD
        rows += msgpack.unpackb(page)
        if not start:
            return rows


def test_spaces(world: World) -> None:
    child = world.init.child("worker")
    rows = {row[1]: row for row in report(world, DebugOp.SPACES)}
    space = child.space
    assert rows["worker"] == [
        *(space.id, "worker", 0, 0, space.account.used, space.account.limit),
        *(0, 0, 1),
        *(4711, 22, 33),
        *(0, 0),
    ]


def test_spaces_tell_their_budget(world: World) -> None:
    child = world.init.child("worker")
    world.init.ok("thread_control", child.control, ThreadOp.BUDGET, 3 << 32 | 10)
    rows = {row[1]: row for row in report(world, DebugOp.SPACES)}
    assert rows["worker"][-2:] == [3, 10]


def test_threads_and_what_they_wait_for(world: World) -> None:
    service = Service(world)
    endpoint = world.init.space.caps[service.endpoint].object.id
    service.serve()
    service.server.receive(service.receive)
    rows = {row[0]: row[3:] for row in report(world, DebugOp.THREADS)}
    assert rows[service.client.thread.id] == [ThreadState.REPLY, 100, endpoint]
    assert rows[service.server.thread.id] == [ThreadState.RECEIVING, 100, endpoint]
    assert rows[world.init.thread.id] == [ThreadState.RUNNING, 200, 0]


def test_endpoints(world: World) -> None:
    service = Service(world)
    service.client.call(service.send)
    endpoint = world.init.space.caps[service.endpoint].object.id
    assert report(world, DebugOp.ENDPOINTS) == [[endpoint, 0, 1, 0, 2]]


def test_capabilities_and_their_parents(world: World) -> None:
    service = Service(world)
    rows = report(world, DebugOp.CAPABILITIES)
    found = [row for row in rows if row[0] == service.client.space.id]
    endpoint = world.init.space.caps[service.endpoint].object.id
    origin = (world.init.space.id, service.endpoint)
    assert found == [[found[0][0], service.send, "Endpoint", endpoint, 36, 7, *origin]]


@pytest.mark.parametrize("operation", [DebugOp.SPACES, DebugOp.CAPABILITIES])
def test_many_rows_come_in_pages(world: World, operation: DebugOp) -> None:
    for _ in range(600):
        world.init.ok("space_create", "x" * 64, 0, 0, NULL, 0, NULL)
    rows = report(world, operation)
    assert len(rows) > 600 and len({tuple(row) for row in rows}) == len(rows)


def test_trace_comes_in_pages(world: World) -> None:
    for _ in range(300):
        world.init.ok("signal", world.init.notification(), (1 << 64) - 1)
    rows = []
    start = 0
    for _ in range(20):
        page, start = world.init.ok("debug", world.debug, DebugOp.TRACE, start)
        rows += msgpack.unpackb(page)
        if not start:
            break
    numbers = [row[0] for row in rows]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [row[5] for row in rows if row[2] == TraceEvent.SIGNAL] == [(1 << 64) - 1] * 300


def test_start_beyond_the_end(world: World) -> None:
    for operation in DebugOp:
        rows, following = world.init.ok("debug", world.debug, operation, (1 << 64) - 1)
        assert msgpack.unpackb(rows) == [] and following == 0


@provokes("debug", Error.BAD_ARGUMENT)
def test_unknown_report(world: World) -> None:
    world.init.fails("debug", world.debug, len(DebugOp), 0)


@provokes("debug", Error.BAD_CAPABILITY)
def test_debug_needs_its_own_authority(world: World) -> None:
    for slot in (NULL, world.policy, world.device()[1], world.init.endpoint()):
        world.init.fails("debug", slot, DebugOp.SPACES, 0)
