"""Credits: over time everybody who is busy gets the share of its weight, and nobody waits idly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.init.interface import Scheduling, Usage
from servers.runtime import NotFound
from servers.scheduler.main import MOST, PERIOD, Accounts, account, settle

MS = 1_000_000
SLICE = 5 * MS


class Host(Scheduling):
    """A processor that runs the favoured first, each for a slice in turn, and then the others."""

    def __init__(self, weights: dict[str, int]) -> None:
        self.weights = weights
        self.cpu = dict.fromkeys(weights, 0)
        self.favoured = dict.fromkeys(weights, True)
        self.busy = dict.fromkeys(weights, True)
        self._turn = 0

    def usage(self) -> list[Usage]:
        return [Usage(name, weight, self.cpu[name]) for name, weight in self.weights.items()]

    def favour(self, name: str, favoured: bool) -> None:
        if name not in self.favoured:
            raise NotFound(name)
        self.favoured[name] = favoured

    def run(self, time: int) -> int:
        """Let time pass; how much of it the processor was idle."""
        idle = 0
        for _ in range(time // SLICE):
            able = [name for name in self.weights if self.busy[name]]
            able = [name for name in able if self.favoured[name]] or able
            if not able:
                idle += SLICE
                continue
            self._turn += 1
            self.cpu[able[self._turn % len(able)]] += SLICE
        return idle


def live(host: Host, periods: int, accounts: Accounts | None = None) -> tuple[Accounts, int]:
    accounts, idle = accounts or {}, 0
    for _ in range(periods):
        idle += host.run(PERIOD)
        accounts = account(accounts, host)
    return accounts, idle


@pytest.mark.parametrize("weights", [(256, 256), (512, 256), (100, 200, 300), (1, 9), (7, 7, 7, 7)])
def test_shares_are_by_weight(weights: tuple[int, ...]) -> None:
    host = Host({str(number): weight for number, weight in enumerate(weights)})
    _, idle = live(host, 400)
    total = sum(host.cpu.values())
    assert idle == 0 and total == 400 * PERIOD
    for name, weight in host.weights.items():
        assert host.cpu[name] / total == pytest.approx(weight / sum(weights), abs=0.02)


def test_who_sleeps_leaves_its_share_to_the_others_and_saves_nothing_up() -> None:
    host = Host({"a": 256, "b": 256})
    host.busy["a"] = False
    accounts, idle = live(host, 50)
    assert idle == 0 and host.cpu == {"a": 0, "b": 50 * PERIOD}
    host.busy["a"] = True
    before = dict(host.cpu)
    live(host, 100, accounts)
    gained = {name: host.cpu[name] - before[name] for name in host.cpu}
    assert gained["a"] / sum(gained.values()) == pytest.approx(0.5, abs=0.05)


def test_it_is_alone() -> None:
    host = Host({"a": 1})
    _, idle = live(host, 10)
    assert idle == 0 and host.favoured["a"]


def test_what_has_ended_meanwhile_is_no_trouble() -> None:
    host = Host({"a": 1, "b": 1})
    accounts, _ = live(host, 3)
    host.cpu["a"] += 10 * PERIOD
    host.favoured.clear()
    account(accounts, host)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 1 << 40)), min_size=1, max_size=4),
        max_size=8,
    )
)
def test_credit_is_conserved_and_bounded(periods: list[list[tuple[int, int]]]) -> None:
    accounts: Accounts = {}
    for seen in periods:
        usages = [Usage(str(n), weight, cpu) for n, (weight, cpu) in enumerate(seen)]
        settled = settle(accounts, usages)
        assert set(settled) == {usage.name for usage in usages}
        assert all(abs(found.credit) <= MOST * PERIOD for found in settled.values())
        assert all(found.favoured == (found.credit >= 0) for found in settled.values())
        accounts = settled
