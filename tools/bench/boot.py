"""Boot of an unmodified Linux, from the command to the first line of its init.

The same kernel and initial RAM disk boot through the whole of Cloister (the launcher, the kernel,
init, the drivers, the console, the VMM) and in QEMU with its software engine, in turns.  The first
boot of each is not counted: it reads from the disk what the others find in memory.
"""

from __future__ import annotations

import os
import selectors
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final, NamedTuple

from images import cache
from tools.errors import UserError
from tools.system import ROOT

LINE: Final = b"cloister: init started"
"""The first line of the image's init."""
APPEND: Final = "console=ttyS0 quiet panic=-1 cloister.exit"
QEMU: Final = "qemu-system-x86_64"
TIMEOUT: Final = 120.0
"""Seconds in which a boot is expected to reach the line, and then its end."""
RUNS: Final = 3
PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1));from tools.cli import main; sys.exit(main())"
)
"""What the launcher does, where the code was installed without it."""


def command(*arguments: str) -> list[str]:
    """The command line in a process of its own, as the launcher starts it."""
    return [sys.executable, "-I", "-c", PROGRAM, str(ROOT), *arguments]


class Result(NamedTuple):
    """Medians of the runs in seconds; None without QEMU."""

    cloister_s: float
    qemu_tcg_s: float | None
    ratio: float | None


def find_image(name: str = "debian-cloud", recipe: str = "linux") -> tuple[Path, Path]:
    """Kernel and initial RAM disk of an image; ``recipe`` is what to fetch if it is not there."""
    folder = cache.image(name)
    kernel, initrd = folder / "vmlinuz", folder / "initramfs"
    if not (kernel.exists() and initrd.exists()):
        raise UserError(f"an image is not there; fetch it with: cloister images fetch {recipe}")
    return kernel, initrd


def cloister(kernel: Path, initrd: Path, append: str = APPEND) -> list[str]:
    """The command that boots a guest in Cloister."""
    launcher = ROOT / "cloister"
    program = [str(launcher)] if launcher.exists() else command()
    return [
        *(*program, "boot", "--kernel", str(kernel), "--initrd", str(initrd)),
        *("--append", append, "--memory", "256M"),
    ]


def qemu(kernel: Path, initrd: Path, append: str = APPEND) -> list[str]:
    """The command that boots it in QEMU, without hardware's help."""
    return [
        *(QEMU, "-accel", "tcg", "-m", "256", "-nographic", "-no-reboot"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", append),
    ]


def until_line(command: list[str], line: bytes = LINE, timeout: float = TIMEOUT) -> float:
    """Run a command to its end; the seconds until it wrote a line."""
    name = os.path.basename(command[0])
    start = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        try:
            output, at = _watch(process.stdout, line, start + timeout)
            if at is None:
                last = output.decode(errors="replace").strip().rpartition("\n")[2]
                raise UserError(
                    f"{name} did not get to {line.decode()!r} in {timeout:g} s or ended"
                    + (f"; it said {last!r}" if last else "")
                )
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise UserError(f"{name} did not end") from None
        finally:
            process.terminate()
    return at - start


def _watch(stream: IO[bytes], line: bytes, deadline: float) -> tuple[bytes, float | None]:
    """Read until the line, and on to the end of the output; when the line was there."""
    output, at = b"", None
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            data = os.read(stream.fileno(), 1 << 16)
            if not data:
                break
            output += data
            if at is None and line in output:
                at = time.monotonic()
    return output, at


def measure(runs: int = RUNS) -> Result:
    """Boot in turns, and compare."""
    kernel, initrd = find_image()
    found = shutil.which(QEMU) is not None
    ours, theirs = [], []
    for number in range(1 + runs):
        if sys.stderr.isatty():
            print(f"\rboot {number} of {runs} ", end="", file=sys.stderr, flush=True)
        ours.append(until_line(cloister(kernel, initrd)))
        if found:
            theirs.append(until_line(qemu(kernel, initrd)))
    if sys.stderr.isatty():
        print("\r" + " " * 20 + "\r", end="", file=sys.stderr, flush=True)
    mine = statistics.median(ours[1:])
    if not found:
        return Result(round(mine, 3), None, None)
    peer = statistics.median(theirs[1:])
    return Result(round(mine, 3), round(peer, 3), round(mine / peer, 2))
