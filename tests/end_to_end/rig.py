"""Running the command line, and guests through it."""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from images import cache
from kernel.abi import DebugOp
from tools import boot, system
from tools.bench.boot import command

ROOT = Path(__file__).resolve().parents[2]
LINUX = cache.folder() / "images" / "debian-cloud"

needs_linux = pytest.mark.skipif(
    not (LINUX / "vmlinuz").exists(), reason="fetch it with: cloister images fetch linux"
)


def cloister(
    *arguments: str, typed: str = "", timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        input=typed,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


def linux_arguments(script: str) -> list[str]:
    """Arguments of ``boot`` for Debian's kernel running a script as its init's work."""
    encoded = base64.b64encode(script.encode()).decode()
    return [
        "--kernel",
        str(LINUX / "vmlinuz"),
        "--initrd",
        str(LINUX / "initramfs"),
        "--append",
        f"console=ttyS0 quiet panic=-1 cloister.run={encoded}",
    ]


@contextmanager
def booted(*arguments: str) -> Iterator[system.System]:
    """A system with one guest on the host machine, for tests that reach into it."""
    parser = argparse.ArgumentParser()
    boot.configure(parser)
    args = parser.parse_args(list(arguments))
    with system.boot(boot.describe(args)) as running:
        yield running


def pids(running: system.System) -> dict[str, int]:
    """The host's process of every space that has one."""
    return {row[1]: row[9] for row in running.debug(DebugOp.SPACES) if row[9]}


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def blank_disk(path: Path, mebibytes: int) -> Path:
    with path.open("wb") as file:
        os.truncate(file.fileno(), mebibytes << 20)
    return path
