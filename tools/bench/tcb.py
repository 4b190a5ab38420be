"""How long ``cloister tcb`` thinks: a report of a running system, and what-if on a large graph."""

from __future__ import annotations

import random
import statistics
import subprocess
import time
from typing import Final, NamedTuple

from tools.bench.boot import command
from tools.tcb import whatif
from tools.tcb.graph.model import ALL, Component, Graph, Influence, graph

RUNS: Final = 3
PROCESSES: Final = 10_000
CAPABILITIES: Final = 100_000
LIMIT: Final = 2.0
"""Seconds, of either."""


class Result(NamedTuple):
    """Medians, in seconds."""

    report_s: float
    """The command, which boots the default system to look at it."""
    what_if_s: float
    """Two edits of a large graph, and what they change for one process."""
    limit: float = LIMIT


def large(seed: int = 1) -> Graph:
    """A graph of the promised size, in which a process trusts thousands of others."""
    chance = random.Random(seed)
    names = [f"p{number}" for number in range(PROCESSES)]
    found = []
    for number in range(CAPABILITIES):
        client = number % PROCESSES
        server = chance.randrange(PROCESSES)
        why = f"p{client} holds p{server}.service"
        found.append(
            Influence(names[server], names[client], ALL, why, (names[client], names[server]))
        )
    return graph("large", map(Component, names), found)


def measure(runs: int = RUNS) -> Result:
    """All of it, so many times."""
    looked_at = command("tcb", "report", "--live", "--for", "vm:hello")
    reports, edits = [], []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run(looked_at, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        reports.append(time.perf_counter() - begin)
        before = large()
        held = before.influences[0].held
        assert held is not None
        begin = time.perf_counter()
        wanted = [("merge", "p1+p2+p3"), ("drop", ":".join(held))]
        whatif.changes(before, whatif.edited(before, wanted), "p4")
        edits.append(time.perf_counter() - begin)
    return Result(statistics.median(reports), statistics.median(edits))
