"""What a process does that somebody has taken over: the worst that its capabilities allow.

It asks everything of everybody it can call, writes noise over every device it may write, tries to
use its capabilities as what they are not, and answers its own clients with noise.  A block driver
lies better: it serves its disk as it should, until much was written, and then returns other blocks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from drivers.block.interface import READ, Status
from drivers.block.main import Disk
from drivers.block.service import BlockService
from servers.runtime import Environment, KernelError, ServiceError
from servers.runtime.stream import Packet

_HONEST = 64
"""Transfers that a driver carries out before it turns."""
_NOISE = 64 * 1024
_ROUNDS = 400
_METHODS = 24


class Liar(Disk):
    """Returns what was written, but not where, and not all of it."""

    _count = 0

    def transfer(self, packet: Packet, part: memoryview) -> Status:
        status = super().transfer(packet, part)
        self._count += 1
        if packet.operation == READ and self._count > _HONEST and len(part) >= 4096:
            half = len(part) // 2
            part[half:] = bytes(part[: len(part) - half])
            part[::512] = bytes(len(part[::512]))
        return status


def _abuse(env: Environment) -> None:
    """Use every capability as anything that it could be."""
    slots = [env.slot(name) for name in env.names()]
    for number in range(_ROUNDS):
        for slot in slots:
            for attempt in _attempts(env, slot, number, os.urandom(number % 97)):
                with suppress(KernelError, ServiceError):
                    attempt()


def _attempts(
    env: Environment, slot: int, number: int, noise: bytes
) -> tuple[Callable[[], object], ...]:
    system = env.system
    return (
        lambda: system.call(slot, number % _METHODS, noise, [], 50_000_000),
        lambda: system.send(slot, number, noise, [], 0),
        lambda: system.space_destroy(slot),
        lambda: system.cap_revoke(slot),
        lambda: system.thread_control(slot, number % 8, 0),
        lambda: system.label_allow(slot, 1, 3, 1),
        lambda: system.debug(slot, 0, 0),
    )


def _spoil(env: Environment) -> None:
    """Write noise over every device."""
    for name in env.names():
        with suppress(KernelError, ServiceError, OSError):
            device = env.device(name)
            for at in range(0, min(device.size, 1 << 22), _NOISE):
                device.access.write_from(at, [memoryview(os.urandom(_NOISE))])


def main(env: Environment) -> None:
    if env.has("disk"):
        driver = BlockService(env, Liar(env.device("disk"), True))
        env.serve(driver, on="block", notify=driver.notify)
        return
    env.thread(_abuse, "abuse")
    _spoil(env)
    _abuse(env)
    env.event().wait(None)
