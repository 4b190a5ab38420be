"""What the host machine needs of Linux and the standard library does not offer.

This file alone knows system-call numbers, structures and constants.  Every function raises
``OSError`` where the kernel refuses.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from typing import Any, Final

_NUMBERS: Final = {"x86_64": {"clone": 56}, "aarch64": {"clone": 220}}
# Newer calls have one number on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_CLOSE_RANGE = 436

NEWNS: Final = 0x00020000
NEWCGROUP: Final = 0x02000000
NEWUTS: Final = 0x04000000
NEWIPC: Final = 0x08000000
NEWUSER: Final = 0x10000000
NEWPID: Final = 0x20000000
NEWNET: Final = 0x40000000
_CLONE_PIDFD = 0x00001000
_SIGCHLD = 17

_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_FS_EXECUTE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FS_HANDLED: Final = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15, 4: 1 << 15}  # limit of the ABI's bits
_FS_HANDLED_LATEST: Final = 1 << 16
_NET_HANDLED, _SCOPED = 0b11, 0b11  # bind and connect TCP; abstract sockets and signals

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _call(number: int, *arguments: Any) -> int:
    words = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    return _check(_libc.syscall(ctypes.c_long(number), *words))


def clone(flags: int) -> tuple[int, int]:
    """Fork into the namespaces that ``flags`` names; ``(pid, pidfd)``, or ``(0, -1)`` in the child.

    The C library is not told, so the child must ``exec`` or ``_exit`` soon, and the caller must
    have one thread.
    """
    numbers = _NUMBERS.get(os.uname().machine)
    if numbers is None:
        raise OSError(errno.ENOSYS, f"{os.uname().machine} is not supported")
    pidfd = ctypes.c_int(-1)
    flags |= _CLONE_PIDFD | _SIGCHLD
    pid = _call(numbers["clone"], flags, 0, ctypes.byref(pidfd), 0, 0)
    return pid, pidfd.value


def close_from(first: int) -> None:
    """Close all descriptors from ``first`` on."""
    _call(_CLOSE_RANGE, first, 0xFFFFFFFF, 0)


def make_mounts_private() -> None:
    """Let no mount of others show up in this mount namespace, nor the reverse."""
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))


def _prctl(option: int, *arguments: Any) -> None:
    words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    words += [ctypes.c_ulong(0)] * (4 - len(words))
    _check(_libc.prctl(option, *words))


def die_with_parent(signal: int) -> None:
    """Get ``signal`` when the parent ends."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def set_no_new_privileges() -> None:
    """No program that is executed from here on can gain privileges."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def install_filter(program: bytes) -> None:
    """Have every further system call judged by a BPF program."""
    assert len(program) % 8 == 0
    _prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(program) // 8, program))
    )


def timer() -> int:
    """A descriptor that can be waited for until a point of ``CLOCK_MONOTONIC``."""
    return _check(_libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK))


def set_timer(fd: int, when: int) -> None:
    """Let it be ready at ``when``, in ns, once; until then it is not."""
    times = (ctypes.c_long * 4)(0, 0, when // 1_000_000_000, when % 1_000_000_000)
    _check(_libc.timerfd_settime(fd, 1, times, None))


def keep_heap() -> None:
    """Have the C library keep freed memory: a message's buffer comes and goes all the time."""
    _libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    _libc.mallopt(_M_TRIM_THRESHOLD, 16 << 20)


def landlock_abi() -> int:
    """The version of Landlock, at least 1."""
    return _call(_LANDLOCK_CREATE_RULESET, None, 0, 1)


def landlock_ruleset(readable: list[str]) -> int:
    """A ruleset that allows to read and execute what is beneath ``readable``, and nothing else."""
    abi = landlock_abi()
    handled = _FS_HANDLED.get(abi, _FS_HANDLED_LATEST) - 1
    attributes = _Ruleset(handled, _NET_HANDLED if abi >= 4 else 0, _SCOPED if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = _call(_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    for path in readable:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        access = _FS_EXECUTE | _FS_READ_FILE | (_FS_READ_DIR if os.path.isdir(path) else 0)
        _call(_LANDLOCK_ADD_RULE, ruleset, 1, ctypes.byref(_PathBeneath(access, parent)), 0)
        os.close(parent)
    return ruleset


def landlock_restrict(ruleset: int) -> None:
    """Confine this process, which has no new privileges, to the ruleset for ever."""
    _call(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
