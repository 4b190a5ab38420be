"""Frames: writing what was lent for reading, and keeping what was taken back.

The neighbour lends a frame and revokes it.  Whoever still holds the memory then has two seconds,
and dies; so nothing here ends well, and each shows one place where memory might be hidden.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import socket
import threading
import time

from kernel.abi import Right
from servers.runtime import Environment, Frame
from servers.runtime.host import NOTICE, REQUESTS
from tests.hostile.attacker import Attacker
from tests.hostile.attacks.network import _message_with_descriptor
from tests.hostile.registry import (
    BORN,
    TURNED,
    Foiled,
    attack,
    harmless,
    killed,
    killed_for,
    refused,
)
from tests.hostile.victim import PAGE

BOTH = (BORN, TURNED)
DISOBEYED = killed("disobeyed: kept a mapping that was revoked")
_SHARED, _PRIVATE = mmap.MAP_SHARED, mmap.MAP_PRIVATE
_READ, _WRITE = mmap.PROT_READ, mmap.PROT_WRITE
_MAY_MOVE = 1
_EXIT_THREAD = {"x86_64": 60, "aarch64": 93}


def _borrow(at: Attacker) -> tuple[int, int]:
    """A frame of the neighbour's to read: the mapping and the descriptor."""
    mapping, size, fd = at.borrow(at.neighbour.lend().slot)
    assert size == PAGE
    return mapping, fd


def _map(at: Attacker, fd: int, protection: int = _READ, flags: int = _SHARED) -> int:
    return at.host.mmap(0, PAGE, protection, flags, fd, 0)


def _spy(at: Attacker, address: int) -> object:
    """Have the frame taken back and look whether it can still be seen."""
    at.neighbour.take_back()
    at.neighbour.scribble(ord("s"))
    return ctypes.string_at(address, 4)


# Writing


@attack(refused("EACCES"), programs=BOTH)
def map_writable(at: Attacker) -> object:
    """Map a frame that it may read, to write."""
    return _map(at, _borrow(at)[1], _READ | _WRITE)


@attack(refused("EACCES"), programs=BOTH)
def make_writable(at: Attacker) -> object:
    """Make the mapping of a frame that it may read writable."""
    address = _map(at, _borrow(at)[1])
    return at.host.mprotect(address, PAGE, _READ | _WRITE) == 0


@attack(refused("EACCES"))
def grow_and_make_writable(at: Attacker) -> object:
    """Move the mapping of a frame, and make it writable then."""
    address = _map(at, _borrow(at)[1])
    address = at.host.mremap(address, PAGE, 2 * PAGE, _MAY_MOVE)
    return at.host.mprotect(address, PAGE, _READ | _WRITE) == 0


@attack(harmless("vvvv"))
def write_own_copy(at: Attacker) -> object:
    """Write to a private mapping, which must not be the frame."""
    address = _map(at, _borrow(at)[1], _READ | _WRITE, _PRIVATE)
    ctypes.memset(address, ord("e"), PAGE)
    raise Foiled(at.neighbour.contents()[:4].decode())


@attack(refused("EBADF"), programs=BOTH)
def write_through_descriptor(at: Attacker) -> object:
    """Write to the descriptor of a frame that it may read."""
    return os.pwrite(_borrow(at)[1], b"evil", 0)


@attack(refused("EBADF"))
def punch_hole(at: Attacker) -> object:
    """Free the memory of a frame that it may read."""
    return at.host.fallocate(_borrow(at)[1], 3, 0, PAGE) == 0


@attack(refused("EPERM", "EINVAL"))
def cut_frame(at: Attacker) -> object:
    """Cut a frame, so that the victim dies when it uses it."""
    return at.host.ftruncate(_borrow(at)[1], 0) == 0


@attack(refused("EPERM", "EACCES"), programs=BOTH)
def reopen_frame(at: Attacker) -> object:
    """Open a frame that it may read again, to write."""
    return at.host.open(f"/proc/self/fd/{_borrow(at)[1]}", os.O_RDWR)


@attack(refused("EPERM"))
def allow_itself_to_write(at: Attacker) -> object:
    """Change the mode of a frame's file, to open it again then."""
    return at.host.fchmod(_borrow(at)[1], 0o600) == 0


@attack(refused("EFAULT"))
def have_host_write(at: Attacker) -> object:
    """Have the host kernel write to memory that it may read, as the target of another read."""
    address = _map(at, _borrow(at)[1])
    own = at.system.frame_create(PAGE)
    _, _, fd = at.borrow(own, 3)
    return at.host.preadv2(fd, (ctypes.c_size_t * 2)(address, 16), 1, 0, 0, 0)


@attack(refused("NO_RIGHT", "BAD_ARGUMENT"))
def ask_for_writing(at: Attacker) -> object:
    """Ask the kernel for a frame that it may read, to write."""
    return at.neighbour.lend().map(writable=True)


@attack(refused("NO_RIGHT"))
def mint_for_writing(at: Attacker) -> object:
    """Derive a right to write from the right to read."""
    return at.neighbour.lend().mint(Right.READ | Right.WRITE)


# Keeping


@attack(DISOBEYED)
def keep_mapping(at: Attacker) -> object:
    """Be deaf to the kernel's notice, and keep the mapping."""
    return _spy(at, _map(at, _borrow(at)[1]))


@attack(DISOBEYED)
def keep_mapping_and_lie(at: Attacker) -> object:
    """Say that the mapping is gone, and keep it."""
    mapping, fd = _borrow(at)
    address = _map(at, fd)
    os.close(fd)
    _lie(at, mapping)
    return _spy(at, address)


@attack(DISOBEYED)
def keep_descriptor_and_lie(at: Attacker) -> object:
    """Let go of the memory, and keep the descriptor to map it again later."""
    mapping, fd = _borrow(at)
    _lie(at, mapping)
    return _spy(at, 0) and fd


