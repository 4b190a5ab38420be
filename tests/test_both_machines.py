"""The same processes on both machines, unchanged: what they see must not differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.abi import DebugOp
from servers.runtime import ServerDied
from tests.support.programs.counter import Counter
from tests.support.programs.worker import Worker
from tools.errors import UserError
from tools.system import System, boot, load

DESCRIPTION = Path(__file__).parent / "support" / "programs" / "both.toml"
SECOND = 1_000_000_000

EXPECTED = [
    "sum 3 7",
    "BadRequest",
    "Failed",
    "None",
    "TimedOut",
    "sum 7",
    "filled 12288",
    "AAA",
    "kept 65",
    "Failed",
    "BadCapability",
    "CA",
    "bits 4 0",
    "TimedOut",
    "BadCapability",
    "BadArgument",
    "NoQuota",
    "NoRight",
]


@pytest.fixture(params=["sim", "host"])
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """The system, booted on one machine after the other."""
    if request.param == "host" and sys.platform != "linux":
        pytest.skip("the host machine needs Linux")
    try:
        booted = boot(load(str(DESCRIPTION)), request.param)
    except UserError as error:
        if "--allow-weak-isolation" in str(error):
            pytest.skip(f"this host lacks a layer of isolation: {error}")
        raise
    with booted:
        yield booted


def test_processes_see_the_same(system: System) -> None:
    assert system.open(Worker, "worker").work() == EXPECTED


def test_calls_without_the_kernel_in_between(system: System) -> None:
    assert system.open(Worker, "worker").direct() == [
        *("sum 3 7", "BadRequest", "Failed", "None"),
        *("filled 4096", "sum 8"),
        *("sum 1", "TimedOut", "sum 1"),
        "ServerDied",
    ]
    assert system.open(Counter, "counter", timeout=60 * SECOND).add(5) == 5


def test_server_is_replaced_under_its_clients(system: System) -> None:
    counter = system.open(Counter, "counter", timeout=60 * SECOND)
    assert counter.add(5) == 5
    system.control.kill("counter")
    assert counter.add(1) == 1
    assert system.open(Worker, "worker").work()[0] == "sum 4 8"
    info = {process.name: process for process in system.control.processes()}
    assert info["counter"].starts == 2 and info["worker"].starts == 1


def test_nothing_is_left_of_what_was_replaced(system: System) -> None:
    worker = system.open(Worker, "worker", timeout=60 * SECOND)
    used = []
    for _ in range(3):
        worker.work()
        system.control.kill("counter")
        worker.work()
        rows = {row[1]: row for row in system.debug(DebugOp.SPACES)}
        assert set(rows) == {"init", "operator", "counter", "worker"}
        used.append((rows["init"][4], rows["counter"][4:9]))
    assert used[0] == used[1] == used[2]


def test_threads_come_and_go(system: System) -> None:
    worker = system.open(Worker, "worker", timeout=60 * SECOND)
    assert [worker.threads() for _ in range(3)] == [3, 6, 9]


def test_call_of_the_operator_is_cut_off_by_a_death(system: System) -> None:
    counter = system.open(Counter, "counter", timeout=60 * SECOND)
    with pytest.raises(ServerDied):
        counter.fail_hard()
    assert counter.add(2) == 2
