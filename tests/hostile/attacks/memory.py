"""Memory of its own: making it executable, sharing it, and using what is not there."""

from __future__ import annotations

import ctypes
import mmap
import os

from tests.hostile.attacker import Attacker
from tests.hostile.registry import (
    BORN,
    COMPILER,
    TURNED,
    Foiled,
    NotHere,
    attack,
    harmless,
    killed,
    refused,
)

BOTH = (BORN, TURNED)
NO = refused("EPERM")
_READ, _WRITE, _EXECUTE = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC
_PRIVATE, _SHARED, _ANONYMOUS = mmap.MAP_PRIVATE, mmap.MAP_SHARED, mmap.MAP_ANONYMOUS
_RETURN_42 = {"x86_64": b"\xb8\x2a\0\0\0\xc3", "aarch64": b"\x40\x05\x80\x52\xc0\x03\x5f\xd6"}
_GETPID_BY_INTERRUPT = b"\xb8\x14\0\0\0\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
_X32 = 0x40000000


def _page(at: Attacker, protection: int, flags: int = _PRIVATE | _ANONYMOUS, fd: int = -1) -> int:
    return at.host.mmap(0, 4096, protection, flags, fd, 0)


def _run(address: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())


def _machine() -> str:
    return os.uname().machine


@attack(NO, open_hand=True, programs=BOTH)
def map_writable_code(at: Attacker) -> object:
    """Map memory that can be written and executed."""
    return _page(at, _READ | _WRITE | _EXECUTE)


@attack(NO, open_hand=True, programs=BOTH)
def execute_data(at: Attacker) -> object:
    """Write code as data, and make it executable then."""
    address = _page(at, _READ | _WRITE)
    ctypes.memmove(address, _RETURN_42[_machine()], len(_RETURN_42[_machine()]))
    at.host.mprotect(address, 4096, _READ | _EXECUTE)
    return _run(address)


@attack(NO, programs=BOTH)
def execute_library_again(at: Attacker) -> object:
    """Make the C library's code writable."""
    function = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value or 0
    page = function & ~4095
    return at.host.mprotect(page, 4096, _READ | _WRITE | _EXECUTE) == 0


@attack(
    NO,
    programs=BOTH,
    holes={BORN: "the first filter allows to map files for execution, and a frame is a file"},
)
def execute_frame_as_library(at: Attacker) -> object:
    """Write code into a frame, and map the frame as if it were a library."""
    frame = at.system.frame_create(4096)
    _, _, fd = at.borrow(frame, 3)
    os.write(fd, _RETURN_42[_machine()])
    return _run(_page(at, _READ | _EXECUTE, _PRIVATE, fd))


@attack(NO, open_hand=True, programs=BOTH)
def share_nameless_memory(at: Attacker) -> object:
    """Have shared memory, which the limit of its data would not count."""
    return _page(at, _READ | _WRITE, _SHARED | _ANONYMOUS)


@attack(NO, programs=BOTH)
def rearrange_pages(at: Attacker) -> object:
    """Rearrange the pages of a mapping, so that its map does not tell what is where."""
    return at.host.remap_file_pages(_page(at, _READ | _WRITE), 4096, 0, 0, 0) == 0


@attack(refused("EINVAL", "EPERM", "EFAULT"), programs=BOTH)
def give_kernels_addresses(at: Attacker) -> object:
    """Have the host write its answer to the host kernel's memory."""
    return at.host.fcntl(3, 1036, ctypes.c_void_p(0xFFFF800000000000))  # F_GET_FILE_RW_HINT


@attack(killed(r"crashed: killed by signal 11 \(SIGSEGV\)"), programs=BOTH)
def read_nothing(at: Attacker) -> object:
    """Use memory that is not there."""
    return ctypes.string_at(8, 8)


@attack(killed(r"crashed: killed by signal 31 \(SIGSYS\)"), programs=BOTH)
def call_by_other_numbers(at: Attacker) -> object:
    """Make a system call by the numbers of the x32 interface, which the filter does not list."""
    if _machine() != "x86_64":
        raise NotHere("the x32 interface")
    return at.host.call(_X32 | 39)


@attack(killed(r"crashed: killed by signal (31|11) \(SIG(SYS|SEGV)\)"), programs=(COMPILER,))
def call_by_interrupt(at: Attacker) -> object:
    """Make a system call by the numbers of 32-bit programs, with code of its own."""
    if _machine() != "x86_64":
        raise NotHere("the 32-bit interface")
    address = _page(at, _READ | _WRITE | _EXECUTE)
    ctypes.memmove(address, _GETPID_BY_INTERRUPT, len(_GETPID_BY_INTERRUPT))
    return _run(address)


@attack(harmless("42"), programs=(COMPILER,))
def execute_data_with_permission(at: Attacker) -> object:
    """Execute data as a just-in-time compiler does, which it may."""
    address = _page(at, _READ | _WRITE | _EXECUTE)
    ctypes.memmove(address, _RETURN_42[_machine()], len(_RETURN_42[_machine()]))
    raise Foiled(str(_run(address)))
