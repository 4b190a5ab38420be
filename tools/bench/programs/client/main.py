"""Makes calls, and says how long they took."""

from __future__ import annotations

import time

from kernel.abi import FOREVER
from servers.runtime import Environment
from tools.bench.programs.interface import Caller, Echo


class Client(Caller):
    """The service that the benchmark asks."""

    def __init__(self, env: Environment) -> None:
        self._call = env.system.call
        self._raw = env.slot("raw")
        self._typed = env.open(Echo, "typed")
        self._direct = env.open(Echo, "typed", direct=True)

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


def _time(service: Echo, count: int, size: int) -> int:
    echo, data = service.echo, bytes(size)
    start = time.perf_counter_ns()
    for _ in range(count):
        echo(data)
    return time.perf_counter_ns() - start


def main(env: Environment) -> None:
    env.serve(Client(env), on="caller")
