"""The block client with an evil driver behind it.

A script says what the client asks for and what the driver does with the shared frame and its
answers.  Promised is that every request is completed at most once, with a status; that all are
completed once the driver broke the ring; and that nothing else is raised in the client.
"""

from __future__ import annotations

from typing import Final

from drivers.block.client import BlockClient
from drivers.block.interface import FLUSH, READ, WRITE, Block, DiskInfo, Status
from servers.runtime import (
    BadRequest,
    Environment,
    Failed,
    KernelError,
    Notification,
    ServiceError,
)
from servers.runtime.stream import Packet, StreamOffer, StreamServer
from tests.fuzz.source import Source
from tests.support.simulation import Simulation

MOST: Final = 10
"""Steps of each side at most."""
PAUSE: Final = 1_000_000


class EvilDriver(Block):
    """Answers as its script says."""

    def __init__(self, env: Environment, source: Source) -> None:
        self._env, self._source = env, source
        self._word = env.listen()
        self._stream: StreamServer | None = None

    def info(self) -> DiskInfo:
        return DiskInfo(self._source.unsigned(32), self._source.chance(2))

    def attach(self, offer: StreamOffer) -> Notification:
        if self._source.chance(16):
            raise BadRequest("no")
        if self._stream is not None:
            self._stream.close()
        self._stream = StreamServer(offer)
        return self._word

    def attend(self) -> None:
        if not self._source.chance(8):
            return self._env.defer()  # type: ignore[no-any-return]
        return None

    def notify(self, _bits: int) -> None:
        stream, source = self._stream, self._source
        if stream is None:
            return
        try:
            asked = stream.take_all()
        except Failed:
            asked = []
        for packet in asked:
            if source.chance(4):
                continue
            fields = (source.unsigned(64) if source.chance(3) else packet.tag,)
            sizes = (source.unsigned(bits) for bits in (32, 32, 64, 64))
            operation = source.pick((0, 0, 1, 2, 3, 4, 1 << 31))
            stream.put(Packet(*fields, operation, *list(sizes)[1:]))
        if source.chance(3):
            view = stream._mapping.view
            at, data = source.number(2) % 256, source.blob()
            view[at : at + len(data)] = data
        try:
            stream._wake.signal()  # type: ignore[union-attr]
        except KernelError:
            pass


def _client(env: Environment, source: Source) -> None:
    """Ask for things, and complete what is answered."""
    word = env.notification()
    try:
        disk = BlockClient(env, "disk", word, slots=4, data_size=1 << 18)
    except (ServiceError, KernelError):
        return
    done: list[tuple[int, Status]] = []
    for number in range(MOST):
        operation = source.pick((READ, WRITE, FLUSH, 77))
        size = 512 * source.pick((0, 1, 8, 600))
        buffers = [memoryview(bytearray(size))] if size else []

        def complete(status: Status, number: int = number) -> None:
            done.append((number, status))

        disk.submit(operation, source.unsigned(40), buffers, complete)
        env.sleep(PAUSE)
        word.poll()
        disk.poll()
    for _ in range(MOST):
        env.sleep(PAUSE)
        disk.poll()
    numbers = [number for number, _ in done]
    assert len(set(numbers)) == len(numbers), "a request was completed twice"
    assert all(type(status) is Status for _, status in done)
    if disk._lost:
        assert len(done) == MOST, "the disk is lost, and a request waits for ever"
        assert not disk.busy


def target(data: bytes) -> None:
    """Run a client and a driver, each with its half of the script."""
    half = len(data) // 2
    evil, honest = Source(data[:half]), Source(data[half:])
    sim = Simulation()

    def driver(env: Environment) -> None:
        service = EvilDriver(env, evil)
        env.serve(service, "block", service.notify)

    sim.process("driver", driver, ["block"])

    @sim.client({"disk": "driver.block"})
    def client(env: Environment) -> None:
        _client(env, honest)

    sim.run()
    assert not sim.processes["client"].ends[0], sim.processes["client"].ends
