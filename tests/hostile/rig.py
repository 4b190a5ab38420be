"""A system of attackers and victims on the host machine, and everything an attack could change."""

from __future__ import annotations

import compileall
import os
import resource
import socket
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec
import pytest

from kernel.abi import DebugOp
from servers.audit.interface import AuditReader, Record
from servers.init.description import (
    Description,
    DeviceEntry,
    ProcessEntry,
)
from servers.init.interface import Control
from servers.runtime import Notification, TimedOut
from servers.runtime.client import client, endpoint_of
from tests.hostile.attacker import Facts
from tests.hostile.registry import BORN, COMPILER, TURNED, Attack, End
from tests.hostile.victim import SECRET, Victim
from tools import system
from tools.isolation import filters, layers

SECOND: Final = 1_000_000_000
LONGEST: Final = 30.0
"""Seconds that an attack may take at most, on a machine that is busy with other things."""
PATIENCE: Final = 10 * SECOND
"""Nanoseconds within which a victim has to answer whatever happens."""
QUOTA: Final = "8MiB"
"""Of an attacker: so that it takes little time to use up."""
PRIORITY: Final = 90
"""Of an attacker."""
MEMORY_LEFT: Final = 24 << 20
"""Bytes by which an attack may make the kernel's process grow: heaps do not shrink at once."""
NAME: Final = "cloister-hostile"
"""In the name of whatever attackers make on the host."""
SYSTEM_V_KEY: Final = 0x436C6F69
"""What attackers call their System V objects."""
MOST_CALLS: Final = 600
"""Numbers of the host's system calls are below it."""
PROGRAMS: Final = (BORN, TURNED, COMPILER)
_HOLDS: Final = ["victim=victim.victim", "neighbour=neighbour.victim", "device:book", "device:tty"]


def _attacker(name: str) -> ProcessEntry:
    executable = name == COMPILER
    return ProcessEntry(
        name=name,
        program=f"tests.hostile.{BORN if executable else name}",
        holds=_HOLDS,
        offers=["evil"],
        memory=QUOTA,
        restart="never",
        priority=PRIORITY,
        autostart=False,
        executable=executable,
    )


def _victim(name: str) -> ProcessEntry:
    return ProcessEntry(name=name, program="tests.hostile.victim", offers=["victim"])


def _description(tty: str) -> Description:
    return Description(
        name="hostile",
        device=[
            DeviceEntry(name="book", file="book", writable=False),
            DeviceEntry(name="tty", file=tty, stream=True),
        ],
        process=[
            ProcessEntry(name="audit", program="servers.audit", offers=["audit", "reader"]),
            _victim("victim"),
            _victim("neighbour"),
            *[_attacker(name) for name in PROGRAMS],
        ],
    )


@dataclass(frozen=True)
class Traces:
    """What an attack could change; two of them are equal if it changed nothing."""

    spaces: dict[str, tuple[Any, ...]]
    """Every process: label, flags, memory, capabilities, mappings, threads, process of the host."""
    objects: dict[str, int]
    """How many threads, endpoints and capabilities the kernel has."""
    descriptors: Counter[str]
    """What the kernel's process has open, by kind."""
    family: frozenset[int]
    """The kernel's process and all that descend from it, on the host."""
    kernel: tuple[Any, ...]
    """How the host runs the kernel: namespaces, priorities, limits."""
    files: dict[str, tuple[Any, ...]]
    """A folder of the host."""
    secret: bytes
    """What is in the victim's memory."""
    bells: int
    """What was signalled to the victim and nobody should have."""
    connections: int
    """How often somebody reached the tester by a socket."""
    typed: bytes
    """What was put into the terminal as if a person had typed it."""
    host: tuple[Any, ...]
    """The host's names and its System V memory."""

    def changed(self, before: Traces) -> dict[str, object]:
        """What is not as it was: each as it was and as it is, of tables the rows that differ."""
        found: dict[str, object] = {}
        for name in (field.name for field in fields(self)):
            old, new = getattr(before, name), getattr(self, name)
            if old != new and isinstance(old, dict):
                keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
                found[name] = {key: (old.get(key), new.get(key)) for key in keys}
            elif old != new:
                found[name] = (old, new)
        return found


class Folder:
    """Files of the host that nobody in a sandbox should reach."""

    def __init__(self) -> None:
        self._made = tempfile.TemporaryDirectory(prefix=f"{NAME}-")
        self.path = Path(self._made.name)
        (self.path / "book").write_text("to be read alone")
        self.restore()

    def restore(self) -> None:
        """Put back what an attack may have changed, but the book, which the kernel has open."""
        for path in self.path.iterdir():
            if path.name not in ("book", "socket"):
                path.rmdir() if path.is_dir() else path.unlink()
        (self.path / "note").write_text("keep out")
        (self.path / "script").write_text("#!/bin/sh\necho escaped\n")
        (self.path / "script").chmod(0o755)

    def seen(self) -> dict[str, tuple[Any, ...]]:
        """Every file with what a change would show in."""
        found: dict[str, tuple[Any, ...]] = {}
        for path in sorted(self.path.rglob("*")):
            status = path.lstat()
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            times = status.st_mtime_ns, status.st_nlink, status.st_mode, status.st_uid
            found[str(path.relative_to(self.path))] = (data, *times)
        return found

    def close(self) -> None:
        self._made.cleanup()