@attack(DISOBEYED)
def keep_copy_of_descriptor(at: Attacker) -> object:
    """Close the descriptor, and keep a copy at the highest number there is."""
    mapping, fd = _borrow(at)
    at.host.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 255)
    os.close(fd)
    _lie(at, mapping)
    return _spy(at, 0)


@attack(DISOBEYED)
def keep_copy_of_mapping(at: Attacker) -> object:
    """Let go of the mapping, but not of the copy that a trick makes of it."""
    mapping, fd = _borrow(at)
    address = _map(at, fd)
    os.close(fd)
    copy = at.host.mremap(address, 0, PAGE, _MAY_MOVE)
    at.host.munmap(address, PAGE)
    _lie(at, mapping)
    return _spy(at, copy)


@attack(DISOBEYED)
def keep_private_mapping(at: Attacker) -> object:
    """Keep a private mapping, which shows what the victim writes."""
    mapping, fd = _borrow(at)
    address = _map(at, fd, _READ, _PRIVATE)
    os.close(fd)
    _lie(at, mapping)
    return _spy(at, address)


@attack(DISOBEYED)
def leave_descriptor_in_queue(at: Attacker) -> object:
    """Do not take the descriptor out of the notice channel before the frame is taken back."""
    at.send(at.request("map", at.neighbour.lend().slot, int(Right.READ)))
    mapping = at.receive()[1]
    at.confess(mapping)
    at.neighbour.take_back()
    return socket.recv_fds(at.notices, 64, 1)[1]


@attack(DISOBEYED)
def unmap_without_letting_go(at: Attacker) -> object:
    """Tell the kernel by a system call that the mapping is gone, and keep it."""
    mapping, fd = _borrow(at)
    address = _map(at, fd)
    at.system.unmap(mapping)
    return _spy(at, address)


@attack(DISOBEYED)
def hide_behind_dead_thread(at: Attacker) -> object:
    """End the first thread, behind whose back the host then hides the others' memory."""
    mapping, fd = _borrow(at)
    address = _map(at, fd)
    os.close(fd)
    first = _EXIT_THREAD[os.uname().machine]

    def spy() -> None:
        time.sleep(0.05)
        at.confess(mapping)
        _spy(at, address)

    threading.Thread(target=spy).start()
    return at.host.call(first, 0)


@attack(DISOBEYED)
def unmap_and_map_again(at: Attacker) -> object:
    """Have a thread map and unmap the memory all the time, to be looked at when it is not there."""
    mapping, fd = _borrow(at)
    stop = time.monotonic() + 4

    def flicker() -> None:
        while time.monotonic() < stop:
            at.host.munmap(_map(at, fd), PAGE)

    threading.Thread(target=flicker, daemon=True).start()
    _lie(at, mapping)
    return _spy(at, 0)


@attack(refused("EPERM"))
def hide_descriptor_in_channel(at: Attacker) -> object:
    """Send the descriptor away over the notice channel, to get it back later."""
    header, kept = _message_with_descriptor(_borrow(at)[1])
    return at.host.sendmsg(NOTICE, header, 0) and kept


@attack(refused("EPERM"))
def hide_descriptor_in_link(at: Attacker) -> object:
    """Send the descriptor into a link of which it has both ends."""
    _, fd = _borrow(at)
    link = at.system.link_create()
    ends = []
    for end in (Right.SEND, Right.RECEIVE):
        at.send(at.request("link_open", link, int(end)))
        assert at.receive()[0] == 0
        ends += socket.recv_fds(at.notices, 64, 1)[1]
    header, kept = _message_with_descriptor(fd)
    return at.host.sendmsg(ends[0], header, 0) and kept


@attack(refused("EPERM"))
def hide_pages_in_channel(at: Attacker) -> object:
    """Put the frame's pages themselves into a pipe."""
    address = _map(at, _borrow(at)[1])
    return at.host.vmsplice(REQUESTS, (ctypes.c_size_t * 2)(address, PAGE), 1, 0)


@attack(killed_for("unshare"), programs=BOTH)
def hide_descriptor_in_thread(at: Attacker) -> object:
    """Have a thread with a table of descriptors of its own."""
    _borrow(at)
    return at.host.unshare(0x400) == 0


@attack(harmless("took"))
def obey(at: Attacker) -> object:
    """Let go of everything as it is told, which is what the others do not do."""
    mapping = at.neighbour.lend().map(writable=False)
    assert bytes(mapping.view[:4]) == b"vvvv"
    took = at.neighbour.take_back()
    at.neighbour.scribble(ord("s"))
    assert bytes(mapping.view[:4]) == bytes(4)
    raise Foiled(f"took {took // 1000} us, and nothing can be seen any more")


@attack(harmless("gone"))
def hold_on_to_views(at: Attacker) -> object:
    """Keep a view of the memory and let a thread read it all the while."""
    frame: Frame = at.neighbour.lend()
    mapping = frame.map(writable=False)
    view, seen = mapping.view, set()
    done = at.env.event()

    def watch(_env: Environment) -> None:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            seen.add(view[0])
        done.set()

    at.env.thread(watch, "watch")
    time.sleep(0.05)
    at.neighbour.take_back()
    at.neighbour.scribble(ord("s"))
    done.wait(5 * 10**9)
    if ord("s") in seen:
        return "what the victim wrote afterwards"
    raise Foiled("it is gone, and there are zeros in its place")


def _lie(at: Attacker, mapping: int) -> None:
    """Answer the notice that is going to come, in a thread."""

    def answer() -> None:
        at.notices.recv(64)
        at.confess(mapping)

    threading.Thread(target=answer, daemon=True).start()
