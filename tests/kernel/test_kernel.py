"""The kernel as a whole: the table, boot, and determinism."""

from __future__ import annotations

import importlib
import random
from inspect import signature

import pytest

from kernel.abi import CALLS, KINDS, Error
from kernel.kernel import HANDLERS, Kernel
from kernel.machine.config import new_space
from kernel.machine.sim.machine import next_deadline
from tools.check.harness import PROVOKES, World
from tools.check.walk import Walker

OBJECTS = ("capability", "space", "frame", "thread", "endpoint", "notification", "device", "label")
OTHERS = ("link", "quota", "trace", "debug", "kernel")


def test_every_error_of_the_table_is_provoked() -> None:
    provoked: set[tuple[str, Error]] = set()
    for name in (*OBJECTS, *OTHERS):
        module = importlib.import_module(f"tests.kernel.test_{name}")
        for test in vars(module).values():
            provoked |= getattr(test, PROVOKES, set())
    listed = {(spec.name, error) for spec in CALLS for error in spec.errors}
    assert listed - provoked == set(), "no test provokes these"
    assert provoked - listed == set(), "the table lacks these"


def test_every_call_has_one_handler_that_takes_its_arguments() -> None:
    assert len(HANDLERS) == len(CALLS)
    for spec, (handler, _, _) in zip(CALLS, HANDLERS, strict=True):
        taken = len(signature(handler).parameters)
        assert taken == 1 + len(spec.arguments), spec.name
        assert CALLS[spec.number] is spec
        assert Error.OK not in spec.errors and len(set(spec.errors)) == len(spec.errors)
        for _, kind in (*spec.arguments, *spec.results):
            assert kind in KINDS


def test_boot_takes_no_more_than_there_is() -> None:
    kernel = Kernel(lambda: 0, 1000)
    with pytest.raises(ValueError, match="more than the machine has left"):
        new_space(kernel, "init", 1001)


def test_events_that_mean_nothing_any_more(world: World) -> None:
    child = world.init.child()
    world.init.ok("space_destroy", child.slot)
    assert world.kernel.ended(child.space) == []
    assert world.kernel.tick() == []
    assert next_deadline(world.kernel) is None


def test_same_events_same_run() -> None:
    def run(seed: int) -> list[tuple[int, ...]]:
        walker = Walker(random.Random(seed).randrange)
        for _ in range(200):
            walker.step()
        return list(walker.world.kernel.trace.since(0, 10_000))

    assert run(1) == run(1)
    assert run(1) != run(2)
