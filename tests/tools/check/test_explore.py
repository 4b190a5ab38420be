"""The explorer: all orders of small worlds, and broken kernels that it must find out."""

from __future__ import annotations

import pytest

from tools.check.configurations import CONFIGURATIONS, GENERATED
from tools.check.counterexample import NAMED, Counterexample
from tools.check.explore import explore
from tools.check.invariants import LAWS
from tools.check.main import hunt
from tools.check.mutants import applied

LEAST = {
    "call-and-reply-with-capabilities": 600,
    "revoke-while-it-is-passed-on": 300,
    "two-clients-and-a-deaf-server": 800,
    "server-is-destroyed": 550,
    "endpoint-is-revoked": 400,
    "suspended-in-the-middle": 500,
    "signals-heard-in-three-ways": 1_000,
    "labels-part": 350,
    "everything-ends": 2_800,
    "frames-mapped-and-unmapped": 1_400,
    "quotas-run-out": 350,
    "busy-with-themselves": 40,
    "any-messages": 5_000,
    "any-memory": 42_000,
    "any-signals": 22_000,
    "any-labels": 22_000,
}
"""Distinct states that each configuration has, or that are looked at here."""
SMALL = ["busy-with-themselves", "labels-part", "suspended-in-the-middle"]


def test_a_hundred_thousand_states_are_looked_at() -> None:
    assert set(LEAST) == set(CONFIGURATIONS)
    assert sum(LEAST.values()) > 100_000


@pytest.mark.parametrize("name", LEAST)
def test_no_law_is_broken(name: str) -> None:
    generated = name in GENERATED
    found = explore(CONFIGURATIONS[name].build(), None, LEAST[name] if generated else None)
    violation = found.violation
    assert violation is None, _told(name, Counterexample(name, "", violation.path))
    assert found.states >= LEAST[name]
    assert found.complete is not generated
    assert bool(found.ends) is not generated


def _told(name: str, found: Counterexample) -> str:
    repeated = found.repeat()
    return "\n".join([name, *repeated.numbered(), str(repeated.broken), found.command()])


@pytest.mark.parametrize("name", NAMED)
def test_mutant_is_found_out(name: str) -> None:
    result = hunt(name)
    assert result is not None and result.found.violation is not None
    violation, found = result.found.violation, result.counterexample()
    assert found is not None and violation.law in (*LAWS, "failure")
    repeated = found.repeat()
    assert repeated.complete and repeated.broken == (violation.law, violation.text)
    assert len(repeated.lines) == len(found.path) > 0
    # It takes all of its steps, and a kernel that is broken.
    assert found._replace(path=found.path[:-1]).repeat().broken is None
    assert found._replace(mutant="").repeat().broken is None


def test_a_counterexample_is_the_shortest() -> None:
    """No path of fewer actions, of all that there are, breaks a law."""
    result = hunt("link-is-not-cut")
    assert result is not None and result.found.violation is not None
    length = len(result.found.violation.path)
    one, other = result.configuration.build(), result.configuration.build()
    with applied(NAMED["link-is-not-cut"]):
        shorter = explore(one, length - 1, reduce=False)
        assert shorter.violation is None and not shorter.complete
        again = explore(other, length, reduce=False)
        assert again.violation is not None and len(again.violation.path) == length


@pytest.mark.parametrize("name", SMALL)
def test_reduction_loses_no_end(name: str) -> None:
    build = CONFIGURATIONS[name].build
    reduced, all_orders = explore(build()), explore(build(), reduce=False)
    assert reduced.ends == all_orders.ends and len(reduced.ends) > 1
    assert reduced.states <= all_orders.states
    assert (reduced.violation, all_orders.violation) == (None, None)


@pytest.mark.parametrize("mutant", NAMED)
def test_reduction_loses_no_violation(mutant: str) -> None:
    """Where the reduction is at work, it finds what a search of all orders finds, or neither."""
    build = CONFIGURATIONS["busy-with-themselves"].build
    worlds = build(), build()
    with applied(NAMED[mutant]):
        reduced, all_orders = explore(worlds[0]), explore(worlds[1], reduce=False)
    laws = [found.violation and found.violation.law for found in (reduced, all_orders)]
    assert laws[0] == laws[1]


def test_reduction_helps() -> None:
    build = CONFIGURATIONS["busy-with-themselves"].build
    reduced, all_orders = explore(build()), explore(build(), reduce=False)
    assert reduced.states < all_orders.states
    assert reduced.transitions * 2 < all_orders.transitions


def test_depth_ends_it() -> None:
    build = CONFIGURATIONS["any-messages"].build
    shallow, deeper = explore(build(), 2), explore(build(), 3)
    assert not shallow.complete and not deeper.complete
    assert shallow.states < deeper.states


def test_it_is_the_same_every_time() -> None:
    build = CONFIGURATIONS["everything-ends"].build
    first, second = explore(build(), 7), explore(build(), 7)
    assert first._replace(seconds=0) == second._replace(seconds=0)
