"""The sandbox around every process, layer by layer.

All layers are in place before the interpreter is executed, so nothing rests on the good will of what
runs inside.  ``layers`` tries each on this host; a machine refuses to start without them unless it
is told to go on with the rest.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from functools import partial
from resource import (
    RLIM_INFINITY,
    RLIMIT_AS,
    RLIMIT_CORE,
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    RLIMIT_NOFILE,
    RLIMIT_NPROC,
    getrlimit,
    setrlimit,
)
from typing import Final, NamedTuple

from kernel.machine.host import linux

INNER_ID: Final = 1000
"""User and group inside; not 0, so that executing the interpreter drops all capabilities."""
MAX_THREADS: Final = 64
PID_MAX: Final = 400
"""Threads where the host counts them by pid namespace: the least it takes, with room for its own."""
MAX_DESCRIPTORS: Final = 64
INTERPRETER_BYTES: Final = 96 << 20
"""Private memory of the interpreter and its modules, beside the space's quota."""
COMPILER_BYTES: Final = 2 << 30
"""Address space for the code buffer of a just-in-time compiler; Unicorn reserves 1 GiB."""
ADDRESS_BYTES: Final = 4 << 30
"""Address space beside data and frames: libraries, stacks, the C library's reservations."""

NAMESPACES: Final = (
    ("user namespace", linux.NEWUSER, "a process keeps the user's rights"),
    ("pid namespace", linux.NEWPID, "processes see and signal each other"),
    ("mount namespace", linux.NEWNS, "processes share the host's mounts"),
    ("network namespace", linux.NEWNET, "processes reach the host's network"),
    ("ipc namespace", linux.NEWIPC, "processes share System V memory"),
    ("uts namespace", linux.NEWUTS, "processes share the host's name"),
    ("cgroup namespace", linux.NEWCGROUP, "processes see the host's control groups"),
)
LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
FILES: Final = ("/etc/ld.so.cache", "/dev/null", "/dev/urandom")


class Layer(NamedTuple):
    """One layer of isolation as found on this host."""

    name: str
    present: bool
    why: str  # what it is worth, or what is wrong without it


def interpreter() -> str:
    """The interpreter itself, not a virtual environment's link: it need not be found again."""
    return os.path.realpath(sys.executable)


def _installation() -> list[str]:
    library = os.path.dirname(os.__file__)
    return [interpreter(), library, os.path.dirname(library), *LIBRARIES, *FILES]


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, text.encode())
    os.close(fd)


def _map_ids(user: int, group: int) -> None:
    """Be ``INNER_ID`` inside the new user namespace and nobody else."""
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{INNER_ID} {user} 1")
    _write("/proc/self/gid_map", f"{INNER_ID} {group} 1")


def _try(flags: int, body: Callable[[], None]) -> None:
    """Run ``body`` in a child with these namespaces; raise ``OSError`` if anything fails."""
    pid, pidfd = linux.clone(flags)
    if not pid:
        try:
            body()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
        finally:
            os._exit(1)
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise OSError(code, os.strerror(code))


def _namespaces() -> list[Layer]:
    flags = sum(flag for _, flag, _ in NAMESPACES)
    body = partial(_map_ids, os.getuid(), os.getgid())
    found = []
    try:
        _try(flags, body)
        return [Layer(name, True, f"without it {why}") for name, _, why in NAMESPACES]
    except OSError:
        for name, flag, why in NAMESPACES:
            try:
                _try(flag | linux.NEWUSER, body)
                found.append(Layer(name, True, f"without it {why}"))
            except OSError as error:
                found.append(Layer(name, False, f"{why}: {error.strerror}"))
    return found


