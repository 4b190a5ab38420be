"""Many processes that call each other, share memory and are killed, and what is left of it all.

A system of clients and servers runs under init until it has made so many calls.  Meanwhile one
process after the other is killed, by the host's SIGKILL or by the kernel, and init starts it again.
The clients and servers see to it that no message is lost or carried out twice (``programs/load``).
Here it is seen to that nothing is left over: when all is quiet again, each process has exactly the
capabilities, mappings, threads and quota that it had at the beginning, the kernel's process has as
many descriptors, and hardly more memory than half way.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from kernel.abi import DebugOp, ThreadState
from servers.init.description import (
    Description,
    ProcessEntry,
)
from servers.init.planning import MAX_PROCESSES
from servers.runtime import Busy, Notification, TimedOut
from servers.runtime.handles import Capability
from tools import system as systems
from tools.bench.programs.load.interface import Status, Tally
from tools.errors import UserError

PROCESSES: Final = 200
CALLS: Final = 1_000_000
SECONDS: Final = 600
"""The run ends then, however many calls were made."""
KILLS: Final = 4.0
"""In a second."""
LEAST: Final = 4
"""Processes: the tally, two servers, a client."""
GROWTH: Final = 16 << 20
"""Bytes by which the kernel's process may grow from half way to the end: what threads and spaces
that ended leave to its garbage collector, which comes after 100,000 objects."""
PRIORITY: Final = 60
"""Leaves the host's processors to others who want them."""
STALLED: Final = 30.0
"""Seconds without a call after which the run is given up."""
QUIET: Final = 20.0
"""Seconds in which everything has to be given back at the end."""
THREADS: Final = 4
"""Threads of a process at most, but for those of links."""
RESERVED_IDS: Final = 300
"""Process ids that Linux does not use again, once it has come round."""
_POLL: Final = 50_000_000
_PACKAGE: Final = "tools.bench.programs.load"
_ORDERED: Final = ("killed: destroyed by init", "crashed: killed by signal 9 (SIGKILL)")
"""How a process ends that was killed here."""
_HELD: Final = ("bytes", "capabilities", "mappings", "threads")
"""What is counted of each process: places 4, 6, 7 and 8 of the debug authority's row."""


class Load(NamedTuple):
    """How much of it."""

    processes: int = PROCESSES
    calls: int = CALLS
    seconds: float = SECONDS
    kills: float = KILLS
    seed: int = 1


class Held(NamedTuple):
    """What there is at one moment."""

    spaces: dict[str, tuple[int, ...]]
    """What each process has, in the order of ``_HELD``."""
    kinds: dict[str, int]
    """Capabilities in all tables, by the kind of what they name."""
    processes: int
    """Of the host, under the kernel's; 0 on the simulator, as are the rest."""
    threads: int
    """Of the host, in all of these."""
    descriptors: int
    """Of the kernel's process."""
    memory: int
    """Resident bytes of the kernel's process."""


def _entry(name: str, program: str, **fields: Any) -> ProcessEntry:
    return ProcessEntry(
        name=name,
        program=f"{_PACKAGE}.{program}",
        memory="24MiB",
        priority=PRIORITY,
        restart="always",
        **fields,
    )


