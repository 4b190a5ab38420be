"""Makes calls, and says how long they took."""

from __future__ import annotations

import time

from kernel.abi import FOREVER
from servers.runtime import Environment
from servers.runtime.stream import Packet, StreamClient
from tools.bench.programs.interface import BULK, PACKET, PIECE, Caller, Echo


class Client(Caller):
    """The service that the benchmark asks."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._call = env.system.call
        self._raw = env.slot("raw")
        self._typed = env.open(Echo, "typed")
        self._direct = env.open(Echo, "typed", direct=True)
        self._stream: StreamClient | None = None

    def calls(self, count: int, size: int) -> int:
        call, slot, data = self._call, self._raw, bytes(size)
        start = time.perf_counter_ns()
        for _ in range(count):
            call(slot, 0, data, [], FOREVER)
        return time.perf_counter_ns() - start

    def typed(self, count: int, size: int) -> int:
        return _time(self._typed, count, size)

    def direct(self, count: int, size: int) -> int:
        return _time(self._direct, count, size)

    def messages(self, count: int) -> int:
        look, data, last = self._typed.look, bytes(PIECE), bytes(BULK % PIECE)
        start = time.perf_counter_ns()
        for _ in range(count):
            for _ in range(BULK // PIECE):
                look(data)
            look(last)
        return time.perf_counter_ns() - start

    def stream(self, count: int) -> int:
        if self._stream is None:
            self._stream = StreamClient(self._env, 64, BULK, self._env.notification())
            self._typed.attach(self._stream.offer)
        stream, ring, data = self._stream, self._direct.ring, bytes(PACKET)
        start = time.perf_counter_ns()
        for _ in range(count):
            for offset in range(0, BULK, PACKET):
                stream.data[offset : offset + PACKET] = data
                stream.post(Packet(offset, 0, PACKET, offset, 0))
            ring()
            assert len(stream.take_all()) == BULK // PACKET
        return time.perf_counter_ns() - start


def _time(service: Echo, count: int, size: int) -> int:
    echo, data = service.echo, bytes(size)
    start = time.perf_counter_ns()
    for _ in range(count):
        echo(data)
    return time.perf_counter_ns() - start


def main(env: Environment) -> None:
    env.serve(Client(env), on="caller")
