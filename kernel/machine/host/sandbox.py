"""The sandbox around every process, layer by layer.

All layers are in place before the interpreter is executed, so nothing rests on the good will of
what runs inside.  A child enters by one step after the other, each with a name; a layer is a step
that this host may lack, which is found out by having a child try.  A machine refuses to start
without them unless it is told to go on with the rest.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import select
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from kernel.abi import SpaceFlag
from kernel.machine.host import linux
from kernel.space import Space

INNER_ID: Final = 1000
"""User and group inside; not 0, so that executing the interpreter drops all capabilities."""
MAX_THREADS: Final = 64
PID_MAX: Final = 400
"""The most threads where the host counts them by pid namespace; it takes no less than 301."""
MAX_DESCRIPTORS: Final = 64
INTERPRETER_BYTES: Final = 96 << 20
"""Private memory of the interpreter and its modules, beside the space's quota."""
COMPILER_BYTES: Final = 2 << 30
"""Address space for the code buffer of a just-in-time compiler; Unicorn reserves 1 GiB."""
ADDRESS_BYTES: Final = 4 << 30
"""Address space beside data and frames: libraries, stacks, the C library's reservations."""

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
LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
FILES: Final = ("/etc/ld.so.cache", "/dev/null", "/dev/urandom")

Step = tuple[str, Callable[[], object]]
"""One step into the sandbox: its name, and how to take it; raises ``OSError``."""


class Layer(NamedTuple):
    """One layer of isolation as found on this host."""

    name: str
    present: bool
    why: str  # it is missed, if it is


class Missing(Exception):
    """The host lacks a layer; the text says which and what to do."""


def layers() -> list[Layer]:
    """Every layer and whether this host has it; takes a few milliseconds."""
    lacking = Sandbox([], 0, weak=True).lacking
    return [Layer(name, name not in lacking, lacking.get(name, "")) for name in LAYERS]


def executable(space: Space) -> bool:
    return bool(space.flags & SpaceFlag.EXECUTABLE)


def interpreter() -> str:
    """The interpreter itself, not a virtual environment's link: it need not be found again."""
    return os.path.realpath(sys.executable)


class Sandbox:
    """The layers, prepared once, so that a child has only to step in."""

    def __init__(self, readable: list[str], memory: int, weak: bool) -> None:
        library = os.path.dirname(os.__file__)
        readable = [interpreter(), library, os.path.dirname(library), *LIBRARIES, *FILES, *readable]
        self.flags = sum(linux.NAMESPACES.values())
        self._memory = memory
        self._ids = (os.getuid(), os.getgid())
        self._parent = os.pidfd_open(os.getpid())
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._debug = "CLOISTER_DEBUG_STDERR" in os.environ
        try:
            self._ruleset = linux.landlock_ruleset(readable)
        except OSError:
            self._ruleset = -1  # nobody can step into this one, so it will be found missing
        self.lacking: dict[str, str] = {}
        self.lacking = self._find_lacking()
        if self.lacking and not weak:
            lacking = "; ".join(f"{name} ({why})" for name, why in self.lacking.items())
            raise Missing(
                f"This host lacks {lacking}: have it enabled, see `cloister doctor`, "
                "or pass --allow-weak-isolation."
            )

    def _find_lacking(self) -> dict[str, str]:
        """Have a child try all layers; each that this host lacks, and why it is missed."""
        steps = [step for step in self.enter(False, 0, -1, -1) if step[0] in LAYERS]
        try:
            return _try(self.flags, steps)
        except OSError:
            lacking = {}  # namespaces, to begin with
        for name, flag in linux.NAMESPACES.items():
            try:
                _try(flag | linux.NAMESPACES["user namespace"], [])
            except OSError as error:
                self.flags &= ~flag
                lacking[name] = f"{LAYERS[name]}: {error.strerror}"
        return _try(self.flags, [step for step in steps if step[0] not in lacking]) | lacking

    def filter(self, executable: bool, importing: bool) -> bytes:
        """A system-call filter, see ``seccomp.program``; empty if the host has none."""
        try:
            from kernel.machine.host import seccomp  # loads libseccomp

            return b"" if "seccomp" in self.lacking else seccomp.program(executable, importing)
        except (ImportError, OSError, RuntimeError):
            return b""

    def birth(self, space: Space) -> tuple[bytes, int]:
        """What a process of this space is told beside its program: second filter and flags."""
        return self.filter(executable(space), importing=False), int(space.flags)

    def enter(self, executable: bool, quota: int, channel: int, notices: int) -> list[Step]:
        """The steps by which a child that was just cloned enters, in their order."""
        program = self.filter(executable, importing=True)
        steps: tuple[Step, ...] = (
            ("session", os.setsid),
            ("end with the kernel", self._die_with_kernel),
            ("user namespace", partial(_map_ids, *self._ids)),
            ("thread limit", self._limit_threads),
            ("mount namespace", linux.make_mounts_private),
            ("descriptors", partial(self._arrange, channel, notices)),
            ("limits", partial(self._limit, executable, quota)),
            ("no new privileges", linux.set_no_new_privileges),
            ("Landlock", partial(linux.landlock_restrict, self._ruleset)),
            ("other descriptors", partial(linux.close_from, 5)),
            ("seccomp", partial(linux.install_filter, program)),
        )
        return [step for step in steps if step[0] not in self.lacking]

    def _die_with_kernel(self) -> None:
        linux.die_with_parent(signal.SIGKILL)
        if select.select([self._parent], [], [], 0)[0]:
            os._exit(1)  # it ended before the line above

    def _arrange(self, channel: int, notices: int) -> None:
        """Descriptors 3 and 4 are the channels; these come from higher ones, never each other's."""
        for source, target in ((channel, 3), (notices, 4), (self._null, 0), (self._null, 1)):
            os.dup2(source, target)
        if not self._debug:
            os.dup2(self._null, 2)

    def _limit_threads(self) -> None:
        """The host does not apply ``RLIMIT_NPROC`` to its root; count by pid namespace instead.

        Before Linux 6.14, ``pid_max`` is not the namespace's but the whole host's.
        """
        if self._ids[0] == 0:
            version = [int(number) for number in re.findall(r"\d+", os.uname().release)[:2]]
            if version < [6, 14] or os.getpid() != 1:
                raise OSError(errno.ENOSYS, "root's threads are counted from Linux 6.14 on")
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
            most = resource.getrlimit(kind)[1]
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(kind, (value, value))


def _try(flags: int, steps: list[Step]) -> dict[str, str]:
    """Which layers a child with these namespaces cannot enter; raises ``OSError`` if it is none."""
    with open(os.memfd_create("lacking"), "r+") as lacking:
        pid, pidfd = linux.clone(flags)
        if not pid:
            try:
                linux.set_no_new_privileges()
                for name, take in steps:
                    try:
                        take()
                    except OSError as error:
                        line = f"{name}={LAYERS[name]}: {error.strerror}\n"
                        os.write(lacking.fileno(), line.encode())
                os._exit(0)
            finally:
                os._exit(1)
        os.close(pidfd)
        if os.waitpid(pid, 0)[1]:
            raise ChildProcessError(None, "the sandbox could not be tried")
        lacking.seek(0)
        return dict(line.rstrip().split("=", 1) for line in lacking)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, text.encode())
    os.close(fd)


def _map_ids(user: int, group: int) -> None:
    """Be ``INNER_ID`` inside the new user namespace and nobody else."""
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{INNER_ID} {user} 1")
    _write("/proc/self/gid_map", f"{INNER_ID} {group} 1")
