"""The host itself: its users, namespaces, modules, clocks, keys and every corner of its kernel.

Most of these are one system call, so they are a table.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable
from typing import Final

from tests.hostile.attacker import Attacker
from tests.hostile.linux import AT_FDCWD
from tests.hostile.registry import BORN, TURNED, Body, Outcome, attack, killed_for, refused

BOTH = (BORN, TURNED)
NO = refused("EPERM")
_Arguments = Callable[[Attacker], tuple[object, ...]]
_NONE = None
_MAGIC = 0xFEE1DEAD
_KEY = 0x436C6F69
_RING = -3  # KEY_SPEC_SESSION_KEYRING


def _now() -> bytes:
    return struct.pack("qq", int(time.time()), 0)


def _folder(at: Attacker) -> bytes:
    return at.facts.folder.encode()


_FORBIDDEN: Final[dict[str, tuple[str, str, _Arguments, bool]]] = {
    # what it is called: the system call, what it is for, arguments, whether anybody may try it
    "mount": (
        "mount",
        "Mount memory over a folder.",
        lambda at: (b"cloister-hostile", _folder(at), b"tmpfs", 0, _NONE),
        False,
    ),
    "umount": (
        "umount2",
        "Unmount the list of processes.",
        lambda at: (b"/proc", 2),
        False,
    ),
    "pivot-root": ("pivot_root", "Change the root.", lambda at: (_folder(at), _folder(at)), False),
    "chroot": ("chroot", "Change its own root.", lambda at: (_folder(at),), False),
    "open-tree": ("open_tree", "Copy a mount.", lambda at: (AT_FDCWD, b"/", 1), False),
    "move-mount": (
        "move_mount",
        "Put a mount elsewhere.",
        lambda at: (AT_FDCWD, b"/proc", AT_FDCWD, _folder(at), 0),
        False,
    ),
    "open-file-system": ("fsopen", "Begin a new mount.", lambda at: (b"tmpfs", 0), False),
    "unshare-user": (
        "unshare",
        "Become root of a new user namespace.",
        lambda at: (0x10000000,),
        False,
    ),
    "unshare-descriptors": (
        "unshare",
        "Get a table of descriptors of its own, which the kernel does not look into.",
        lambda at: (0x400,),
        True,
    ),
    "enter-namespace": ("setns", "Enter another namespace.", lambda at: (0, 0), False),
    "bpf": ("bpf", "Load a program into the host kernel.", lambda at: (0, bytes(64), 64), False),
    "performance-events": (
        "perf_event_open",
        "Watch the processor.",
        lambda at: (struct.pack("II", 1, 112) + bytes(104), 0, -1, -1, 0),
        False,
    ),
    "handle-page-faults": ("userfaultfd", "Handle page faults.", lambda at: (1,), False),
    "io-uring": ("io_uring_setup", "Submit calls unseen.", lambda at: (4, bytes(120)), False),
    "keyring": ("keyctl", "Look for keys.", lambda at: (0, _RING, 1), False),
    "add-key": (
        "add_key",
        "Keep data in the host kernel.",
        lambda at: (b"user", b"evil", b"1", 1, _RING),
        False,
    ),
    "request-key": (
        "request_key",
        "Have the host start a program that finds a key.",
        lambda at: (b"user", b"evil", b"1", _RING),
        False,
    ),
    "load-module": ("init_module", "Extend the host kernel.", lambda at: (b"", 0, b""), False),
    "load-module-file": (
        "finit_module",
        "Extend the host kernel from a file.",
        lambda at: (0, b"", 0),
        False,
    ),
    "remove-module": ("delete_module", "Cut the host kernel.", lambda at: (b"evil", 0), False),
    "replace-kernel": ("kexec_load", "Boot another kernel.", lambda at: (0, 0, _NONE, 0), False),
    "reboot": ("reboot", "Forbid to reboot.", lambda at: (_MAGIC, 672274793, 0, _NONE), False),
    "set-time": ("settimeofday", "Set the clock.", lambda at: (_now(), _NONE), False),
    "set-clock": ("clock_settime", "Set a clock.", lambda at: (0, _now()), False),
    "rename-host": ("sethostname", "Rename the host.", lambda at: (b"evil", 4), False),
    "rename-domain": ("setdomainname", "Rename the domain.", lambda at: (b"evil", 4), False),
    "swap": ("swapon", "Swap to a file.", lambda at: (_folder(at), 0), False),
    "accounting": ("acct", "Log every process.", lambda at: (_folder(at),), False),
    "disk-quotas": ("quotactl", "Set quotas of disks.", lambda at: (0, _NONE, 0, _NONE), False),
    "ports": ("ioperm", "Reach hardware.", lambda at: (0x80, 1, 1), False),
    "all-ports": ("iopl", "Reach all hardware.", lambda at: (3,), False),
}
"""What no honest program ever tries."""

_REFUSED: Final[dict[str, tuple[str, str, _Arguments, bool]]] = {
    "become-root": ("setuid", "Become root.", lambda at: (0,), False),
    "become-group": ("setgid", "Join root's group.", lambda at: (0,), False),
    "become-user": ("setresuid", "Become somebody else.", lambda at: (0, 0, 0), False),
    "file-user": ("setfsuid", "Use files as root.", lambda at: (0,), False),
    "join-groups": ("setgroups", "Join groups.", lambda at: (1, struct.pack("I", 0)), False),
    "get-capabilities": (
        "capset",
        "Get every capability of the host.",
        lambda at: (struct.pack("II", 0x20080522, 0), struct.pack("6I", *[0xFFFFFFFF] * 6)),
        False,
    ),
    "keep-capabilities": ("prctl", "Keep capabilities.", lambda at: (8, 1, 0, 0, 0), False),
    "ambient-capabilities": ("prctl", "Pass capabilities on.", lambda at: (47, 2, 21, 0, 0), False),
    "be-undumpable": (
        "prctl",
        "Hide its memory from the kernel.",
        lambda at: (4, 0, 0, 0, 0),
        True,
    ),
    "let-anybody-trace": (
        "prctl",
        "Let all trace it.",
        lambda at: (0x59616D61, -1, 0, 0, 0),
        False,
    ),
    "move-own-memory": ("prctl", "Forge its memory's map.", lambda at: (35, 6, 0, 0, 0), False),
    "outlive-kernel": ("prctl", "Outlive the kernel.", lambda at: (1, 0, 0, 0, 0), True),
    "adopt-orphans": ("prctl", "Become parent of orphans.", lambda at: (36, 1, 0, 0, 0), True),
    "second-filter-listener": (
        "seccomp",
        "Judge its own calls.",
        lambda at: (1, 8, bytes(16)),
        False,
    ),
    "change-personality": ("personality", "Turn protections off.", lambda at: (0x40000,), True),
    "own-landlock": (
        "landlock_create_ruleset",
        "Make rules for files.",
        lambda at: (_NONE, 0, 1),
        False,
    ),
    "own-segments": ("modify_ldt", "Make segments.", lambda at: (0, bytes(64), 64), False),
    "read-host-log": (
        "syslog",
        "Read what the host kernel says.",
        lambda at: (10, _NONE, 0),
        False,
    ),
    "adjust-clock": ("adjtimex", "Look at the clock's rate.", lambda at: (bytes(208),), True),
    "hang-up": ("vhangup", "Hang the terminal up.", lambda at: (), False),
    "load-library": ("uselib", "Load a library.", lambda at: (b"/lib/evil",), False),
    "disk-usage": ("ustat", "Look at a disk.", lambda at: (0, bytes(32)), False),
    "lock-memory": ("mlock", "Keep memory from being swapped.", lambda at: (0, 0), False),
    "memory-node": ("mbind", "Choose where memory is.", lambda at: (0, 0, 0, _NONE, 0, 0), False),
    "migrate-pages": ("migrate_pages", "Move memory.", lambda at: (0, 0, _NONE, _NONE), False),
    "protection-keys": ("pkey_alloc", "Get a protection key.", lambda at: (0, 0), False),
    "hidden-memory": ("memfd_secret", "Have memory nobody can see.", lambda at: (0,), False),
    "shared-memory": (
        "shmget",
        "Make System V shared memory.",
        lambda at: (_KEY, 4096, 0o1600),
        True,
    ),
    "attach-memory": ("shmat", "Attach shared memory.", lambda at: (0, _NONE, 0), False),
    "semaphores": ("semget", "Make System V semaphores.", lambda at: (_KEY, 1, 0o1600), True),
    "message-queue": ("msgget", "Make a System V message queue.", lambda at: (_KEY, 0o1600), True),
    "posix-queue": (
        "mq_open",
        "Make a message queue.",
        lambda at: (b"evil", 66, 384, _NONE),
        False,
    ),
    "asynchronous-files": (
        "io_setup",
        "Do input and output unseen.",
        lambda at: (1, bytes(8)),
        True,
    ),
    "timer-signals": ("timer_create", "Make a timer.", lambda at: (0, _NONE, bytes(8)), True),
    "interval-timer": ("setitimer", "Have signals sent.", lambda at: (0, bytes(32), _NONE), True),
    "signals-as-file": ("signalfd4", "Read signals.", lambda at: (-1, bytes(8), 8, 0), True),
    "timer-file": ("timerfd_create", "Make a timer file.", lambda at: (1, 0), True),
    "pipe": ("pipe2", "Make a pipe, to hide memory in.", lambda at: (bytes(8), 0), True),
}
"""What a library might try, and gets an error for.  System V objects have a key that ``rig`` knows,
and are destroyed by it."""


def _body(call: str, arguments: _Arguments) -> Body:
    return lambda at: f"{call} returned {getattr(at.host, call)(*arguments(at))}"


def _enter(
    table: dict[str, tuple[str, str, _Arguments, bool]], outcome: Callable[[str], Outcome]
) -> None:
    for name, (call, text, arguments, open_hand) in table.items():
        programs = BOTH if call == "prctl" else (BORN,)  # which the second filter forbids outright
        enter = attack(outcome(call), name=name, text=text, open_hand=open_hand, programs=programs)
        enter(_body(call, arguments))


_enter(_FORBIDDEN, killed_for)
_enter(_REFUSED, lambda _call: NO)


def _raise_limit(at: Attacker, kind: int) -> object:
    at.host.prlimit64(0, kind, struct.pack("QQ", 1 << 62, 1 << 62), None)
    return kind


for _limit, _kind in {"data": 2, "address-space": 9, "descriptors": 7, "threads": 6}.items():
    attack(
        NO,
        name=f"raise-limit-of-{_limit}",
        text=f"Raise the host's limit of its {_limit}.",
        programs=BOTH,
    )(lambda at, kind=_kind: _raise_limit(at, kind))  # type: ignore[misc]


@attack(refused("EINVAL", "EPERM"), programs=BOTH)
def turn_filter_off(at: Attacker) -> object:
    """Turn the filter of system calls off."""
    return at.host.prctl(22, 0, 0, 0, 0) == 0


@attack(refused("EPERM"), programs=BOTH)
def allow_itself_everything(at: Attacker) -> object:
    """Install a filter that allows all, and try what the first forbids."""
    allow = struct.pack("HBBI", 6, 0, 0, 0x7FFF0000)
    code = ctypes.create_string_buffer(allow)
    program = struct.pack("HP", 1, ctypes.addressof(code))
    at.host.prctl(22, 2, program, 0, 0)
    return at.host.socket(1, 1, 0)
