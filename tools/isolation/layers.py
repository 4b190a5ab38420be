"""Which layers of isolation this host has, found out by having a child try each.

The children are of an interpreter of their own, which has one thread: a child that is cloned while
other threads hold locks could wait for these for ever.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from kernel.machine.config import BootConfig
from kernel.machine.host.linux import clone, set_no_new_privileges
from kernel.machine.host.sandbox import Sandbox
from tools.isolation import filters, linux
from tools.isolation.prepare import threads_are_counted

LAYERS: Final = {
    "user namespace": "a process keeps the user's rights",
    "pid namespace": "processes see and signal each other",
    "mount namespace": "processes share the host's mounts",
    "network namespace": "processes reach the host's network",
    "ipc namespace": "processes share System V memory",
    "uts namespace": "processes share the host's name",
    "cgroup namespace": "processes see the host's control groups",
    "thread limit": "a process can use up the host's threads",
    "Landlock": "a process can read the user's files",
    "seccomp": "a process can use all of the host kernel",
}
"""Each layer, and what is wrong without it."""
_ROOT: Final = Path(__file__).resolve().parent.parent.parent


class Layer(NamedTuple):
    """One layer of isolation as found on this host."""

    name: str
    present: bool
    why: str  # it is missed, if it is


def layers() -> list[Layer]:
    """Every layer and whether this host has it; takes some 50 milliseconds."""
    found = lacking()
    return [Layer(name, name not in found, found.get(name, "")) for name in LAYERS]


def lacking() -> dict[str, str]:
    """The layers that this host lacks, and why each is missed."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, check=True, cwd=_ROOT
    )
    reasons: dict[str, str] = json.loads(done.stdout)
    return {name: f"{LAYERS[name]}: {reason}" for name, reason in reasons.items()}


def _try_all() -> dict[str, str]:
    """Name -> what the host said, of each layer that it lacks."""
    found: dict[str, str] = {}
    config = BootConfig("")
    try:
        config = config._replace(filters=filters.filters())
    except (OSError, RuntimeError) as error:
        found["seccomp"] = str(error)
    rules: list[int] = []
    try:
        rules = [linux.ruleset([])]
        config = config._replace(ruleset=0)
    except OSError as error:
        found["Landlock"] = f"{error.strerror}"
    if not threads_are_counted():
        found["thread limit"] = "root's threads are counted from Linux 6.14 on"
    for name, flag in linux.NAMESPACES.items():
        try:
            alone = config._replace(
                namespaces=flag | linux.NAMESPACES["user namespace"], without=[*LAYERS]
            )
            _try(Sandbox(alone, rules))
        except OSError as error:
            found[name] = f"{error.strerror}"
    flags = sum(flag for name, flag in linux.NAMESPACES.items() if name not in found)
    return found | _try(Sandbox(config._replace(namespaces=flags, without=[*found]), rules))


def _try(sandbox: Sandbox) -> dict[str, str]:
    """Which layers a child cannot enter; raises ``OSError`` if there can be no child."""
    reading, writing = os.pipe()
    try:
        pid, pidfd = clone(sandbox.flags)
        if not pid:
            status = 1
            try:
                _enter(sandbox, writing)
                status = 0
            finally:
                os._exit(status)
    finally:
        os.close(writing)
        lines = os.fdopen(reading)
    os.close(pidfd)
    with lines:
        found = dict(line.rstrip().split("=", 1) for line in lines)
    if os.waitpid(pid, 0)[1]:
        raise ChildProcessError(None, "the sandbox could not be tried")
    return found


def _enter(sandbox: Sandbox, writing: int) -> None:
    """In the child: take the steps that are layers, and write down what the host said to each."""
    set_no_new_privileges()
    for name, take in sandbox.enter(False, 0):
        if name in LAYERS:
            try:
                take()
            except OSError as error:
                os.write(writing, f"{name}={error.strerror}\n".encode())


if __name__ == "__main__":
    print(json.dumps(_try_all()))
