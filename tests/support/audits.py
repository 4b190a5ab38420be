"""An audit server, its client, and hands that change what is stored."""

from __future__ import annotations

import struct
from collections.abc import Callable

from servers.audit.interface import Audit, AuditReader
from servers.audit.main import main as audit
from servers.runtime import Environment
from tests.support.simulation import Simulation, Supervision

HOLDS = {"audit": "audit.audit", "reader": "audit.reader"}

Body = Callable[[Simulation, Environment, Audit, AuditReader], None]


def run(body: Body, size: int = 1 << 16, seed: int = 0) -> None:
    """Run ``body`` as a client; without a device if ``size`` is 0."""
    sim = Simulation(seed)
    if size:
        sim.device("log", size=size)
    sim.process("audit", audit, ["audit", "reader"], {"log": "device:log"} if size else {})

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        body(sim, env, env.open(Audit, "audit"), env.open(AuditReader, "reader"))

    sim.run()


def restart(env: Environment) -> None:
    supervisor = env.open(Supervision, "supervisor")
    supervisor.kill("audit")
    supervisor.start("audit")
    env.open(AuditReader, "reader").count()  # it has looked at the device


def places(sim: Simulation) -> list[int]:
    """Where entries begin on the device, and where they end."""
    found, place = [0], 0
    while length := struct.unpack(">I", sim.memory("log").read_at(place, 4))[0]:
        place += 4 + length
        found.append(place)
    return found


def overwrite(sim: Simulation, place: int, data: bytes) -> None:
    sim.memory("log").write_from(place, [memoryview(data)])
