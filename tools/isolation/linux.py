"""What is prepared for the sandbox with Linux's own interfaces: namespaces, and Landlock's rules.

Every function raises ``OSError`` where the host refuses.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import Final

from kernel.machine.host.linux import call, libc

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
_CREATE, _ADD = 444, 445  # Landlock's system calls, the same on every architecture
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_KNOWN: Final = (13, 14, 15, 15, 16)  # rights to files that each version of Landlock knows
_NET, _SCOPED = 0b11, 0b11  # bind and connect TCP; abstract sockets and signals


def ruleset(readable: Iterable[str], listed: Iterable[str] = ()) -> int:
    """A Landlock ruleset: to read and execute what is beneath ``readable``, to list the folders
    beneath ``listed``, and nothing else."""
    version = call(libc.syscall, _CREATE, None, 0, 1)
    files = (1 << _KNOWN[min(version, len(_KNOWN)) - 1]) - 1
    rules = struct.pack("3Q", files, _NET if version >= 4 else 0, _SCOPED if version >= 6 else 0)
    fd = call(libc.syscall, _CREATE, rules, len(rules), 0)
    rights = [(path, _EXECUTE | _READ_FILE | _READ_DIR) for path in readable]
    for path, access in [*rights, *((path, _READ_DIR) for path in listed)]:
        if not os.path.exists(path):
            continue
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        access &= ~0 if os.path.isdir(path) else ~_READ_DIR
        call(libc.syscall, _ADD, fd, 1, struct.pack("=Qi", access, parent), 0)
        os.close(parent)
    return fd
