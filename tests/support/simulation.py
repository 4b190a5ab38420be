"""A small system on the sim machine, for tests of servers.

    sim = Simulation(seed)
    sim.device("disk", size=1 << 20)
    sim.process("block", block_main, offers=["block"], holds={"disk": "device:disk"})

    @sim.client(holds={"disk": "block.block"})
    def alice(env: Environment) -> None:
        ...
    sim.run()

The root task is a small supervisor: it owns the processes' endpoints, as init does, so that a
process can be replaced while its clients keep their capabilities.  Every process also holds
``supervisor``.  What a client raises is raised by ``run``, which returns once all clients ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kernel.abi import NULL, Right
from kernel.machine.config import BootConfig, DeviceConfig
from kernel.machine.sim import SimDevice, SimMachine
from servers.runtime import Endpoint, Environment, Interface
from servers.runtime.environment import Birth
from servers.runtime.server import OFFER_SHIFT
from servers.runtime.sim import Main, programs

CLIENT = Right.SEND | Right.GRANT
MEMORY = 64 << 20
"""Bytes of quota of each process, unless it says otherwise."""


class Supervision(Interface):
    """What a process of the simulation may do to others."""

    def kill(self, name: str) -> None:
        """End a process and leave it ended."""

    def start(self, name: str) -> None:
        """Start it again."""

    def disown(self, name: str) -> None:
        """Take the clients' capabilities to a process away."""


@dataclass
class Process:
    """One process, and what the supervisor knows of it."""

    name: str
    number: int
    main: Main
    offers: Sequence[str]
    holds: Mapping[str, str]
    config: Any
    memory: int
    client: bool
    endpoint: Endpoint | None = None
    fault: int = NULL
    space: int = NULL
    starts: int = 0
    ends: list[str] = field(default_factory=list)
    """How it ended, each time."""


class Supervisor(Supervision):
    """The root task's service."""

    def __init__(self, env: Environment, processes: dict[str, Process], writable: set[str]) -> None:
        self._env = env
        self._writable = writable  # names of devices
        self._processes = processes
        system = env.system
        self._own = Endpoint(system, system.endpoint_create())
        env._holds["supervisor"] = self._own.slot
        for process in processes.values():
            process.fault = self._own.mint(Right.SEND, process.number).slot
            if process.offers:
                process.endpoint = Endpoint(system, system.endpoint_create())

    def start(self, name: str) -> None:
        process, system = self._processes[name], self._env.system
        process.space = system.space_create(name, process.memory, 0, NULL, 0, process.fault)
        holds = {"supervisor": system.cap_mint(self._own.slot, CLIENT, 0, process.space)}
        for local, target in process.holds.items():
            holds[local] = self._give(process, target)
        if process.endpoint is not None:
            rights = Right.SEND | Right.RECEIVE | Right.GRANT
            slot = system.cap_mint(process.endpoint.slot, rights, 0, process.space)
            holds.update(dict.fromkeys(process.offers, slot))
        clients = {other.number: other.name for other in self._processes.values()}
        config = msgspec.msgpack.encode(process.config)
        birth = Birth(config, holds, name, list(process.offers), clients)
        system.thread_create(process.space, name, msgspec.msgpack.encode(birth), 100)
        process.starts += 1

    def _give(self, process: Process, target: str) -> int:
        system = self._env.system
        if target.startswith("device:"):
            device = self._env.slot(target.removeprefix("device:"))
            rights = Right.READ | Right.CONTROL | Right.GRANT
            if target.removeprefix("device:") in self._writable:
                rights |= Right.WRITE
            return system.cap_mint(device, rights, 0, process.space)
        name, _, offer = target.partition(".")
        server = self._processes[name]
        assert server.endpoint is not None
        badge = server.offers.index(offer) << OFFER_SHIFT | process.number
        return system.cap_mint(server.endpoint.slot, CLIENT, badge, process.space)

    def kill(self, name: str) -> None:
        process = self._processes[name]
        if process.space != NULL:
            self._env.system.space_destroy(process.space)

    def disown(self, name: str) -> None:
        endpoint = self._processes[name].endpoint
        assert endpoint is not None
        endpoint.revoke()

    def fault(self, badge: int, data: bytes) -> None:
        process = next(p for p in self._processes.values() if p.number == badge)
        code, _, detail = msgspec.msgpack.decode(data)
        process.ends.append(detail if not code else f"{code}: {detail}")


class Simulation:
    """The system: add devices and processes, then run."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.processes: dict[str, Process] = {}
        self._devices: list[DeviceConfig] = []
        self._errors: list[BaseException] = []
        self._left: set[str] = set()  # clients that have not ended
        self._machine: SimMachine | None = None

    def device(
        self,
        name: str,
        size: int = 0,
        path: str | None = None,
        fd: int | None = None,
        writable: bool = True,
    ) -> None:
        """A device in memory, a file, or a descriptor; without ``size`` a stream."""
        config = DeviceConfig(name, path, fd, writable, size, stream=not size)
        self._devices.append(config)

    def process(
        self,
        name: str,
        main: Main,
        offers: Sequence[str] = (),
        holds: Mapping[str, str] | None = None,
        config: Any = None,
        memory: int = MEMORY,
        client: bool = False,
    ) -> None:
        """A program; ``holds`` maps names to ``device:NAME`` or ``PROCESS.OFFER``."""
        number = len(self.processes) + 1
        kept = dict(holds or {})
        fields = {} if config is None else config
        self.processes[name] = Process(name, number, main, offers, kept, fields, memory, client)

    def client(
        self, holds: Mapping[str, str] | None = None, memory: int = MEMORY
    ) -> Callable[[Main], Main]:
        """The decorated function is a process that the run is for."""

        def add(main: Main) -> Main:
            self.process(main.__name__, main, holds=holds, memory=memory, client=True)
            return main

        return add

    @property
    def machine(self) -> SimMachine:
        """The machine, for tests that step it themselves; boots it."""
        if self._machine is None:
            self._left = {name for name, p in self.processes.items() if p.client}
            mains = {name: self._watched(process) for name, process in self.processes.items()}
            config = BootConfig("root", memory=4 << 30, devices=self._devices)
            root = {"root": self._root, **mains}
            self._machine = SimMachine(config, programs(root), self.seed)
        return self._machine

    def memory(self, name: str) -> SimDevice:
        """A device as the machine sees it: to feed a stream, or look at what was written."""
        return next(found for d, found in self.machine.devices.items() if d == name)

    def run(self) -> None:
        """Boot, and go on until all clients ended; raises what one of them raised."""
        while self._left and not self._errors:
            if not self.machine.step():
                raise AssertionError(f"nothing can run, and {sorted(self._left)} have not ended")
        self.settle()

    def settle(self) -> None:
        """Go on until nobody can."""
        while not self._errors and self.machine.step():
            pass
        if self._errors:
            raise self._errors[0]

    def trace(self) -> list[tuple[int, ...]]:
        """The kernel's last events."""
        return list(self.machine.kernel.trace.since(0, 1 << 20))

    def _watched(self, process: Process) -> Main:
        def main(env: Environment) -> None:
            try:
                process.main(env)
            except Exception as error:
                if process.client:
                    self._errors.append(error)
                raise
            finally:
                self._left.discard(process.name)

        return main

    def _root(self, env: Environment) -> None:
        supervisor = Supervisor(env, self.processes, {d.name for d in self._devices if d.writable})
        server = env.server({"supervisor": supervisor}, fault=supervisor.fault)
        for name in self.processes:
            supervisor.start(name)
        server.run()