class Ears:
    """The tester's own sockets, which nobody in a sandbox should reach."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "socket")
        self.abstract = f"@{NAME}-{os.getpid()}-{id(self)}"
        self.sockets = [socket.socket(family) for family in (socket.AF_INET, *[socket.AF_UNIX] * 2)]
        addresses: tuple[Any, ...] = (("127.0.0.1", 0), self.path, "\0" + self.abstract[1:])
        for heard, address in zip(self.sockets, addresses, strict=True):
            heard.bind(address)
            heard.listen(8)
            heard.setblocking(False)
        self.port: int = self.sockets[0].getsockname()[1]
        self._count = 0

    def heard(self) -> int:
        """How many connections there were so far."""
        for listening in self.sockets:
            try:
                while True:
                    listening.accept()[0].close()
                    self._count += 1
            except BlockingIOError:
                pass
        return self._count

    def close(self) -> None:
        for heard in self.sockets:
            heard.close()


class Terminal:
    """A terminal of the host, of which attackers are given the far side."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        os.set_blocking(self._slave, False)
        self.name = os.ttyname(self._slave)

    def typed(self) -> bytes:
        """What can be read from it though nobody typed it."""
        try:
            return os.read(self._slave, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)


class Range:
    """The system, booted; ``without`` are layers of the sandbox to leave out."""

    def __init__(self, without: tuple[str, ...] = (), held: bool | None = None) -> None:
        """``held``: whether attackers are to believe that there is a sandbox."""
        self._stack = ExitStack()
        self._without = without
        self._held = not without if held is None else held
        self.folder = Folder()
        self._stack.callback(self.folder.close)
        self.ears = Ears(self.folder.path)
        self._stack.callback(self.ears.close)
        self.terminal = Terminal()
        self._stack.callback(self.terminal.close)
        self.system = self._boot()
        self._stack.callback(self.system.close)
        self.kernel: int = self.system.pid
        self.victim, self.neighbour = self._open("victim"), self._open("neighbour")
        self.log = self.system.open(AuditReader, "audit.reader", PATIENCE)
        slot = endpoint_of(self.system.control).slot
        self.control = client(Control, self.system.calls, slot, PATIENCE)
        self.still: Traces | None = None
        """How things are while nobody attacks, if that is known."""
        self._bits = self.system.calls.notification_create()
        self.victim.ping(0)
        self.neighbour.ping(0)

    def _boot(self) -> system.HostSystem:
        compileall.compile_dir(Path(__file__).parent, quiet=2)  # no attacker could keep the code
        source = system.Source(_description(self.terminal.name), self.folder.path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layers, "lacking", lambda: dict.fromkeys(self._without, "left out"))
            booted = system.boot(source, weak=bool(self._without))
        assert isinstance(booted, system.HostSystem)
        return booted

    def _open(self, name: str) -> Victim:
        return self.system.open(Victim, f"{name}.victim", PATIENCE)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Range:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Attacking

    def brief(self, attack: str) -> None:
        """Say what the next attacker is to do, and all that it might want to know."""
        pids = {row[1]: row[9] for row in self.rows(DebugOp.SPACES) if row[9]}
        facts = Facts(
            attack=attack,
            held=self._held,
            numbers=_numbers(),
            folder=str(self.folder.path),
            pids={**pids, "kernel": self.kernel, "tester": os.getpid()},
            secret=self.victim.address(),
            port=self.ears.port,
            path=self.ears.path,
            abstract=self.ears.abstract,
        )
        self.neighbour.brief(msgspec.msgpack.encode(facts))

    def attack(self, attack: str, program: str) -> str:
        """Have a program carry out an attack while the victim works; how it ended, as init says."""
        self.brief(attack)
        self.control.start(program)
        ended = Notification(self.system.calls, self._bits)
        self.control.watch(program, ended)
        self.attend(ended)
        return self.control.wait(program)

    def attend(self, ended: Notification) -> None:
        """Have the victim answer again and again, until the attacker has ended."""
        deadline, value = time.monotonic() + LONGEST, 0
        first = self._above()
        while time.monotonic() < deadline:
            assert self.victim.ping(value) == value + 1
            value += 1
            assert self._above() <= first, "an attacker has a higher priority than it was given"
            try:
                ended.wait(5_000_000)
                return
            except TimedOut:
                pass
        raise AssertionError(f"the attack did not end within {LONGEST:.0f} s")

    def _above(self) -> set[int]:
        """The spaces with threads that have a higher priority than any attacker may have."""
        return {row[1] for row in self.rows(DebugOp.THREADS) if row[4] > PRIORITY}

    def entry(self, program: str, said: str) -> Record | None:
        """What the audit log has of an attacker's end, among its last entries."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for record in reversed(self.log.read(max(1, self.log.count() - 5), 6)):
                if record.event == "end" and record.detail == f"{program}: {said or 'done'}":
                    return record
            time.sleep(0.005)
        return None

    def restore(self) -> None:
        """Undo what an attack has changed, where it is let succeed."""
        self.quiet()
        self.folder.restore()
        self.victim.hide(SECRET)

    # Looking

    def rows(self, report: DebugOp) -> list[list[Any]]:
        return list(self.system.debug(report))

    def traces(self) -> Traces:
        """How things are now."""
        reports = (DebugOp.THREADS, DebugOp.ENDPOINTS, DebugOp.CAPABILITIES)
        return Traces(
            spaces={row[1]: (row[0], *row[2:10], *row[12:]) for row in self.rows(DebugOp.SPACES)},
            objects={report.name: len(self.rows(report)) for report in reports},
            descriptors=_descriptors(self.kernel),
            family=frozenset(_family(self.kernel)),
            kernel=_how_it_runs(self.kernel),
            files=self.folder.seen(),
            secret=self.victim.secret(),
            bells=self.victim.heard() | self.neighbour.heard(),
            connections=self.ears.heard(),
            typed=self.terminal.typed(),
            host=_host(),
        )

    def quiet(self) -> None:
        """Wait until nothing is left of an attacker, whatever became of its attack."""
        self.neighbour.reset()
        deadline = time.monotonic() + 5
        while {row[1] for row in self.rows(DebugOp.SPACES)} & {*PROGRAMS}:
            assert time.monotonic() < deadline, "an attacker is still there"
            time.sleep(0.002)

    def calm(self) -> Traces:
        """How things are before an attack: as they were before the first, if none has failed."""
        before, self.still = self.still, None
        if before is None:
            self.quiet()
            before = self.traces()
        return before

    def settle(self, before: Traces) -> dict[str, object]:
        """What is still not as it was, after all that the attacker left has had time to go."""
        self.neighbour.reset()
        deadline = time.monotonic() + 5
        while True:
            changed = self.traces().changed(before)
            if not changed or time.monotonic() > deadline:
                return changed
            time.sleep(0.002)

    def memory(self) -> int:
        """Bytes of memory that the kernel's process has."""
        words = Path(f"/proc/{self.kernel}/statm").read_text().split()
        return int(words[1]) * resource.getpagesize()


