"""The sandbox around every process, layer by layer.

All layers are in place before the interpreter is executed, so nothing rests on the good will of
what runs inside.  A child enters by one step after the other, each with a name; one that cannot
take a step does not run.  Whoever boots the machine may say which layers to go on without.
"""

from __future__ import annotations

import os
import resource
import select
import signal
from collections.abc import Callable
from functools import partial
from typing import Final

from kernel.abi import SpaceFlag
from kernel.machine.config import BootConfig
from kernel.machine.host import linux
from kernel.space import Space

FIRST: Final = 3
"""A process is born with the descriptors from here on: where its first thread's system calls go,
the notice channel, and where the answers come from."""
NOTICES: Final = FIRST + 1
INNER_ID: Final = 1000
"""User and group inside; not 0, so that executing the interpreter drops all capabilities."""
MAX_THREADS: Final = 64
PID_MAX: Final = 400
"""The most threads where the host counts them by pid namespace; it takes no less than 301."""
MAX_DESCRIPTORS: Final = 256
INTERPRETER_BYTES: Final = 96 << 20
"""Private memory of the interpreter and its modules, beside the space's quota."""
COMPILER_BYTES: Final = 2 << 30
"""Address space for the code buffer of a just-in-time compiler; Unicorn reserves 1 GiB."""
ADDRESS_BYTES: Final = 4 << 30
"""Address space beside data and frames: libraries, stacks, the C library's reservations."""

Step = tuple[str, Callable[[], object]]
"""One step into the sandbox: its name, and how to take it; raises ``OSError``."""


def executable(space: Space) -> bool:
    return bool(space.flags & SpaceFlag.EXECUTABLE)


class Sandbox:
    """The layers, prepared once, so that a child has only to step in."""

    def __init__(self, config: BootConfig, descriptors: list[int]) -> None:
        self.command, self.environment = [*config.command], config.environment
        self.flags = config.namespaces
        self._without, self._filters = config.without, config.filters
        self._ruleset = -1 if config.ruleset is None else descriptors[config.ruleset]
        self._memory = config.memory
        self._ids = (os.getuid(), os.getgid())
        self._parent = os.pidfd_open(os.getpid())
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._debug = "CLOISTER_DEBUG_STDERR" in os.environ
        self._listener = -1

    def birth(self, space: Space) -> tuple[bytes, int]:
        """What a process of this space is told beside its program: second filter and flags."""
        return self._filter(executable(space), False), int(space.flags)

    def _filter(self, executable: bool, importing: bool) -> bytes:
        return b"" if "seccomp" in self._without else self._filters[2 * executable + importing]

    def enter(self, executable: bool, quota: int, *descriptors: int) -> list[Step]:
        """The steps by which a child that was just cloned enters, in their order."""
        program = self._filter(executable, True)
        steps: tuple[Step, ...] = (
            ("session", os.setsid),
            ("end with the kernel", self._die_with_kernel),
            ("user namespace", partial(_map_ids, *self._ids)),
            ("thread limit", self._limit_threads),
            ("mount namespace", linux.make_mounts_private),
            ("descriptors", partial(self._arrange, descriptors)),
            ("limits", partial(self._limit, executable, quota)),
            ("no new privileges", linux.set_no_new_privileges),
            ("Landlock", partial(linux.landlock_restrict, self._ruleset)),
            ("other descriptors", partial(linux.close_from, FIRST + len(descriptors))),
            ("seccomp", partial(self._install, program)),
            ("introduction", self._introduce),
        )
        return [step for step in steps if step[0] not in self._without]

    def _install(self, program: bytes) -> None:
        self._listener = linux.install_filter(program)

    def _introduce(self) -> None:
        """Tell the kernel where it hears of forbidden calls, and wait until it says what to do."""
        os.write(NOTICES, self._listener.to_bytes(8, "little", signed=True))
        ready = select.poll()
        ready.register(NOTICES, select.POLLIN)
        ready.poll()

    def _die_with_kernel(self) -> None:
        linux.die_with_parent(signal.SIGKILL)
        if select.select([self._parent], [], [], 0)[0]:
            os._exit(1)  # it ended before the line above

    def _arrange(self, descriptors: tuple[int, ...]) -> None:
        """Put the channels where they belong; they come from higher ones, never each other's."""
        for target, source in enumerate(descriptors, start=FIRST):
            os.dup2(source, target)
        for target in range(2 if self._debug else 3):
            os.dup2(self._null, target)

    def _limit_threads(self) -> None:
        """The host does not apply ``RLIMIT_NPROC`` to its root; count by pid namespace instead.

        The number is of the whole host where the process is not the first of its own namespace.
        """
        if self._ids[0] == 0 and os.getpid() == 1:
            _write("/proc/sys/kernel/pid_max", str(PID_MAX))

    def _limit(self, executable: bool, quota: int) -> None:
        data = quota + INTERPRETER_BYTES + (COMPILER_BYTES if executable else 0)
        for kind, value in (
            (resource.RLIMIT_DATA, data),
            (resource.RLIMIT_AS, data + self._memory + ADDRESS_BYTES),
            (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS),
            (resource.RLIMIT_NPROC, MAX_THREADS),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
        ):
            most = resource.getrlimit(kind)[1] % (1 << 64)  # -1 is no limit
            resource.setrlimit(kind, (min(value, most),) * 2)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, text.encode())
    os.close(fd)


def _map_ids(user: int, group: int) -> None:
    """Be ``INNER_ID`` inside the new user namespace and nobody else."""
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{INNER_ID} {user} 1")
    _write("/proc/self/gid_map", f"{INNER_ID} {group} 1")
