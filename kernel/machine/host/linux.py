"""What the host machine needs of Linux and the standard library does not offer.

This file alone knows system-call numbers, structures and constants.  Every function raises
``OSError`` where the kernel refuses.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from typing import Any, Final

_CLONE: Final = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine, -1)
# Newer calls have one number on every architecture.
_CLOSE_RANGE, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 436, 444, 445, 446

NAMESPACES: Final = {
    "user namespace": 0x10000000,
    "pid namespace": 0x20000000,
    "mount namespace": 0x00020000,
    "network namespace": 0x40000000,
    "ipc namespace": 0x08000000,
    "uts namespace": 0x04000000,
    "cgroup namespace": 0x02000000,
}
"""The flag of ``clone`` for each."""
_CLONE_PIDFD, _SIGCHLD = 0x00001000, 17
_MS_REC_PRIVATE = 0x4000 | 0x40000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_FS_EXECUTE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FS_BITS: Final = (13, 14, 15, 15, 16)  # how many each version of Landlock knows
_NET, _SCOPED = 0b11, 0b11  # bind and connect TCP; abstract sockets and signals

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(function: Any, *arguments: Any) -> int:
    """Call the C library with words and pointers."""
    words = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    result: int = function(*words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def clone(flags: int) -> tuple[int, int]:
    """Fork into the namespaces that ``flags`` names; ``(pid, pidfd)``, or ``(0, -1)`` in the child.

    The C library is not told, so the child must ``exec`` or ``_exit`` soon, and the caller must
    have one thread.
    """
    pidfd = ctypes.c_int(-1)
    flags |= _CLONE_PIDFD | _SIGCHLD
    return _call(_libc.syscall, _CLONE, flags, 0, ctypes.byref(pidfd), 0, 0), pidfd.value


def make_mounts_private() -> None:
    """Let no mount of others show up in this mount namespace, nor the reverse."""
    _call(_libc.mount, b"none", b"/", None, _MS_REC_PRIVATE, None)


def close_from(first: int) -> None:
    """Close all descriptors from ``first`` on."""
    _call(_libc.syscall, _CLOSE_RANGE, first, 0xFFFFFFFF, 0)


def die_with_parent(signal: int) -> None:
    """Get ``signal`` when the parent ends."""
    _call(_libc.prctl, _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_no_new_privileges() -> None:
    """No program that is executed from here on can gain privileges."""
    _call(_libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def install_filter(program: bytes) -> None:
    """Have every further system call judged by a BPF program."""
    code = ctypes.create_string_buffer(program)
    fprog = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    _call(_libc.prctl, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, fprog, 0, 0)


def timer() -> int:
    """A descriptor that can be waited for until a point of ``CLOCK_MONOTONIC``."""
    return _call(_libc.timerfd_create, time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)


def set_timer(fd: int, when: int) -> None:
    """Let it be ready at ``when``, in ns, once; until then it is not."""
    _call(_libc.timerfd_settime, fd, 1, struct.pack("4l", 0, 0, *divmod(when, 10**9)), None)


def keep_heap() -> None:
    """Have the C library keep freed memory: a message's buffer comes and goes all the time."""
    _libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    _libc.mallopt(_M_TRIM_THRESHOLD, 16 << 20)


def landlock_ruleset(readable: list[str]) -> int:
    """A ruleset that allows to read and execute what is beneath ``readable``, and nothing else."""
    version = _call(_libc.syscall, _LANDLOCK_CREATE, None, 0, 1)
    files = (1 << _FS_BITS[min(version, len(_FS_BITS)) - 1]) - 1
    rules = struct.pack("3Q", files, _NET if version >= 4 else 0, _SCOPED if version >= 6 else 0)
    ruleset = _call(_libc.syscall, _LANDLOCK_CREATE, rules, len(rules), 0)
    for path in filter(os.path.exists, readable):
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        access = _FS_EXECUTE | _FS_READ_FILE | (_FS_READ_DIR if os.path.isdir(path) else 0)
        _call(_libc.syscall, _LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", access, parent), 0)
        os.close(parent)
    return ruleset


def landlock_restrict(ruleset: int) -> None:
    """Confine this process, which has no new privileges, to the ruleset for ever."""
    _call(_libc.syscall, _LANDLOCK_RESTRICT, ruleset, 0)
