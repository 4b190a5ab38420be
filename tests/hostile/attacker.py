"""What an attack has to work with.

An attacker holds a service of its own (``evil``), the victim and the neighbour, a device to read
and a terminal.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any, Final

import msgpack
import msgspec

from kernel.abi import CALLS, MAX_FRAME, Right
from servers.runtime import Environment
from servers.runtime.host import ANSWERS, REQUESTS
from tests.hostile.linux import Host
from tests.hostile.victim import Victim

NUMBERS: Final = {spec.name: spec.number for spec in CALLS}
SECOND: Final = 1_000_000_000
_pack, _unpack = msgpack.packb, msgpack.unpackb


class Facts(msgspec.Struct, frozen=True):
    """What an attacker could never find out: it is told, so that its failure proves more."""

    attack: str
    held: bool
    """Whether there is a sandbox."""
    numbers: dict[str, int]
    """The host's system calls."""
    folder: str
    """Files of the host."""
    pids: dict[str, int]
    """Processes of the host, by the names of their spaces; ``kernel`` and ``tester`` too."""
    secret: int
    """The address in the victim's memory of what nobody else should see."""
    port: int
    """Where the tester listens, on the loopback device."""
    path: str
    """Where it listens in the file system."""
    abstract: str
    """Where it listens in the abstract namespace."""


class Attacker:
    """What an attack has to work with."""

    def __init__(self, env: Environment) -> None:
        self.env, self.system = env, env.system
        self.victim = env.open(Victim, "victim", timeout=5 * SECOND)
        self.neighbour = env.open(Victim, "neighbour", timeout=5 * SECOND)
        self.facts = msgspec.msgpack.decode(self.neighbour.facts(), type=Facts)
        self.host = Host(self.facts.numbers)

    # The kernel without the runtime's help

    @property
    def notices(self) -> socket.socket:
        """The notice channel, to be read only if nothing was mapped the honest way."""
        channel: Any = self.system.channel
        found: socket.socket = channel._process._notices
        return found

    def send(self, frame: bytes) -> None:
        """Send what may be a system call."""
        os.write(REQUESTS, frame)

    def request(self, name: str, *arguments: Any) -> bytes:
        """The frame of a system call."""
        frame: bytes = _pack([NUMBERS[name], *arguments])
        return frame

    def receive(self) -> list[Any]:
        """The next answer, ``[error, result, ...]``."""
        answer = os.read(ANSWERS, MAX_FRAME)
        if not answer:
            time.sleep(5)  # the kernel hung up, and ends this process
        found: list[Any] = _unpack(answer)
        return found

    def ask(self, name: str, *arguments: Any) -> list[Any]:
        """A system call and its answer."""
        self.send(self.request(name, *arguments))
        return self.receive()

    def confess(self, mapping: int) -> None:
        """Say that a mapping is gone, as the answer to a notice."""
        self.notices.send(mapping.to_bytes(8, "little", signed=True))

    def borrow(self, slot: int, rights: int = Right.READ) -> tuple[int, int, int]:
        """Map a frame: the mapping, its size and the frame's descriptor, which stays open."""
        self.send(self.request("map", slot, int(rights)))
        error, *rest = self.receive()
        if error:
            raise OSError(errno.EACCES, f"kernel error {error}")
        fds = socket.recv_fds(self.notices, 64, 1)[1]
        return rest[0], rest[1], fds[0]

    def still_here(self, after: float = 5) -> str:
        """Wait to be killed; what to say if that does not happen."""
        time.sleep(after)
        return "nobody minded"