def _threads_counted_by_namespace() -> bool:
    """Whether ``pid_max`` belongs to a pid namespace; before Linux 6.14 it is the whole host's."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(c for c in minor if c.isdigit()) or 0)) >= (6, 14)


def _limit_threads() -> None:
    """The host does not apply ``RLIMIT_NPROC`` to its root; count by pid namespace instead."""
    assert _threads_counted_by_namespace()
    _write("/proc/sys/kernel/pid_max", str(PID_MAX))


def layers() -> list[Layer]:
    """Every layer and whether this host has it; takes a few milliseconds."""
    found = _namespaces()
    have = {layer.name for layer in found if layer.present}
    try:
        if os.getuid() == 0:
            if not _threads_counted_by_namespace():
                raise OSError(0, "root's threads are counted from Linux 6.14 on, run as a user")
            if not {"user namespace", "pid namespace"} <= have:
                raise OSError(0, "needs a pid namespace")
            _try(linux.NEWUSER | linux.NEWPID, _limit_threads)
        found.append(Layer("thread limit", True, "without it a process can use up the host's"))
    except OSError as error:
        found.append(
            Layer("thread limit", False, f"a process can use up the host's: {error.strerror}")
        )
    try:
        abi = linux.landlock_abi()
        found.append(Layer("Landlock", True, f"version {abi}; without it files can be read"))
    except OSError as error:
        found.append(
            Layer("Landlock", False, f"a process reads the user's files: {error.strerror}")
        )
    try:
        from kernel.machine.host import seccomp  # noqa: F401  (loads libseccomp)

        with open("/proc/self/status") as status:
            present = "\nSeccomp:" in status.read()
        found.append(
            Layer("seccomp", present, "without it a process can use all of the host kernel")
        )
    except (ImportError, OSError, RuntimeError) as error:
        found.append(Layer("seccomp", False, f"a process can use all of the host kernel: {error}"))
    return found


class Missing(Exception):
    """The host lacks a layer; the text says which and what to do."""


class Sandbox:
    """The layers, prepared once, so that a child has only to step in."""

    def __init__(self, readable: list[str], memory: int, weak: bool) -> None:
        found = layers()
        lacking = [f"{layer.name} ({layer.why})" for layer in found if not layer.present]
        if lacking and not weak:
            raise Missing(
                f"This host lacks {'; '.join(lacking)}: have it enabled, see `cloister doctor`, "
                "or pass --allow-weak-isolation."
            )
        have = {layer.name for layer in found if layer.present}
        self.flags = sum(flag for name, flag, _ in NAMESPACES if name in have)
        self._has = have
        self._counts_threads = os.getuid() == 0 and "thread limit" in have
        self._memory = memory
        self._ids = (os.getuid(), os.getgid())
        self._ruleset = (
            linux.landlock_ruleset([*_installation(), *readable]) if "Landlock" in have else -1
        )
        self._parent = os.pidfd_open(os.getpid())
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._filters: dict[tuple[bool, bool], bytes] = {}
        self._debug = "CLOISTER_DEBUG_STDERR" in os.environ

    def filter(self, executable: bool, importing: bool) -> bytes:
        """A seccomp filter, see ``seccomp.program``; empty if the host has none."""
        if "seccomp" not in self._has:
            return b""
        key = (executable, importing)
        if key not in self._filters:
            from kernel.machine.host import seccomp

            self._filters[key] = seccomp.program(executable, importing)
        return self._filters[key]

    def enter(self, channel: int, notices: int, quota: int, executable: bool) -> list[Step]:
        """The steps by which a child that was just cloned enters, in their order."""
        program = self.filter(executable, importing=True)
        data = quota + INTERPRETER_BYTES + (COMPILER_BYTES if executable else 0)
        limits = (
            (RLIMIT_DATA, data),
            (RLIMIT_AS, data + self._memory + ADDRESS_BYTES),
            (RLIMIT_NOFILE, MAX_DESCRIPTORS),
            (RLIMIT_NPROC, MAX_THREADS),
            (RLIMIT_CORE, 0),
            (RLIMIT_MEMLOCK, 0),
        )
        has = self._has
        return [
            Step("session", os.setsid),
            Step("end with the kernel", self._die_with_kernel),
            *([Step("ids", partial(_map_ids, *self._ids))] if "user namespace" in has else []),
            *([Step("thread limit", _limit_threads)] if self._counts_threads else []),
            *([Step("mounts", linux.make_mounts_private)] if "mount namespace" in has else []),
            Step("descriptors", partial(self._arrange, channel, notices)),
            Step("limits", partial(_limit, limits)),
            Step("no new privileges", linux.set_no_new_privileges),
            *([Step("Landlock", self._confine)] if "Landlock" in has else []),
            Step("descriptors", partial(linux.close_from, 5)),
            *([Step("seccomp", partial(linux.install_filter, program))] if program else []),
        ]

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

    def _confine(self) -> None:
        linux.landlock_restrict(self._ruleset)


class Step(NamedTuple):
    """One step into the sandbox."""

    name: str
    take: Callable[[], object]


def _limit(limits: tuple[tuple[int, int], ...]) -> None:
    for kind, value in limits:
        most = getrlimit(kind)[1]
        value = value if most == RLIM_INFINITY else min(value, most)
        setrlimit(kind, (value, value))
