"""Other programs: new processes, and what they could be made to execute."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

from tests.hostile.attacker import Attacker
from tests.hostile.linux import AT_FDCWD
from tests.hostile.registry import BORN, TURNED, attack, killed, refused

BOTH = (BORN, TURNED)
NO = refused("EPERM", "EACCES")
_VM, _FS, _FILES, _SIGHAND, _THREAD = 0x100, 0x200, 0x400, 0x800, 0x10000
_NEW_USER, _PARENT = 0x10000000, 0x8000
_EMPTY_PATH = 0x1000
CHILDREN = 50
"""How many children at most, where nobody prevents them."""
STILL_CONFINED = 77


def _child(pid: int) -> int:
    """In the child: end at once; in the parent: see to that."""
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def _argv(*words: bytes) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


@attack(NO, open_hand=True, programs=BOTH)
def fork(at: Attacker) -> object:
    """Make another process of its own."""
    return _child(at.host.fork())


@attack(NO)
def vfork(at: Attacker) -> object:
    """Make another process in its own memory."""
    return at.host.vfork()


@attack(NO, open_hand=True)
def clone_process(at: Attacker) -> object:
    """Make another process by the call that makes threads."""
    return _child(at.host.clone(signal.SIGCHLD, 0, 0, 0, 0))


@attack(NO)
def clone_sibling(at: Attacker) -> object:
    """Make another process whose parent is the kernel."""
    return at.host.clone(_PARENT | signal.SIGCHLD, 0, 0, 0, 0)


@attack(NO)
def clone_into_namespace(at: Attacker) -> object:
    """Make another process in a namespace in which it is the host's root."""
    return at.host.clone(_NEW_USER | signal.SIGCHLD, 0, 0, 0, 0)


@attack(NO, programs=BOTH)
def clone_with_own_descriptors(at: Attacker) -> object:
    """Make a thread whose descriptors the kernel does not see when it looks for a frame's."""
    return at.host.clone(_VM | _FS | _SIGHAND | _THREAD, 0, 0, 0, 0)


@attack(refused("ENOSYS"), open_hand=True, programs=BOTH)
def clone3_process(at: Attacker) -> object:
    """Make another process by the call whose flags no filter can see."""
    arguments = struct.pack("8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    return _child(at.host.clone3(arguments, len(arguments)))


@attack(NO, open_hand=True)
def fork_bomb(at: Attacker) -> object:
    """Fill the host with processes."""
    return [_child(at.host.fork()) for _ in range(CHILDREN)]


@attack(NO, programs=BOTH)
def execute_shell(at: Attacker) -> object:
    """Become the host's shell."""
    return at.host.execve(b"/bin/sh", _argv(b"sh", b"-c", b"exit 0"), _argv())


@attack(NO, programs=BOTH)
def execute_users_program(at: Attacker) -> object:
    """Become a program in a user's folder."""
    path = f"{at.facts.folder}/script".encode()
    return at.host.execve(path, _argv(b"script"), _argv())


@attack(NO)
def execute_by_descriptor(at: Attacker) -> object:
    """Become a program that is found otherwise than by its name."""
    return at.host.execveat(AT_FDCWD, b"/bin/sh", _argv(b"sh", b"-c", b"exit 0"), _argv(), 0)


@attack(NO, programs=BOTH)
def execute_frame(at: Attacker) -> object:
    """Become a program that it has written into a frame."""
    frame = at.system.frame_create(4096)
    _, _, fd = at.borrow(frame, 3)
    os.write(fd, b"#!/bin/sh\n")
    return at.host.execve(f"/proc/self/fd/{fd}".encode(), _argv(b"evil"), _argv())


@attack(NO)
def execute_frame_by_descriptor(at: Attacker) -> object:
    """Become a program in a frame, without any name."""
    frame = at.system.frame_create(4096)
    _, _, fd = at.borrow(frame, 3)
    os.write(fd, b"#!/bin/sh\n")
    return at.host.execveat(fd, b"", _argv(b"evil"), _argv(), _EMPTY_PATH)


@attack(NO, open_hand=True)
def make_program_in_memory(at: Attacker) -> object:
    """Make a file without a name, to be executed."""
    return at.host.memfd_create(b"evil", 0)


@attack(killed(f"crashed: exited with status {STILL_CONFINED}$"))
def execute_interpreter_again(at: Attacker) -> object:
    """Start over as a fresh interpreter, in the hope that the sandbox does not come along."""
    code = f"""
import os, socket
tries = (socket.socket, lambda: open('/etc/passwd'), os.fork, lambda: os.listdir('/'))
held = 0
for attempt in tries:
    try:
        attempt()
    except PermissionError:
        held += 1
os._exit({STILL_CONFINED} if held == len(tries) else 0)
"""
    interpreter = os.path.realpath(sys.executable or "/proc/self/exe").encode()
    words = _argv(interpreter, b"-I", b"-S", b"-c", code.encode())
    return at.host.execve(interpreter, words, _argv())
