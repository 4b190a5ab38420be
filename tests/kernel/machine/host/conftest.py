"""Boots host machines of puppets; ``puppets/`` says what those are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest

from kernel.abi import CALLS
from kernel.machine.config import BootConfig
from tools.isolation import prepared

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
SITE = str(Path(msgpack.__file__).parents[1])
MAIN = ROOT / "kernel" / "machine" / "host" / "main.py"
NUMBERS = {spec.name: spec.number for spec in CALLS}
PATHS = [str(HERE / "puppets"), str(ROOT), SITE]


class NotBooted(Exception):
    """The machine did not boot; the text is its answer."""


class Rig:
    """A machine whose root task, and what that spawns, are puppets."""

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        fds: Sequence[int] = (),
        prefix: Sequence[str] = (),
        entry: str = "puppet",
    ) -> None:
        self.notices, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def place() -> None:
            os.dup2(theirs.fileno(), 3)
            os.set_inheritable(3, True)

        command = [*prefix, sys.executable, "-I", "-S", str(MAIN), str(ROOT), SITE]
        self.kernel = subprocess.Popen(
            command, preexec_fn=place, pass_fds=[3], stderr=subprocess.PIPE
        )
        theirs.close()
        fields = {"memory": 1 << 30, "paths": PATHS, "without": (), "devices": (), **(config or {})}
        paths, without = fields.pop("paths"), fields.pop("without")
        devices = fields.pop("devices")
        entries = [d._replace(fd=None if d.fd is None else fds[d.fd]) for d in devices]
        whole, given = prepared(BootConfig(entry, devices=entries, **fields), paths, without)
        socket.send_fds(self.notices, [whole.pack()], given)
        for fd in given:
            os.close(fd)
        answer, self.channel, _, _ = socket.recv_fds(self.notices, 1 << 16, 2)
        status, self.slots = msgpack.unpackb(answer)
        if status:
            self.close()
            raise NotBooted(self.slots)

    def call(self, name: str, *arguments: Any) -> list[Any]:
        """A system call of the operator; ``[error, result, ...]``."""
        os.write(self.channel[0], msgpack.packb([NUMBERS[name], *arguments]))
        data = os.read(self.channel[1], 1 << 17)
        if not data:
            raise ConnectionError("the machine ended")
        answer: list[Any] = msgpack.unpackb(data)
        return answer

    def tell(self, source: str) -> Any:
        """Have the root task execute ``source``; its ``result``."""
        endpoint = self.slots["operator"]
        answer = self.call("call", endpoint, 0, source.encode(), [], 20_000_000_000)
        assert answer[0] == 0, answer
        done, result = msgpack.unpackb(answer[2], strict_map_key=False)
        assert done, result
        return result

    def tell_child(self, name: str, source: str, caps: str = "[]") -> Any:
        """Have a child of the root task execute ``source``."""
        done, result = self.tell(f"result = tell({name!r}, {source!r}, {caps})")
        assert done, result
        return result

    def spaces(self) -> dict[str, dict[str, Any]]:
        """What debug says of each space, by its name."""
        error, rows, _ = self.call("debug", self.slots["debug"], 0, 0)
        assert error == 0
        names = ["id", "name", "label", "flags", "used", "limit", "caps", "mappings"]
        names += ["threads", "pid", "cpu", "rss", "budget", "period"]
        return {row[1]: dict(zip(names, row, strict=True)) for row in msgpack.unpackb(rows)}

    def pid(self, name: str = "puppet") -> int:
        pid: int = self.spaces()[name]["pid"]
        return pid

    def wait(self) -> tuple[int, str]:
        """The machine's exit status and what it wrote to its standard error."""
        _, errors = self.kernel.communicate(timeout=20)
        return self.kernel.returncode, errors.decode()

    def close(self) -> tuple[int, str]:
        """Hang up."""
        for fd in self.channel:
            os.close(fd)
        self.channel = []
        self.notices.close()
        return self.wait()


def gone(pid: int, seconds: float = 5) -> bool:
    """Whether a process is no more, or comes to be within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.005)
    return False


@pytest.fixture(name="gone")
def _gone() -> Callable[[int], bool]:
    return gone


@pytest.fixture(scope="session")
def import_path() -> list[str]:
    return PATHS


@pytest.fixture
def boot() -> Iterator[Callable[..., Rig]]:
    """Boots machines that end with the test."""
    rigs: list[Rig] = []

    def make(*args: Any, **kwargs: Any) -> Rig:
        rigs.append(Rig(*args, **kwargs))
        return rigs[-1]

    yield make
    for rig in rigs:
        if rig.kernel.poll() is None:
            rig.close()


@pytest.fixture
def rig(boot: Callable[..., Rig]) -> Rig:
    return boot()


@pytest.fixture(scope="module")
def shared() -> Iterator[Rig]:
    """A machine for tests that leave it as they found it."""
    rig = Rig()
    yield rig
    rig.close()
