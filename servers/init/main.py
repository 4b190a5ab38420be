"""Init: the root task and supervisor.

Creates every process of the plan with the capabilities that the plan routes to it, hears of every
end by a fault message, and restarts what its rule says should run, after a pause that doubles with
each failure in a row.  It owns the endpoints of all services, so a client's capability outlives the
server behind it: calls that were being handled end with ``ServerDied``, calls that come while there
is no server wait for the next one.  Init itself never calls a server, so that no server can hold it
up; what it has to tell the audit log goes through a thread of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from kernel.abi import DebugOp, Fault
from servers.audit.interface import Audit
from servers.init.description import (
    INIT_OFFERS,
    Plan,
)
from servers.init.interface import Control, ProcessInfo, Scheduling, Usage
from servers.init.process import INIT_CLIENT, OPERATOR_CLIENT, Process, State
from servers.runtime import (
    BadRequest,
    Busy,
    Deferred,
    Endpoint,
    Environment,
    KernelError,
    NotFound,
    Notification,
    ServiceError,
)
from servers.runtime.client import client

OPERATOR = "operator"
FIRST_PAUSE = 20_000_000
"""Nanoseconds before the second restart in a row; the first comes at once."""
LONGEST_PAUSE = 5_000_000_000
STEADY = 10_000_000_000
"""A process that ran this long in ns has not failed in a row."""
MOST_FAILURES = 12
"""Failures in a row after which a process is given up."""

_fault = msgspec.msgpack.Decoder(tuple[int, int, str])


class Journal:
    """Tells the audit log what happened, without ever waiting for it."""

    def __init__(self, env: Environment, audit: int | None) -> None:
        self._entries: deque[tuple[str, str]] = deque(maxlen=1024)
        self._event = env.event()
        if audit is not None:
            env.thread(lambda own: self._run(own, audit), "journal")

    def note(self, event: str, detail: str) -> None:
        self._entries.append((event, detail))
        self._event.set()

    def _run(self, env: Environment, slot: int) -> None:
        audit = client(Audit, env.system, slot, retries=3)
        while True:
            while self._entries:
                event, detail = self._entries.popleft()
                try:
                    audit.append(event, detail)
                except (KernelError, ServiceError):
                    pass  # the log is full or gone: supervising goes on without it
            self._event.wait(None)


class Init(Control):
    """The supervisor, as the tools see it."""

    def __init__(self, env: Environment, plan: Plan) -> None:
        self._env = env
        self._plan = plan
        self._waiters: dict[int, list[Callable[[str], None]]] = {}
        self._opened: dict[tuple[int, int], Endpoint] = {}  # for the operator, by process and offer
        self._due: dict[int, int] = {}  # process number -> when to restart it
        self._started: dict[int, int] = {}  # process number -> when it was started
        self._devices = {name: env.slot(name) for name in env.names()}
        self._policy = env.slot("policy")
        for first, second in plan.allowed:
            env.system.label_allow(self._policy, first, second, 1)
        faults = env.capability(OPERATOR, Endpoint)
        self._processes = [Process(env, p, i, faults) for i, p in enumerate(plan.processes)]
        for process in self._processes:
            process.host = self._processes[process.plan.within]
            if process.host is not process:
                process.host.parts.append(process)
        self.named = {process.plan.name: process for process in self._processes}
        self._wake = env.listen()
        self._timer = env.event()
        env.thread(self._keep_time, "timer")
        audit = self.named.get("audit")
        slot = audit.offer(0, INIT_CLIENT) if audit is not None else None
        self._journal = Journal(env, slot)

    def boot(self) -> None:
        """Start everything that is to run from the beginning."""
        self._journal.note("boot", self._plan.name)
        for process in self._processes:
            if process.plan.autostart and process.host is process:
                self._start(process)

    def _start(self, process: Process) -> bool:
        try:
            process.start(self._processes, self._devices, self._policy)
        except KernelError as error:
            process.state = State.FAILED
            process.ended = f"could not be created: {error}"
            process.destroy()
            self._over(process)
            return False
        self._started[process.number] = self._env.clock()
        self._journal.note("start", process.plan.name)
        return True

    def fault(self, badge: int, data: bytes) -> None:
        """A process ended: note why, and restart it if its rule says so."""
        process = self._processes[badge - 1]
        code, _, detail = _fault.decode(data)
        kind = Fault(code)
        ran = self._env.clock() - self._started.get(process.number, 0)
        process.forget()
        said = kind in (Fault.EXIT, Fault.EXCEPTION)  # by itself, in its own words
        process.ended = detail if said else f"{kind.name.lower()}: {detail}"
        self._journal.note("end", f"{process.plan.name}: {process.ended or 'done'}")
        rule = process.plan.restart
        wanted = rule == "always" or (rule == "on-failure" and kind is not Fault.EXIT)
        if process.state is State.RUNNING and wanted:
            process.failures = 1 if ran > STEADY else process.failures + 1
            if process.failures <= MOST_FAILURES:
                self._restart_later(process)
                return
            process.ended += f" (given up after {MOST_FAILURES} failures in a row)"
        failed = process.state is State.RUNNING and kind is not Fault.EXIT
        process.state = State.FAILED if failed else State.STOPPED
        self._over(process)

    def _over(self, process: Process) -> None:
        for tell in self._waiters.pop(process.number, []):
            tell(process.ended)

    def _restart_later(self, process: Process) -> None:
        process.state = State.RESTARTING
        pause = 0
        if process.failures > 1:
            pause = min(FIRST_PAUSE << (process.failures - 2), LONGEST_PAUSE)
        self._due[process.number] = self._env.clock() + pause
        if pause:
            self._timer.set()
        else:
            self.restart_due()

    def restart_due(self) -> None:
        """Restart what has waited long enough."""
        now = self._env.clock()
        for number in [number for number, at in self._due.items() if at <= now]:
            del self._due[number]
            process = self._processes[number - 1]
            if process.state is State.RESTARTING:
                self._journal.note("restart", process.plan.name)
                self._start(process)

    def _keep_time(self, env: Environment) -> None:
        """A thread of its own that wakes the supervisor when a restart is due."""
        wake = self._wake.bind(env.system)
        while True:
            due = min(self._due.values(), default=None)
            if due is None:
                self._timer.wait(None)
            elif not self._timer.wait(max(0, due - env.clock())):
                wake.signal()
                env.sleep(FIRST_PAUSE)

    # Control

    def processes(self) -> list[ProcessInfo]:
        return [process.info() for process in self._processes]

    def start(self, name: str) -> None:
        process = self._host(name)
        if process.state is State.RUNNING:
            raise Busy(f"{name} is running already")
        process.failures = 0
        self._due.pop(process.number, None)
        if not self._start(process):
            raise Busy(f"{name} {process.ended}")

    def stop(self, name: str) -> None:
        process = self._host(name)
        if process.state is State.RUNNING:
            process.state = State.STOPPED  # so that its end is not taken for a failure
            process.destroy()
        elif process.state is State.RESTARTING:
            process.state = State.STOPPED
            self._over(process)
        else:
            raise Busy(f"{name} is not running")

    def kill(self, name: str) -> None:
        process = self._host(name)
        if process.state is not State.RUNNING:
            raise Busy(f"{name} is not running")
        process.destroy()

    def wait(self, name: str) -> str:
        process = self._host(name)
        if process.state in (State.RUNNING, State.RESTARTING):
            deferred: Deferred = self._env.defer()
            self._waiters.setdefault(process.number, []).append(deferred.answer)
            return deferred  # type: ignore[return-value]
        return process.ended

    def watch(self, name: str, ended: Notification) -> None:
        process = self._host(name)

        def tell(_how: str) -> None:
            with suppress(KernelError):  # whoever wanted to know is gone
                ended.signal()
                ended.drop()

        if process.state in (State.RUNNING, State.RESTARTING):
            self._waiters.setdefault(process.number, []).append(tell)
        else:
            tell(process.ended)

    def connect(self, offer: str) -> Endpoint:
        name, _, chosen = offer.partition(".")
        process = self._find(name)
        offers = process.plan.offers
        if not chosen and len(offers) != 1:
            raise BadRequest(f"{name} offers {', '.join(offers) or 'nothing'}; say which one")
        if chosen and chosen not in offers:
            raise NotFound(f"{name} offers {', '.join(offers) or 'nothing'}, not {chosen}")
        index = offers.index(chosen) if chosen else 0
        place = process.number, index
        if place not in self._opened:  # one is enough: each answer derives another from it
            slot = process.offer(index, OPERATOR_CLIENT)
            self._opened[place] = Endpoint(self._env.system, slot)
        return self._opened[place]

    def _host(self, name: str) -> Process:
        """The process that something is, or is a part of."""
        return self._find(name).host

    def _find(self, name: str) -> Process:
        if name not in self.named:
            raise NotFound(f"there is no process named {name!r}")
        return self.named[name]


class Policy(Scheduling):
    """What init does for a scheduling policy."""

    def __init__(self, env: Environment, processes: dict[str, Process]) -> None:
        self._env = env
        self._authority = env.slot("debug")
        self._vms = {name: process for name, process in processes.items() if process.plan.vm}

    def usage(self) -> list[Usage]:
        return [
            Usage(row[1], self._vms[row[1]].plan.weight, row[10])
            for row in self._spaces()
            if row[1] in self._vms
        ]

    def _spaces(self) -> Iterator[list[Any]]:
        start, more = 0, True
        while more:
            rows, start = self._env.system.debug(self._authority, DebugOp.SPACES, start)
            yield from msgspec.msgpack.decode(rows)
            more = start != 0

    def favour(self, name: str, favoured: bool) -> None:
        if name not in self._vms:
            raise NotFound(f"there is no virtual machine named {name!r}")
        self._vms[name].favour(favoured)


def main(env: Environment) -> None:
    init = Init(env, env.config(Plan))
    server = env.server({OPERATOR: init}, lambda _bits: init.restart_due(), init.fault)
    server.add(INIT_OFFERS.index("scheduling"), Policy(env, init.named))
    init.boot()
    server.run()
