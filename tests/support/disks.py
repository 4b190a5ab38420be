"""A disk and its driver, and a client that does what it likes."""

from __future__ import annotations

from drivers.block import main as block
from drivers.block.interface import Block, Status
from servers.runtime import (
    Environment,
)
from servers.runtime.stream import Packet, StreamClient
from tests.support.simulation import Simulation

SIZE = 1 << 20

DISK = {"disk": "block.block"}

LONG = 10**9


def system(seed: int = 0, read_only: bool = False, size: int = SIZE) -> Simulation:
    """A disk and its driver."""
    sim = Simulation(seed)
    sim.device("disk", size=size)
    config = {"read_only": True} if read_only else None
    sim.process("block", block.main, ["block"], {"disk": "device:disk"}, config)
    return sim


class Raw:
    """A client that puts any packet into the ring."""

    def __init__(self, env: Environment, slots: int = 8, data_size: int = 8192) -> None:
        self.word = env.notification()
        self.stream = StreamClient(env, slots, data_size, self.word)
        self.driver = env.open(Block, "disk")
        self.to_driver = self.driver.attach(self.stream.offer)
        self.stream.connect(self.to_driver)

    def ask(self, *packets: Packet) -> dict[int, Status]:
        """Put packets, and wait for their answers: tag -> status."""
        for packet in packets:
            assert self.stream.put(packet)
        found: dict[int, Status] = {}
        while len(found) < len(packets):
            self.word.wait(LONG)
            found |= {p.tag: Status(p.operation) for p in self.stream.take_all()}
        return found
