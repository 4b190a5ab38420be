"""What Debian's kernel does under load, and the memory it takes, beside QEMU's software engine.

The same kernel and initial RAM disk run the same scripts in both, in turns: processes that fork and
execute, a compressor, a hash.  Times are the guest's own.  Memory is what is resident of the
process that runs the guest, after the boot and again after the scripts; pages of the guest count,
shared as they are.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from tools.bench import boot
from tools.errors import UserError

RUNS: Final = 3
TIMEOUT: Final = 180.0
SLOWEST: Final = 1.3
"""How many times as long as QEMU all scripts together may take."""
LARGEST: Final = 1.3
"""How many times the memory of QEMU's process the VMM's may have."""
SCRIPTS: Final = {
    "fork": "for i in $(seq 1500); do (:); done",
    "exec": "for i in $(seq 300); do busybox true; done",
    "pipes": "for i in $(seq 100); do seq 200 | busybox sort -n | busybox tail -n 1; done",
    "gzip": "busybox gzip -c /tmp/data | busybox gunzip -c | busybox cmp - /tmp/data",
    "sha256": "busybox sha256sum /tmp/data /tmp/data /tmp/data",
}
"""Name -> what is timed."""
_SCRIPT: Final = """
now() { read -r up rest </proc/uptime; echo $up; }
pass() {
    begin=$(now); sh -c "$2" >/tmp/out 2>&1 || echo "bench failed $1"; end=$(now)
    echo "bench $1 $(busybox awk "BEGIN { print $end - $begin }")"
}
echo 'bench rest'; busybox sleep 2
for i in $(busybox seq 60); do busybox cat /bin/busybox; done | busybox head -c 12m >/tmp/data
"""
_ROW: Final = re.compile(rb"bench (\w+) ([0-9.]+)")
_REST: Final = b"bench rest"
_SETTLED: Final = 1.0
"""Seconds after which a guest that rests is looked at."""


class Memory(NamedTuple):
    """Resident bytes of the process that runs a guest."""

    booted: int
    stressed: int


class Result(NamedTuple):
    """Medians; those of QEMU, and what is relative to it, are empty where it is not installed."""

    cloister_s: dict[str, float]
    qemu_tcg_s: dict[str, float]
    ratios: dict[str, float]
    """By script; ``all`` for all of them together."""
    cloister_mib: dict[str, float]
    qemu_tcg_mib: dict[str, float]
    memory_ratios: dict[str, float]
    limit: float = SLOWEST
    memory_limit: float = LARGEST


def script() -> str:
    """What the guest runs."""
    passes = [f"pass {name} '{text}'" for name, text in SCRIPTS.items()]
    return "\n".join([_SCRIPT, *passes, _REST.join((b"echo '", b"'; sleep 2")).decode()])


def append() -> str:
    """The kernel's command line."""
    encoded = base64.b64encode(script().encode()).decode()
    return f"console=ttyS0 quiet panic=-1 cloister.run={encoded}"


def _descendants(pid: int) -> Iterator[int]:
    """A process and all below it, as far as they are there while this looks."""
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _descendants(int(child))
    except OSError:
        return


def _resident(pid: int) -> int:
    """Bytes of a process that are in memory; 0 if it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def largest(pid: int) -> int:
    """Resident bytes of the largest process below one: of those that belong to a boot, the one
    that has the guest's memory mapped."""
    return max(map(_resident, _descendants(pid)))


def run_guest(command: list[str]) -> tuple[dict[str, float], Memory]:
    """Seconds of each script in one guest, and the memory it took."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        timer = threading.Timer(TIMEOUT, process.terminate)
        timer.start()
        try:
            output, sizes = _watch(process.stdout, process.pid)
        finally:
            timer.cancel()
            process.terminate()
    times = {name.decode(): float(seconds) for name, seconds in _ROW.findall(output)}
    if set(times) != set(SCRIPTS) or len(sizes) != 2 or b"bench failed" in output:
        name = os.path.basename(command[0])
        last = output.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"{name} did not run the scripts to their end: {last!r}")
    return times, Memory(*sizes)


def _watch(output: IO[bytes], pid: int) -> tuple[bytes, list[int]]:
    """All output, and the memory at each rest."""
    found, sizes = b"", []
    for line in output:
        found += line
        if line.startswith(_REST):
            time.sleep(_SETTLED)
            sizes.append(largest(pid))
    return found, sizes


def measure(runs: int = RUNS) -> Result:
    """Boot guests in turns, and compare."""
    kernel, initrd = boot.find_image()
    commands = {"cloister": boot.cloister(kernel, initrd, append())}
    if shutil.which(boot.QEMU):
        commands["qemu"] = boot.qemu(kernel, initrd, append())
    found: dict[str, list[tuple[dict[str, float], Memory]]] = {"cloister": [], "qemu": []}
    for _ in range(runs):
        for system, command in commands.items():
            found[system].append(run_guest(command))
    ours, theirs = _times(found["cloister"]), _times(found["qemu"])
    memory, peers = _memory(found["cloister"]), _memory(found["qemu"])
    return Result(
        *(ours, theirs, _ratios(ours, theirs)),
        *(memory, peers, _ratios(memory, peers)),
    )


def _times(guests: list[tuple[dict[str, float], Memory]]) -> dict[str, float]:
    if not guests:
        return {}
    rows = [{**times, "all": sum(times.values())} for times, _ in guests]
    return {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}


def _memory(guests: list[tuple[dict[str, float], Memory]]) -> dict[str, float]:
    if not guests:
        return {}
    rows = [memory._asdict() for _, memory in guests]
    return {
        name: round(statistics.median(row[name] for row in rows) / (1 << 20), 1)
        for name in Memory._fields
    }


def _ratios(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    return {name: round(ours[name] / theirs[name], 2) for name in theirs}
