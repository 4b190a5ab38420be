"""A call and its reply, beside a socket between two processes that nobody mediates.

Both ways carry 64 bytes there and back, from one process to another and back, all of them on one
core: a wake-up on another core takes several times as long as the message, and would measure the
host.  Rounds of both are interleaved, because a shared machine is not equally fast all the time.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from kernel.abi import DebugOp
from servers.init.description import (
    Description,
    ProcessEntry,
)
from tools import system as systems
from tools.bench import peers
from tools.bench.programs.interface import Caller

SIZE: Final = 64
"""Bytes in each direction."""
CALLS: Final = 500
"""Calls in one round."""
ROUNDS: Final = 41
PEER_ROUNDS: Final = 7
BULKS: Final = 5
"""How often 1 MiB is moved in one round."""
_PROBED: Final = 16
"""Cores that are tried at most."""
_PROBE: Final = 300
"""Messages to try one with."""
_SERVER: Final = "tools.bench.programs.server"
_CLIENT: Final = "tools.bench.programs.client"
_PRIORITY: Final = 128
"""The host's ordinary one, which the raw socketpair's processes have."""


class Result(NamedTuple):
    """Medians of the rounds, in microseconds for a message and its answer."""

    raw_socketpair_us: float
    system_call_us: float
    """The system call alone, between two user-mode processes."""
    mediated_call_us: float
    """A method of an interface, as programs make their calls."""
    direct_call_us: float
    """The same method over a link, without the kernel in between."""
    bulk_messages_us: float
    """1 MiB by messages of 60 KiB."""
    bulk_stream_us: float
    """1 MiB through a packet stream."""
    ratio: float
    """The mediated call to the raw socketpair: the median over the rounds."""
    peers: dict[str, float]
    """Other libraries' calls, if they were asked for."""


def _process(name: str, program: str, offer: str, holds: list[str]) -> ProcessEntry:
    return ProcessEntry(name=name, program=program, offers=[offer], holds=holds, priority=_PRIORITY)


def _description() -> Description:
    return Description(
        name="bench-ipc",
        process=[
            _process("raw", _SERVER, "raw", []),
            _process("typed", _SERVER, "typed", []),
            _process("client", _CLIENT, "caller", ["raw", "typed"]),
        ],
    )


def _pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one core."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})


@contextmanager
def _mediated(core: int, weak: bool) -> Iterator[Caller]:
    """A running system of the benchmark's processes, all of it on one core."""
    source = systems.Source(_description(), Path())
    with systems.boot_host(systems.config(source), weak) as system:
        caller = system.open(Caller, "client")
        caller.typed(1, SIZE)
        caller.direct(1, SIZE)
        for space in system.debug(DebugOp.SPACES):
            if space[9]:
                _pin(space[9], core)
        assert isinstance(system, systems.HostSystem)
        _pin(system.pid, core)
        yield caller


class Peer:
    """A process that sends back what it gets."""

    def __init__(self, core: int) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if not self._pid:
            try:
                self._ours.close()
                os.sched_setaffinity(0, {core})
                while data := theirs.recv(1 << 16):
                    theirs.send(data)
            finally:
                os._exit(0)
        theirs.close()

    def calls(self, count: int, size: int) -> int:
        """Nanoseconds for so many messages and their answers."""
        send, recv, data = self._ours.send, self._ours.recv, bytes(size)
        start = time.perf_counter_ns()
        for _ in range(count):
            send(data)
            recv(1 << 16)
        return time.perf_counter_ns() - start

    def close(self) -> None:
        self._ours.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def quietest(allowed: set[int]) -> int:
    """The core on which a message is fastest now: others may be busy with something else."""
    took = {}
    for core in sorted(allowed)[:_PROBED]:
        os.sched_setaffinity(0, {core})
        peer = Peer(core)
        try:
            took[core] = min(peer.calls(_PROBE, SIZE) for _ in range(3))
        finally:
            peer.close()
            os.sched_setaffinity(0, allowed)
    return min(took, key=lambda core: took[core])


def measure(
    calls: int = CALLS, rounds: int = ROUNDS, weak: bool = False, others: bool = False
) -> Result:
    """Measure Cloister and a raw socketpair in interleaved rounds, and then ``others``."""
    allowed = os.sched_getaffinity(0)
    core = quietest(allowed)
    raw, bare, mediated, direct = [], [], [], []
    bulk: dict[str, list[int]] = {"messages": [], "stream": []}
    peer = Peer(core)
    try:
        with _mediated(core, weak) as caller:
            os.sched_setaffinity(0, {core})
            for _ in range(rounds):
                raw.append(peer.calls(calls, SIZE))
                bare.append(caller.calls(calls, SIZE))
                mediated.append(caller.typed(calls, SIZE))
                direct.append(caller.direct(calls, SIZE))
                for name, times in bulk.items():
                    times.append(getattr(caller, name)(BULKS))
    finally:
        os.sched_setaffinity(0, allowed)
        peer.close()

    def microseconds(times: list[int]) -> float:
        return round(statistics.median(times) / calls / 1000, 2)

    ratio = statistics.median(m / r for m, r in zip(mediated, raw, strict=True))
    moved = {name: round(statistics.median(t) / BULKS / 1000, 1) for name, t in bulk.items()}
    return Result(
        raw_socketpair_us=microseconds(raw),
        system_call_us=microseconds(bare),
        mediated_call_us=microseconds(mediated),
        direct_call_us=microseconds(direct),
        bulk_messages_us=moved["messages"],
        bulk_stream_us=moved["stream"],
        ratio=round(ratio, 2),
        peers=peers.measure(core, SIZE, calls, PEER_ROUNDS) if others else {},
    )
