"""System calls of the host, raw: past the C library and past Python."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, Final

from tests.hostile.registry import NotHere

CALLS: Final = tuple(
    """
    accept4 acct add_key adjtimex bind bpf capset chdir chroot clock_settime clone clone3 close_range
    connect copy_file_range delete_module dup dup2 execve execveat fallocate fanotify_init fchdir
    fchmod fchmodat fchownat fcntl finit_module flock fork fsopen ftruncate getcwd getdents64 getpid
    getpgid getpriority getrlimit init_module inotify_init1 io_setup io_uring_setup ioctl ioperm iopl
    ioprio_set kcmp kexec_load keyctl kill landlock_create_ruleset linkat listen listxattr lookup_dcookie
    madvise mbind memfd_create memfd_secret migrate_pages mkdirat mknodat mlock mmap modify_ldt mount
    mount_setattr move_mount move_pages mprotect mq_open mremap msgget munmap name_to_handle_at open_by_handle_at
    open_tree openat openat2 perf_event_open personality pidfd_getfd pidfd_open pidfd_send_signal pipe2
    pivot_root pkey_alloc prctl preadv2 prlimit64 process_madvise process_mrelease process_vm_readv
    process_vm_writev ptrace quotactl readlinkat reboot remap_file_pages renameat2 request_key
    rt_sigqueueinfo rt_tgsigqueueinfo sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler seccomp semget sendfile sendmmsg sendmsg setdomainname setfsuid setgid setgroups
    sethostname setitimer setns setpgid setpriority setresuid setsid setsockopt settimeofday setuid
    setxattr shmat shmget shutdown signalfd4 socket socketpair splice statx swapon symlinkat sync syslog
    tee tgkill timer_create timerfd_create tkill truncate umount2 unlinkat unshare uselib userfaultfd
    ustat utimensat vfork vhangup vmsplice
    """.split()
)
"""Those that are tried."""

AT_FDCWD: Final = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Host:
    """The host's system calls by name: ``host.socket(2, 1, 0)``; errors raise ``OSError``.

    Arguments are numbers, bytes, arrays of ``ctypes`` and None.
    """

    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name not in CALLS:
            raise AttributeError(f"linux.CALLS lacks {name}")
        number = self._numbers.get(name, -1)
        if number < 0:
            raise NotHere(f"the system call {name}")
        return lambda *arguments: self.call(number, *arguments)

    @staticmethod
    def call(number: int, *arguments: Any) -> int:
        """A system call by its number."""
        words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
        result: int = _libc.syscall(ctypes.c_long(number), *words)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """A descriptor of a file."""
        return self.openat(AT_FDCWD, path.encode(), flags, mode)


def socket_address(path: str) -> bytes:
    """A ``sockaddr_un``; a path that begins with ``@`` is an abstract one."""
    name = path.encode()
    return b"\1\0" + (b"\0" + name[1:] if name[:1] == b"@" else name + b"\0")


def internet_address(port: int) -> bytes:
    """A ``sockaddr_in`` of the loopback device."""
    return b"\2\0" + port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)


class Vector(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))
