"""One process of the plan: creating it, and what is known of it."""

from __future__ import annotations

from enum import Enum

import msgspec

from kernel.abi import NULL, Right, SpaceFlag, ThreadOp
from servers.init.description import (
    FROM_INIT,
    ProcessPlan,
)
from servers.init.interface import ProcessInfo
from servers.runtime import Endpoint, Environment
from servers.runtime.environment import Birth
from servers.runtime.server import OFFER_SHIFT

CLIENT = Right.SEND | Right.GRANT
DEVICE = Right.READ | Right.CONTROL | Right.GRANT
SERVE = Right.SEND | Right.RECEIVE | Right.GRANT
OPERATOR_CLIENT = 1 << 16
"""The operator's number in badges; processes are numbered by their place in the plan, from 1."""

INIT_CLIENT = OPERATOR_CLIENT + 1


class State(Enum):
    """What a process is doing."""

    STOPPED = "stopped"
    RUNNING = "running"
    RESTARTING = "restarting"
    FAILED = "failed"


class Process:
    """A process that init created, or may create."""

    def __init__(self, env: Environment, plan: ProcessPlan, index: int, faults: Endpoint) -> None:
        self.plan = plan
        self.number = index + 1
        self._fault = faults.mint(Right.SEND, self.number)
        self._init = faults
        self.state = State.STOPPED
        self.starts = 0
        self.failures = 0  # in a row, for the back-off
        self.ended = ""
        self.space = NULL
        self.host = self
        """Whose address space it is in; not its own if it is one of that process's parts."""
        self.parts: list[Process] = []
        self._env = env
        self._endpoint: Endpoint | None = None
        self._thread = NULL
        if plan.offers:
            # init owns it, so that clients keep their capabilities when the server is replaced
            self._endpoint = Endpoint(env.system, env.system.endpoint_create())

    def offer(self, index: int, client: int, space: int = NULL) -> int:
        """Mint a capability to one of its offers for a client, into the client's space."""
        assert self._endpoint is not None
        badge = index << OFFER_SHIFT | client
        return self._env.system.cap_mint(self._endpoint.slot, CLIENT, badge, space)

    def start(self, others: list[Process], devices: dict[str, int], policy: int) -> None:
        """Create its space, give it what it holds, and start it."""
        system, plan = self._env.system, self.plan
        flags = SpaceFlag.EXECUTABLE if plan.executable else 0
        self.space = system.space_create(
            plan.name, plan.memory, plan.label, policy, flags, self._fault.slot
        )
        births = [(p.plan.program, p.birth(others, devices, self.space)) for p in self.parts]
        birth = msgspec.structs.replace(self.birth(others, devices, self.space), parts=births)
        argument = msgspec.msgpack.encode(birth)
        self._thread = system.thread_create(self.space, plan.program, argument, plan.priority)
        if plan.budget:
            system.thread_control(self._thread, ThreadOp.BUDGET, plan.budget)
        self.starts += 1
        self.state = State.RUNNING

    def birth(self, others: list[Process], devices: dict[str, int], space: int) -> Birth:
        """What it is born with, given to the space that it is in."""
        system, plan = self._env.system, self.plan
        holds = {}
        for hold in plan.holds:
            if hold.device:
                rights = DEVICE | Right.WRITE if hold.writable else DEVICE
                slot = system.cap_mint(devices[hold.device], rights, 0, space)
            elif hold.process == FROM_INIT:
                badge = hold.offer << OFFER_SHIFT | self.number
                slot = system.cap_mint(self._init.slot, CLIENT, badge, space)
            else:
                slot = others[hold.process].offer(hold.offer, self.number, space)
            holds[hold.name] = slot
        if self._endpoint is not None:
            slot = system.cap_mint(self._endpoint.slot, SERVE, 0, space)
            holds.update(dict.fromkeys(plan.offers, slot))
        clients = {other.number: other.plan.name for other in others}
        clients |= {OPERATOR_CLIENT: "operator", INIT_CLIENT: "init"}
        return Birth(plan.config, holds, plan.name, plan.offers, clients)

    def favour(self, favoured: bool) -> None:
        """Run with the priority of the plan, or the lowest."""
        if self._thread != NULL:
            priority = self.plan.priority if favoured else 0
            self._env.system.thread_control(self._thread, ThreadOp.PRIORITY, priority)

    def destroy(self) -> None:
        """End it; its fault message tells when it is over."""
        if self.space != NULL:
            self._env.system.space_destroy(self.space)

    def forget(self) -> None:
        """It is over: give up the capabilities to what is left of it."""
        for slot in (self._thread, self.space):
            if slot != NULL:
                self._env.system.cap_drop(slot)
        self._thread = self.space = NULL

    def info(self) -> ProcessInfo:
        plan, host = self.plan, self.host
        space, state = host.plan.name, host.state.value
        return ProcessInfo(plan.name, plan.program, state, host.starts, space, host.ended, plan.vm)
