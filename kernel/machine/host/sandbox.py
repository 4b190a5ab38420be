"""The sandbox around every process, layer by layer.

All layers are in place before the interpreter is executed, so nothing rests on the good will of
what runs inside.  ``layers`` tries each on this host; a machine refuses to start without them
unless it is told to go on with the rest.
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
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel.abi import SpaceFlag
from kernel.machine.host import linux

if TYPE_CHECKING:
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
    why: str  # which version of it, or what is wrong without it


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
        return [Layer(name, True, "") for name, _, _ in NAMESPACES]
    except OSError:
        for name, flag, why in NAMESPACES:
            try:
                _try(flag | linux.NEWUSER, body)
                found.append(Layer(name, True, ""))
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


def _probe_threads() -> str:
    if os.getuid() == 0:
        if not _threads_counted_by_namespace():
            raise OSError(0, "root's threads are counted from Linux 6.14 on, run as a user")
        _try(linux.NEWUSER | linux.NEWPID, _limit_threads)
    return ""


def _probe_seccomp() -> str:
    from kernel.machine.host import seccomp  # loads libseccomp

    return f"{len(seccomp.ALWAYS) + len(seccomp.IMPORTING)} groups of calls allowed"


PROBES: Final[tuple[tuple[str, str, Callable[[], str]], ...]] = (
    ("thread limit", "a process can use up the host's threads", _probe_threads),
    ("Landlock", "a process can read the user's files", lambda: f"version {linux.landlock_abi()}"),
    ("seccomp", "a process can use all of the host kernel", _probe_seccomp),
)


def layers() -> list[Layer]:
    """Every layer and whether this host has it; takes a few milliseconds."""
    found = _namespaces()
    for name, without, probe in PROBES:
        try:
            found.append(Layer(name, True, probe()))
        except (ImportError, OSError, RuntimeError) as error:
            found.append(Layer(name, False, f"{without}: {getattr(error, 'strerror', error)}"))
    return found


Step = tuple[str, Callable[[], object]]
"""One step into the sandbox: its name, and how to take it; raises ``OSError``."""


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
        self._is_root = os.getuid() == 0
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

    def birth(self, space: Space) -> tuple[bytes, int]:
        """What a process of this space is told beside its program: second filter and flags."""
        return self.filter(_executable(space), importing=False), int(space.flags)

    def enter(self, space: Space, channel: int, notices: int) -> list[Step]:
        """The steps by which a child that was just cloned enters, in their order."""
        program = self.filter(_executable(space), importing=True)
        data = space.account.limit + INTERPRETER_BYTES
        data += COMPILER_BYTES if _executable(space) else 0
        limits = (
            (RLIMIT_DATA, data),
            (RLIMIT_AS, data + self._memory + ADDRESS_BYTES),
            (RLIMIT_NOFILE, MAX_DESCRIPTORS),
            (RLIMIT_NPROC, MAX_THREADS),
            (RLIMIT_CORE, 0),
            (RLIMIT_MEMLOCK, 0),
        )
        steps = (
            ("", "session", os.setsid),
            ("", "end with the kernel", self._die_with_kernel),
            ("user namespace", "user and group", partial(_map_ids, *self._ids)),
            ("thread limit", "thread limit", _limit_threads if self._is_root else _nothing),
            ("mount namespace", "mounts", linux.make_mounts_private),
            ("", "descriptors", partial(self._arrange, channel, notices)),
            ("", "limits", partial(_limit, limits)),
            ("", "no new privileges", linux.set_no_new_privileges),
            ("Landlock", "Landlock", partial(linux.landlock_restrict, self._ruleset)),
            ("", "descriptors", partial(linux.close_from, 5)),
            ("seccomp", "seccomp", partial(linux.install_filter, program)),
        )
        return [(name, take) for layer, name, take in steps if not layer or layer in self._has]

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


def _executable(space: Space) -> bool:
    return bool(space.flags & SpaceFlag.EXECUTABLE)


def _nothing() -> None:
    """``RLIMIT_NPROC`` does it."""


def _limit(limits: tuple[tuple[int, int], ...]) -> None:
    for kind, value in limits:
        most = getrlimit(kind)[1]
        value = value if most == RLIM_INFINITY else min(value, most)
        setrlimit(kind, (value, value))
