"""What the host machine needs of Linux and the standard library does not offer.

This file alone knows system-call numbers, structures and constants.  Every function raises
``OSError`` where the kernel refuses.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import time
from typing import Any

_CLONE, _SECCOMP = {"x86_64": (56, 317), "aarch64": (220, 277)}.get(os.uname().machine, (-1, -1))
# Newer calls have one number on every architecture.
_CLOSE_RANGE, _PIDFD_GETFD, _LANDLOCK_RESTRICT = 436, 438, 446

_CLONE_PIDFD, _SIGCHLD = 0x00001000, 17
_MS_REC_PRIVATE = 0x4000 | 0x40000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SECCOMP_SET_FILTER, _SECCOMP_NEW_LISTENER = 1, 1 << 3
_SECCOMP_NOTIFICATION = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(function: Any, *arguments: Any) -> int:
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
    return call(libc.syscall, _CLONE, flags, 0, ctypes.byref(pidfd), 0, 0), pidfd.value


def make_mounts_private() -> None:
    """Let no mount of others show up in this mount namespace, nor the reverse."""
    call(libc.mount, b"none", b"/", None, _MS_REC_PRIVATE, None)


def close_from(first: int) -> None:
    """Close all descriptors from ``first`` on."""
    call(libc.syscall, _CLOSE_RANGE, first, 0xFFFFFFFF, 0)


def die_with_parent(signal: int) -> None:
    """Get ``signal`` when the parent ends."""
    call(libc.prctl, _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_no_new_privileges() -> None:
    """No program that is executed from here on can gain privileges."""
    call(libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def install_filter(program: bytes) -> int:
    """Have every further system call judged by a BPF program.

    Returns a descriptor from which ``forbidden_call`` reads; it is closed on execution.
    """
    code = ctypes.create_string_buffer(program)
    fprog = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    return call(libc.syscall, _SECCOMP, _SECCOMP_SET_FILTER, _SECCOMP_NEW_LISTENER, fprog)


def descriptor_of(pidfd: int, fd: int) -> int:
    """A new descriptor of what another process has open as ``fd``."""
    return call(libc.syscall, _PIDFD_GETFD, pidfd, fd, 0)


def forbidden_call(listener: int) -> int:
    """The number of the forbidden system call that a filtered process is held in."""
    request = bytearray(80)
    fcntl.ioctl(listener, _SECCOMP_NOTIFICATION, request)
    return struct.unpack_from("QIIi", request)[3]  # type: ignore[no-any-return]


def close(*descriptors: int) -> None:
    for fd in descriptors:
        os.close(fd)


def timer() -> int:
    """A descriptor that can be waited for until a point of ``CLOCK_MONOTONIC``."""
    return call(libc.timerfd_create, time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)


def set_timer(fd: int, when: int) -> None:
    """Let it be ready at ``when``, in ns, once; until then it is not."""
    call(libc.timerfd_settime, fd, 1, struct.pack("4l", 0, 0, *divmod(when, 10**9)), None)


def landlock_restrict(ruleset: int) -> None:
    """Confine this process, which has no new privileges, to the ruleset for ever."""
    call(libc.syscall, _LANDLOCK_RESTRICT, ruleset, 0)