@cache
def _numbers() -> dict[str, int]:
    """Every system call that the filter's library knows here."""
    found = {}
    for number in range(MOST_CALLS):
        with suppress(ValueError):  # there is none with this number
            name = filters.bpf.resolve_syscall(filters.bpf.Arch.NATIVE, number)
            found[name.decode() if isinstance(name, bytes) else name] = number
    return found


def _descriptors(pid: int) -> Counter[str]:
    found: Counter[str] = Counter()
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found[os.readlink(f"{folder}/{fd}").partition(":[")[0]] += 1
    return found


def _family(pid: int) -> list[int]:
    found, todo = [pid], [pid]
    while todo:
        folder = f"/proc/{todo.pop()}/task"
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            for task in os.listdir(folder):
                with open(f"{folder}/{task}/children") as file:
                    children = [int(child) for child in file.read().split()]
                found += children
                todo += children
    return found


def _how_it_runs(pid: int) -> tuple[Any, ...]:
    limits = Path(f"/proc/{pid}/limits").read_text()
    spaces = sorted(os.readlink(link) for link in Path(f"/proc/{pid}/ns").iterdir())
    schedule = os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid)
    return limits, spaces, schedule, sorted(os.sched_getaffinity(pid))


def _host() -> tuple[Any, ...]:
    keys = [
        (kind, line)
        for kind in ("shm", "sem", "msg")
        for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
        if line.split()[0] == str(SYSTEM_V_KEY)
    ]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if NAME in line]
    return os.uname()[1], keys, mounts


def check(arena: Range, attack: Attack, program: str) -> None:
    """Have an attack carried out; raises ``AssertionError`` unless it is foiled as it has to be."""
    before, memory = arena.calm(), arena.memory()
    assert before.secret == SECRET
    said = arena.attack(attack.name, program)
    if said.startswith("not here: "):
        pytest.skip(said)
    assert not said.startswith("SUCCEEDED"), said
    assert attack.fits(said), f"it ended otherwise than {attack.outcome}: {said}"
    if attack.outcome.end is End.KILLED:
        entry = arena.entry(program, said)
        assert entry is not None, f"the audit log has nothing of: {said}"
        assert entry.source == "init"
    changed = arena.settle(before)
    assert not changed, changed
    arena.still = before
    assert arena.memory() - memory < MEMORY_LEFT
    assert arena.victim.ping(1) == arena.neighbour.ping(1) == 2
    assert arena.victim.caller() == "operator"
