"""The entropy driver."""

from __future__ import annotations

import pytest

from drivers.entropy.interface import MOST, Entropy
from drivers.entropy.main import main as entropy
from servers.runtime import BadRequest, Environment, Failed
from tests.support.simulation import Simulation

HOLDS = {"entropy": "entropy.entropy"}


def system(path: str | None = None) -> Simulation:
    sim = Simulation()
    sim.device("random", path=path, writable=False)
    sim.process("entropy", entropy, ["entropy"], {"random": "device:random"})
    return sim


def test_random_numbers_of_the_host() -> None:
    sim = system("/dev/urandom")

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        source = env.open(Entropy, "entropy")
        found = [source.read(32) for _ in range(10)]
        assert len(set(found)) == 10
        assert {len(data) for data in found} == {32}
        assert len(source.read(1)) == 1 and len(source.read(MOST)) == MOST
        for size in (0, -1, MOST + 1, 2**62):
            with pytest.raises(BadRequest, match="between 1 and 4096"):
                source.read(size)

    sim.run()


def test_nothing_is_given_twice_and_an_end_is_an_error() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        device = sim.memory("random")
        device.feed(bytes(range(10)))
        source = env.open(Entropy, "entropy")
        assert source.read(4) + source.read(6) == bytes(range(10))
        with pytest.raises(Failed, match="has ended"):
            source.read(1)

    sim.run()
