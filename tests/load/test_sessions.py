"""Sessions of packet streams: a wake-up that is lost, on either side, is noticed and survived."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from servers.runtime import Environment, Failed, KernelError, Notification
from servers.runtime.stream import StreamOffer
from tests.support.simulation import Simulation, Supervision
from tools.bench.programs.load.client.main import Session
from tools.bench.programs.load.interface import Worker
from tools.bench.programs.load.lane import Broken
from tools.bench.programs.load.server.main import Main


class Deaf(Main):
    """Does not hear every third signal."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._signals = 0

    def notify(self, bits: int) -> None:
        self._signals += 1
        if self._signals % 3:
            super().notify(bits)


class Dumb(Main):
    """Forgets to signal its client now and then."""

    def attach(self, offer: StreamOffer) -> Notification:
        found = super().attach(offer)
        stream: Any = self._attached[self._env.badge]._stream
        plain, signals = stream.needs_wake, [0]

        def needs_wake() -> bool:
            signals[0] += 1
            return plain() and signals[0] % 5 != 0

        stream.needs_wake = needs_wake
        return found


class Losing(Main):
    """Loses packets."""

    def notify(self, bits: int) -> None:
        for attached in self._attached.values():
            attached._stream.take_all()


def run(kind: type[Main], disturb: Callable[[Environment], None] | None = None) -> Counter[str]:
    """Some sessions with a server of a kind; what was counted."""
    sim, counts = Simulation(), Counter[str]()

    def server(env: Environment) -> None:
        service = kind(env)
        env.serve(service, on="worker", notify=service.notify)

    sim.process("server", server, ["worker"])

    @sim.client({"worker": "server.worker"})
    def client(env: Environment) -> None:
        if disturb is not None:
            env.thread(disturb, "disturb")
        for seed in range(6):
            service = env.open(Worker, "worker")
            Session(env, service, counts, random.Random(seed)).run()

    sim.run()
    return counts


def test_nothing_is_lost() -> None:
    counts = run(Main)
    assert counts["streams"] == 6 and counts["packets"] >= 6 * 12
    assert not [what for what in counts if what not in ("streams", "packets")]


@pytest.mark.parametrize(("kind", "who"), [(Deaf, "server"), (Dumb, "client")])
def test_a_lost_wake_up_is_noticed(kind: type[Main], who: str) -> None:
    counts = run(kind)
    assert counts["streams"] == 6
    assert counts[f"lost wake-ups of a {who}"] > 3
    assert len([what for what in counts if what.startswith("lost")]) == 1


def test_a_lost_packet_is_noticed() -> None:
    with pytest.raises(Broken, match=r"packets \[.*\] were lost"):
        run(Losing)


def test_a_server_that_is_replaced_is_none_of_that() -> None:
    def disturb(env: Environment) -> None:
        supervisor = env.open(Supervision, "supervisor")
        for _ in range(12):
            env.sleep(50_000)
            try:
                supervisor.kill("server")
                supervisor.start("server")
            except (KernelError, Failed):  # the run is over
                return

    counts = run(Main, disturb)
    assert counts["streams"] == 6
    assert counts["streams attached again"] > 0
    assert not [what for what in counts if what.startswith("lost")]
