"""The system calls of the host that a sandboxed process may make, each with its reason.

Two filters come from one table.  The first is in place before the interpreter is executed and
allows what starting and importing need; the second, which the kernel sends along and the runtime
puts on top after importing, drops that again.  The kernel relies on the first alone.  What is in no
table fails with ``EPERM``, so that a library can do without; what no honest program here ever
tries holds the process until the kernel, which the host tells of it, has ended it: its supervisor
hears which system call it was.
"""

from __future__ import annotations

import ctypes.util
import errno
import importlib
import os
from typing import Any, Final

_LIBRARIES: Final = {"c": "libc.so.6", "seccomp": "libseccomp.so.2"}


def _import_bindings() -> Any:
    """Import pyseccomp without its search for two well-known libraries with ldconfig.

    The search would take longer than all else that the kernel does at start.
    """
    find = ctypes.util.find_library
    ctypes.util.find_library = lambda name: _LIBRARIES.get(name)
    try:
        return importlib.import_module("pyseccomp")
    finally:
        ctypes.util.find_library = find


bpf = _import_bindings()

ALWAYS: Final = (
    ("read readv pread64 preadv preadv2 lseek", "devices, and files while importing"),
    ("write writev pwrite64 pwritev pwritev2", "devices"),
    ("fsync fdatasync fallocate", "a disk's flush and discard"),
    ("recvfrom recvmsg sendto", "system calls of Cloister, over the two channels"),
    ("close fstat", "descriptors that the kernel handed over"),
    ("getsockname getsockopt", "the interpreter asks what kind of socket a channel is"),
    ("accept4", "connections to a listening socket that a driver was handed; none can be made"),
    ("poll ppoll epoll_create1 epoll_ctl epoll_wait epoll_pwait", "wait for several of those"),
    ("eventfd2", "wake another thread of the process"),
    ("brk munmap mremap madvise", "memory, bounded by RLIMIT_DATA and RLIMIT_AS"),
    ("futex get_robust_list set_robust_list rseq set_tid_address", "threads"),
    ("sched_yield sched_getaffinity membarrier", "threads"),
    ("nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time", "time"),
    ("rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall", "the C library"),
    ("getpid gettid getuid geteuid getgid getegid getrandom sysinfo uname", "harmless facts"),
    ("tgkill", "abort; the pid namespace holds only the process itself"),
    ("exit exit_group", "ending"),
)
IMPORTING: Final = (
    ("execve", "the interpreter itself; Landlock confines it to the installation"),
    ("arch_prctl prlimit64 getrlimit", "start of the C library; limits can only be lowered"),
    ("access faccessat faccessat2 stat lstat newfstatat statx", "look for modules"),
    ("readlink readlinkat getcwd getdents64 getppid dup", "look for modules"),
)
FORBIDDEN: Final = (
    ("ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp", "reach into other processes"),
    ("mount umount2 pivot_root chroot move_mount open_tree fsopen fsmount", "change the file tree"),
    ("unshare setns", "leave the namespaces, or hide descriptors from verification"),
    ("bpf perf_event_open userfaultfd", "reach into the host kernel"),
    ("io_uring_setup io_uring_enter io_uring_register", "make system calls past the filter"),
    ("keyctl add_key request_key", "keep data in the host kernel"),
    ("init_module finit_module delete_module kexec_load kexec_file_load reboot", "the host kernel"),
    ("swapon swapoff acct settimeofday clock_settime sethostname setdomainname", "the machine"),
    ("open_by_handle_at name_to_handle_at quotactl iopl ioperm", "go around file permissions"),
)
IOCTLS: Final = (
    (0x5401, 0xFFFFFFFF, "TCGETS: is it a terminal?"),
    (0x5402, 0xFFFFFFFE, "TCSETS, TCSETSW: raw mode of a console"),
    (0x5404, 0xFFFFFFFF, "TCSETSF: raw mode of a console"),
    (0x5413, 0xFFFFFFFF, "TIOCGWINSZ: size of a console"),
    (0x541B, 0xFFFFFFFF, "FIONREAD: bytes to read"),
    (0x5451, 0xFFFFFFFF, "FIOCLEX: close on exec, by the interpreter"),
    (0xAE00, 0x0000FF00, "KVM requests, of a device that the process was handed"),
)
FCNTLS: Final = (
    (0, "F_DUPFD: another number for a descriptor"),
    (1, "F_GETFD"),
    (2, "F_SETFD: close on exec"),
    (3, "F_GETFL"),
    (4, "F_SETFL: wait or not"),
    (1030, "F_DUPFD_CLOEXEC: another number for a descriptor"),
)
"""Not locks and leases: others would wait for them."""
_PR_SET_NAME, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 15, 22, 38
_PROT_WRITE, _PROT_EXEC, _MAP_SHARED, _MAP_ANONYMOUS = 2, 4, 1, 0x20
_THREAD_FLAGS: Final = 0x00010F00  # VM FS FILES SIGHAND THREAD: all, or it could hide something
_THREAD_EXTRAS: Final = 0x007C0000  # SYSVSEM SETTLS PARENT_SETTID CHILD_CLEARTID DETACHED
_CREATES: Final = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | 0o20000000  # the last: O_TMPFILE
_OPTIMIZE = 2  # libseccomp: find the call by a binary tree


