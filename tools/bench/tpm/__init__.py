"""Cloister's TPM 2.0 beside Debian's swtpm: the same client, commands and transport, in turns.

Both are programs that serve the raw data channel on a TCP port of this machine, and each has one
connection for all that is measured.  Rounds of both are interleaved, because a shared machine is
not equally fast all the time.  All three processes are on one core: a wake-up on another takes
several times as long as a small command, and which of the two has to bear it is luck.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from tools.bench import ipc
from tools.bench.tpm import programs
from tools.bench.tpm.commands import COMMANDS, Row, Run
from tools.bench.tpm.wire import Client
from tools.errors import UserError

STARTS: Final = 9
START_LIMIT: Final = 0.3
"""Seconds."""


class Result(NamedTuple):
    """Medians."""

    ratios: dict[str, float]
    """Ours divided by swtpm's, by command."""
    limits: dict[str, float]
    """What some of them may be at most."""
    ours_ms: dict[str, float]
    swtpm_ms: dict[str, float]
    start_seconds: float
    """From the start of the process, with a new folder for its state, to its first answer."""
    swtpm_start_seconds: float


def choose(names: Sequence[str]) -> dict[str, Row]:
    """The commands of these names; all, if there are none."""
    wrong = [name for name in names if name not in COMMANDS]
    if wrong:
        raise UserError(f"{wrong[0]!r} is not measured; there are {', '.join(COMMANDS)}", 2)
    return {name: row for name, row in COMMANDS.items() if not names or name in names}


def measure(runs: int | None = None, names: Sequence[str] = ()) -> Result:
    """Measure in interleaved rounds; ``runs`` are the rounds, if not each command's own."""
    rows, peer = choose(names), programs.theirs()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {ipc.quietest(allowed)})
    try:
        starts = _starts(peer, runs or STARTS)
        times = _commands(rows, peer, runs)
    finally:
        os.sched_setaffinity(0, allowed)
        _tell("")
    ours, theirs = ({name: took[side] for name, took in times.items()} for side in (0, 1))
    return Result(
        ratios={name: round(ours[name] / theirs[name], 2) for name in rows},
        limits={name: row.limit for name, row in rows.items() if row.limit is not None},
        ours_ms={name: round(found, 4) for name, found in ours.items()},
        swtpm_ms={name: round(found, 4) for name, found in theirs.items()},
        start_seconds=round(starts[0], 3),
        swtpm_start_seconds=round(starts[1], 3),
    )


def _starts(peer: list[str], runs: int) -> tuple[float, float]:
    """Seconds to the first answer, of both."""
    times: tuple[list[float], list[float]] = [], []
    for _ in range(runs):
        for program, found in zip((programs.ours(), peer), times, strict=True):
            with programs.running(program) as (_client, seconds):
                found.append(seconds)
    return statistics.median(times[0]), statistics.median(times[1])


def _commands(
    rows: dict[str, Row], peer: list[str], rounds: int | None
) -> dict[str, tuple[float, float]]:
    """Milliseconds of each command, of both."""
    found = {}
    with programs.running(programs.ours()) as one, programs.running(peer) as other:
        for name, row in rows.items():
            _tell(name)
            took = _in_turns(row, (one[0], other[0]), rounds or row.rounds)
            found[name] = (statistics.median(took[0]) / 1e6, statistics.median(took[1]) / 1e6)
    return found


def _in_turns(row: Row, clients: tuple[Client, Client], rounds: int) -> tuple[list[int], list[int]]:
    """Nanoseconds of each time, of both; a first round is not counted."""
    runs: tuple[Run, Run] = row.prepare(clients[0]), row.prepare(clients[1])
    times: tuple[list[int], list[int]] = [], []
    for turn in range(1 + rounds):
        for side in (0, 1) if turn % 2 else (1, 0):
            took = [runs[side](turn * row.batch + each) for each in range(row.batch)]
            if turn:
                times[side].extend(took)
    for client in clients:
        client.flush_all()
    return times


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<40}\r{text}", end="", file=sys.stderr, flush=True)