def description(load: Load) -> Description:
    """The system: a tally, servers at the back, servers in front of them, and clients."""
    back = max(1, load.processes // 20)
    front = max(1, load.processes // 4)
    backs = [_entry(f"back{i}", "server", offers=["worker"]) for i in range(back)]
    fronts = [
        _entry(f"front{i}", "server", offers=["worker"], holds=[f"next=back{i % back}"])
        for i in range(front)
    ]
    clients = [
        _entry(
            f"client{i}",
            "client",
            holds=["tally", f"near=front{i % front}", f"far=front{(7 * i + 1) % front}"],
            config={"batch": 20, "seed": load.seed + i},
        )
        for i in range(load.processes - 1 - back - front)
    ]
    tally = _entry("tally", "tally", offers=["tally"])
    return Description(name="load", process=[tally, *backs, *fronts, *clients])


class Run:
    """One run of the load on a booted system."""

    def __init__(self, system: systems.System, load: Load) -> None:
        self._system, self._load = system, load
        self._kernel = system.pid if isinstance(system, systems.HostSystem) else 0
        self._tally = system.open(Tally, "tally")
        self._random = random.Random(load.seed)
        self._word = Notification(system.calls, system.calls.notification_create())
        names = [info.name for info in system.control.processes()]
        self._victims = [name for name in names if name != "tally"]
        self._clients = sum(name.startswith("client") for name in names)
        self._deck: list[str] = []
        self.kills: Counter[str] = Counter()
        self.problems: list[str] = []

    # Looking

    def _host(self) -> tuple[int, int, int, int]:
        """Processes, threads, descriptors and memory on the host."""
        if not self._kernel:
            return 0, 0, 0, 0
        proc = Path(f"/proc/{self._kernel}")
        children = (proc / "task" / str(self._kernel) / "children").read_text().split()
        threads = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in children)
        return len(children), threads, len(os.listdir(proc / "fd")), self.memory()

    def memory(self) -> int:
        """Resident bytes of the kernel's process."""
        if not self._kernel:
            return 0
        pages = int(Path(f"/proc/{self._kernel}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def look(self) -> Held:
        """What there is now; not at one moment, unless all is quiet."""
        spaces: dict[str, tuple[int, ...]] = {
            row[1]: (row[4], row[6], row[7], row[8]) for row in self._system.debug(DebugOp.SPACES)
        }
        kinds = Counter(row[2] for row in self._system.debug(DebugOp.CAPABILITIES))
        return Held(spaces, dict(kinds), *self._host())

    def _pause(self, duration: int = _POLL) -> None:
        """Let ``duration`` ns pass, on either machine."""
        with suppress(TimedOut):
            self._word.wait(duration)

    def _wait_for(self, what: str, there: Any) -> None:
        """Wait until ``there`` is true; ``UserError`` if nothing changes for long."""
        seen, since = None, time.monotonic()
        while not there(status := self._tally.status()):
            if status != seen:
                seen, since = status, time.monotonic()
            if time.monotonic() - since > STALLED:
                raise UserError(f"{what} did not happen in {STALLED:g} s: {self._blocked()}")
            self._pause()

    def _blocked(self) -> str:
        """What the threads are doing, for a run that hangs."""
        states = Counter(ThreadState(row[3]).name for row in self._system.debug(DebugOp.THREADS))
        return ", ".join(f"{count} threads {state.lower()}" for state, count in states.items())

    # Doing

    def kill(self) -> None:
        """Kill the next victim: each comes once before one comes again."""
        if not self._deck:
            self._deck = self._random.sample(self._victims, len(self._victims))
        name = self._deck.pop()
        if self._kernel and self._random.random() < 0.5:
            pid = next((r[9] for r in self._system.debug(DebugOp.SPACES) if r[1] == name), 0)
            if pid:
                os.kill(pid, signal.SIGKILL)
                self.kills["by the host"] += 1
            return
        with suppress(Busy):  # it is being started
            self._system.control.kill(name)
            self.kills["by the kernel"] += 1

    def work(self) -> tuple[Status, int]:
        """Let it run; the tally, and the kernel's memory half way."""
        load, begin = self._load, time.monotonic()
        killed, middle, last = begin, 0, (begin, -1)
        self._tally.start()
        while True:
            status, now = self._tally.status(), time.monotonic()
            calls = status.counts.get("calls", 0)
            if not middle and (2 * calls >= load.calls or 2 * (now - begin) >= load.seconds):
                middle = self.memory()
            if calls >= load.calls or now - begin >= load.seconds or status.faults:
                return status, middle
            if calls != last[1]:
                last = now, calls
            elif now - last[0] > STALLED:
                self.problems.append(f"no call for {STALLED:g} s: {self._blocked()}")
                return status, middle
            while load.kills and killed + 1 / load.kills <= now:
                killed += 1 / load.kills
                self.kill()
            _progress(calls, load.calls)
            self._pause()

    def settle(self, before: Held) -> Held:
        """Have the clients give up everything, and wait until all is as before."""
        self._tally.stop()
        try:
            self._wait_for("the end of all clients", lambda s: s.done == self._clients or s.faults)
        except UserError as error:
            self.problems.append(str(error))
        end = time.monotonic() + QUIET
        while (held := self.look())[:5] != before[:5] and time.monotonic() < end:
            self._pause()
        return held

    def ready(self) -> None:
        """Wait until every client waits for the beginning."""
        self._wait_for("the start of all clients", lambda s: s.ready == self._clients or s.faults)
        self._pause(4 * _POLL)

    def deaths(self) -> list[str]:
        """Processes that ended without being killed here."""
        found, starts = [], 0
        for info in self._system.control.processes():
            starts += info.starts - 1
            if info.state != "running":
                found.append(f"{info.name} is {info.state}: {info.ended}")
            elif info.ended and info.ended not in _ORDERED:
                found.append(f"{info.name} ended: {info.ended}")
        if not found and starts != sum(self.kills.values()):
            found.append(f"{starts} processes were started again after {self.kills.total()} kills")
        return found

    def close(self) -> None:
        Capability(self._system.calls, self._word.slot).drop()


def _progress(calls: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{calls} of {of} calls ", end="", file=sys.stderr, flush=True)


def leaks(before: Held, after: Held) -> list[str]:
    """What there is more, or less, than there was."""
    found = []
    for name in sorted({*before.spaces, *after.spaces}):
        was, is_ = before.spaces.get(name), after.spaces.get(name)
        if was is None or is_ is None:
            found.append(f"the process {name} is {'new' if was is None else 'gone'}")
        else:
            found += [
                f"{name} has {b - a:+} {what}"
                for what, a, b in zip(_HELD, was, is_, strict=True)
                if a != b
            ]
    for kind in sorted({*before.kinds, *after.kinds}):
        change = after.kinds.get(kind, 0) - before.kinds.get(kind, 0)
        if change:
            found.append(f"{change:+} capabilities to objects of kind {kind}")
    for field, what in (
        ("processes", "processes of the host"),
        ("threads", "threads of the host"),
        ("descriptors", "descriptors of the kernel's process"),
    ):
        change = getattr(after, field) - getattr(before, field)
        if change:
            found.append(f"{change:+} {what}")
    return found


def _check(load: Load, machine: str) -> None:
    """Raise ``UserError`` for what cannot be run, or not here."""
    if not LEAST <= load.processes <= MAX_PROCESSES:
        raise UserError(f"{LEAST} to {MAX_PROCESSES} processes, not {load.processes}")
    most = Path("/proc/sys/kernel/pid_max")
    if machine == "host" and most.exists():
        room, needed = int(most.read_text()) - RESERVED_IDS, THREADS * load.processes
        if room < needed:
            raise UserError(
                f"{load.processes} processes have up to {needed} threads and this host allows "
                f"{room} (kernel.pid_max); use fewer, or have the limit raised"
            )


@contextmanager
def _booted(load: Load, weak: bool, machine: str) -> Iterator[systems.System]:
    _check(load, machine)
    source = systems.Source(description(load), Path())
    with systems.boot(source, machine, load.seed, weak) as system:
        yield system


def measure(load: Load, weak: bool = False, machine: str = "host") -> dict[str, Any]:
    """Run the load; what was done, and what is wrong.  On ``sim`` nothing is killed by the host.

    Raises ``UserError`` if it cannot be run, or ``ConnectionError`` if the kernel ends by it.
    """
    with _booted(load, weak, machine) as system:
        run = Run(system, load)
        run.ready()
        before, begin = run.look(), time.monotonic()
        _, middle = run.work()
        took = time.monotonic() - begin
        after = run.settle(before)
        status = system.open(Tally, "tally").status()
        problems = [*run.problems, *status.faults, *run.deaths()]
        if not problems:  # else what is left is what was broken off
            problems = [*leaks(before, after), *_growth(middle, after.memory)]
        counts = status.counts
        problems += [f"{counts[what]} {what}" for what in counts if what.startswith("lost")]
        run.close()
        return {
            "processes": load.processes,
            "seconds": round(took, 1),
            "counts": dict(sorted(counts.items())),
            "kills": dict(run.kills),
            "held": {
                "before": _sums(before, before.memory),
                "half way": {"memory": middle},
                "after": _sums(after, after.memory),
            },
            "problems": problems,
        }


def _growth(middle: int, after: int) -> list[str]:
    """What is wrong with the kernel's memory half way and at the end, in bytes."""
    more = after - middle
    return [f"the kernel's process has {more} bytes more than half way"] if more > GROWTH else []


def _sums(held: Held, memory: int) -> dict[str, int]:
    """What all processes together have."""
    sums = [sum(row[i] for row in held.spaces.values()) for i in range(len(_HELD))]
    return {
        **dict(zip(_HELD, sums, strict=True)),
        "frames": held.kinds.get("Frame", 0),
        "processes": held.processes,
        "threads of the host": held.threads,
        "descriptors": held.descriptors,
        "memory": memory,
    }