def _bits_clear(argument: int, mask: int) -> Any:
    return bpf.Arg(argument, bpf.MASKED_EQ, mask, 0)


def filters() -> list[bytes]:
    """The BPF programs that ``BootConfig`` takes, by ``2 * executable + importing``."""
    return [_program(bool(number & 2), bool(number & 1)) for number in range(4)]


def forbidden() -> dict[int, str]:
    """What the filters hold a process for: the number of each call, and its name and why."""
    names = ((name, why) for names, why in FORBIDDEN for name in names.split())
    found = {bpf.resolve_syscall(bpf.Arch.NATIVE, name): f"{name} ({why})" for name, why in names}
    return {number: text for number, text in found.items() if number >= 0}


def _program(executable: bool, importing: bool) -> bytes:
    """The BPF program: of the first filter if ``importing``, else of the second.

    ``executable`` processes may make memory of their own executable.
    """
    rules = bpf.SyscallFilter(bpf.ERRNO(errno.EPERM))
    rules.set_attr(bpf.Attr.CTL_OPTIMIZE, _OPTIMIZE)
    rules.set_attr(bpf.Attr.ACT_BADARCH, bpf.KILL_PROCESS)
    for table, action in (
        (ALWAYS, bpf.ALLOW),
        (IMPORTING if importing else (), bpf.ALLOW),
        (FORBIDDEN, bpf.NOTIFY if importing else bpf.ALLOW),  # the first filter has its say
    ):
        for names, _ in table:
            for name in names.split():
                _rule(rules, action, name)
    _rule(rules, bpf.ERRNO(errno.ENOSYS), "clone3")  # its flags are in memory; clone comes next
    others = 0xFFFFFFFF & ~_THREAD_EXTRAS
    _rule(rules, bpf.ALLOW, "clone", bpf.Arg(0, bpf.MASKED_EQ, others, _THREAD_FLAGS))
    for request, mask, _ in IOCTLS:
        _rule(rules, bpf.ALLOW, "ioctl", bpf.Arg(1, bpf.MASKED_EQ, mask, request))
    for command, _ in FCNTLS:
        _rule(rules, bpf.ALLOW, "fcntl", bpf.Arg(1, bpf.EQ, command))
    if importing:
        _rule(rules, bpf.ALLOW, "openat", _bits_clear(2, _CREATES))
        _rule(rules, bpf.ALLOW, "open", _bits_clear(1, _CREATES))
        for option in (_PR_SET_NAME, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS):
            _rule(rules, bpf.ALLOW, "prctl", bpf.Arg(0, bpf.EQ, option))
    # Shared anonymous memory would escape RLIMIT_DATA.  Libraries are mapped executable; memory
    # that is writable too, or becomes executable later, is for just-in-time compilers.
    protections: list[tuple[Any, ...]] = [()] if executable else [(_bits_clear(2, _PROT_EXEC),)]
    if importing and not executable:
        protections.append((_bits_clear(2, _PROT_WRITE),))
    for private in (_MAP_SHARED, _MAP_ANONYMOUS):
        for protection in protections:
            _rule(rules, bpf.ALLOW, "mmap", _bits_clear(3, private), *protection)
    _rule(rules, bpf.ALLOW, "mprotect", *(() if executable else (_bits_clear(2, _PROT_EXEC),)))
    with os.fdopen(os.memfd_create("filter"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _rule(rules: Any, action: int, name: str, *conditions: Any) -> None:
    """Add a rule unless this architecture, or an old libseccomp, has no such call."""
    number = bpf.resolve_syscall(bpf.Arch.NATIVE, name)
    if number >= 0:
        rules.add_rule_exactly(action, number, *conditions)
