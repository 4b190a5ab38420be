"""The counting server."""

from __future__ import annotations

from kernel.abi import Fault
from servers.runtime import BadRequest, Environment, Frame, Mapping, Notification
from tests.support.programs.counter import Counter


class Counting(Counter):
    """The service."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._sum = 0
        self._kept: list[Mapping] = []

    def add(self, amount: int) -> int:
        if amount < 0:
            raise BadRequest("it only counts up")
        self._sum += amount
        return self._sum

    def fill(self, frame: Frame, byte: int) -> int:
        mapping = frame.map()
        mapping.view[:] = bytes([byte]) * mapping.size
        mapping.close()
        frame.drop()
        return mapping.size

    def keep(self, frame: Frame) -> int:
        self._kept.append(frame.map(writable=False))
        return self._kept[-1].view[0]

    def tell(self, notification: Notification, bits: int) -> None:
        notification.signal(bits)
        notification.drop()

    def fail(self) -> None:
        raise ArithmeticError("a mistake")

    def fail_hard(self) -> None:
        self._env.system.thread_exit(Fault.EXCEPTION, "as it was asked")

    def slow(self, duration: int) -> None:
        self._env.sleep(duration)


def main(env: Environment) -> None:
    env.serve(Counting(env), on="counter", direct=Counting)
