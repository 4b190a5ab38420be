"""Descriptors: guessing them, and misusing those that were handed over."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import termios
import time

from kernel.abi import Right
from servers.runtime.host import ANSWERS, NOTICE, REQUESTS
from tests.hostile.attacker import Attacker
from tests.hostile.registry import BORN, TURNED, attack, killed, refused

BOTH = (BORN, TURNED)
NO = refused("EPERM", "EACCES")
_OWN = (0, 1, 2, REQUESTS, NOTICE, ANSWERS)
_SET_LEASE, _SET_PIPE_SIZE, _SET_SIGNAL, _ADD_SEALS = 1024, 1031, 10, 1033
_TIOCSCTTY, _TIOCLINUX, _FIOASYNC, _TIOCSETD = 0x540E, 0x541C, 0x5452, 0x5423


def _guess(attempt: object) -> int:
    """Try every number; raises the last error if none but its own leads anywhere."""
    last = OSError(9, "")
    for fd in range(1024):
        if fd in _OWN:
            continue
        try:
            attempt(fd)  # type: ignore[operator]
            return fd
        except OSError as error:
            last = error
    raise last


@attack(refused("EBADF"), programs=BOTH)
def read_any_descriptor(at: Attacker) -> object:
    """Read from every number that might be a descriptor."""
    return _guess(lambda fd: os.read(fd, 1))


@attack(refused("EBADF"))
def write_any_descriptor(at: Attacker) -> object:
    """Write to every number that might be a descriptor."""
    return _guess(lambda fd: os.write(fd, b"evil"))


@attack(refused("EBADF", "EPERM"))
def look_at_any_descriptor(at: Attacker) -> object:
    """Look what is behind every number that might be a descriptor."""
    return _guess(os.fstat)


@attack(refused("EBADF", "EPERM"), programs=BOTH)
def copy_any_descriptor(at: Attacker) -> object:
    """Copy every number that might be a descriptor."""
    return _guess(lambda fd: at.host.fcntl(fd, fcntl.F_DUPFD, 0))


@attack(refused("EBADF", "EPERM"))
def control_any_descriptor(at: Attacker) -> object:
    """Control the device behind every number that might be a descriptor."""
    return _guess(lambda fd: at.host.ioctl(fd, termios.FIONREAD, bytes(4)))


@attack(refused("EPERM"), programs=BOTH)
def put_descriptor_in_place(at: Attacker) -> object:
    """Put a descriptor in another's place."""
    return at.host.dup2(0, NOTICE)


@attack(refused("EPERM"))
def move_data_unseen(at: Attacker) -> object:
    """Put pages of its memory into the channel to the kernel, and change them afterwards."""
    page = ctypes.create_string_buffer(4096)
    vector = struct.pack("QQ", ctypes.addressof(page), 4096)
    return at.host.vmsplice(REQUESTS, vector, 1, 0)


@attack(refused("EPERM"))
def splice_channels(at: Attacker) -> object:
    """Connect the kernel's answers to its requests."""
    return at.host.splice(ANSWERS, None, REQUESTS, None, 4096, 2)


@attack(refused("EPERM"))
def copy_channels(at: Attacker) -> object:
    """Copy what waits in one pipe into the other."""
    return at.host.tee(ANSWERS, REQUESTS, 4096, 2)


@attack(refused("EPERM"))
def send_file_to_kernel(at: Attacker) -> object:
    """Send a file over the channel to the kernel."""
    return at.host.sendfile(REQUESTS, 0, None, 16)


def _terminal(at: Attacker) -> int:
    _, resource = at.system.device_map(at.env.slot("tty"), Right.READ | Right.WRITE)
    return int(resource)


@attack(refused("EPERM"), leaves="typed", programs=BOTH)
def type_at_terminal(at: Attacker) -> object:
    """Put words into a person's terminal as if they had been typed."""
    fd = _terminal(at)
    for letter in b"rm -rf /\n":
        at.host.ioctl(fd, termios.TIOCSTI, bytes([letter]))
    return "typed"


@attack(refused("EPERM"), leaves="typed")
def type_by_a_wide_number(at: Attacker) -> object:
    """The same with a number of which the host kernel looks at one half, and a filter at both."""
    return at.host.ioctl(_terminal(at), termios.TIOCSTI | 1 << 32, b"x") == 0


@attack(refused("EPERM"))
def own_terminal(at: Attacker) -> object:
    """Become the process that a terminal's signals come from."""
    return at.host.ioctl(_terminal(at), _TIOCSCTTY, 1) == 0


@attack(refused("EPERM"))
def paste_at_terminal(at: Attacker) -> object:
    """Paste into a console."""
    return at.host.ioctl(_terminal(at), _TIOCLINUX, b"\3") == 0


@attack(refused("EPERM"))
def change_line_discipline(at: Attacker) -> object:
    """Have the host kernel treat a terminal as a network device."""
    return at.host.ioctl(_terminal(at), _TIOCSETD, struct.pack("i", 1)) == 0


@attack(refused("EPERM"))
def hear_by_signals(at: Attacker) -> object:
    """Have signals sent to others when a descriptor is ready."""
    return at.host.ioctl(REQUESTS, _FIOASYNC, struct.pack("i", 1)) == 0


@attack(refused("ESRCH", "EPERM"))
def signal_through_descriptor(at: Attacker) -> object:
    """Have the host kernel send a signal to the victim when a descriptor is ready."""
    at.host.fcntl(NOTICE, _SET_SIGNAL, 9)
    return at.host.fcntl(NOTICE, fcntl.F_SETOWN, at.facts.pids["victim"]) == 0


@attack(refused("BAD_ARGUMENT", "NO_RIGHT"))
def map_device_writable(at: Attacker) -> object:
    """Ask for a device that it may read, to write."""
    return at.system.device_map(at.env.slot("book"), Right.READ | Right.WRITE)


@attack(refused("EBADF"), leaves="files", programs=BOTH)
def write_device(at: Attacker) -> object:
    """Write to a device that it may only read."""
    _, fd = at.system.device_map(at.env.slot("book"), Right.READ)
    return os.pwrite(fd, b"evil", 0)


@attack(refused("EBADF"), leaves="files")
def punch_hole_into_device(at: Attacker) -> object:
    """Free the space that a device's contents take."""
    _, fd = at.system.device_map(at.env.slot("book"), Right.READ)
    return at.host.fallocate(fd, 3, 0, 4096) == 0


@attack(NO, leaves="files")
def truncate_device(at: Attacker) -> object:
    """Cut a device's file."""
    _, fd = at.system.device_map(at.env.slot("book"), Right.READ)
    return at.host.ftruncate(fd, 0) == 0


@attack(NO, programs=BOTH)
def reopen_device(at: Attacker) -> object:
    """Open a device again, to write."""
    _, fd = at.system.device_map(at.env.slot("book"), Right.READ)
    return at.host.open(f"/proc/self/fd/{fd}", os.O_RDWR)


@attack(NO)
def lock_device(at: Attacker) -> object:
    """Lock a device's file, so that no other system can use it."""
    _, fd = at.system.device_map(at.env.slot("book"), Right.READ)
    return at.host.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB) == 0


@attack(refused("EPERM"), programs=BOTH)
def lease_frame(at: Attacker) -> object:
    """Make the kernel wait when it opens a frame again, by a lease on the frame's memory."""
    frame = at.neighbour.lend()
    _, _, fd = at.borrow(frame.slot)
    at.host.fcntl(fd, _SET_LEASE, fcntl.F_WRLCK)
    at.host.fcntl(fd, _SET_LEASE, fcntl.F_UNLCK)  # before it does any harm
    return "a lease for writing"


@attack(refused("EPERM"))
def lease_by_a_wide_number(at: Attacker) -> object:
    """The same with a number of which the host kernel looks at one half, and a filter at both."""
    _, _, fd = at.borrow(at.neighbour.lend().slot)
    return at.host.fcntl(fd, _SET_LEASE | 1 << 32, fcntl.F_WRLCK) == 0


@attack(refused("EPERM"))
def lease_device(at: Attacker) -> object:
    """Make everybody on the host wait who opens a device's file to write."""
    _, fd = at.system.device_map(at.env.slot("book"), Right.READ)
    at.host.fcntl(fd, _SET_LEASE, fcntl.F_RDLCK)
    at.host.fcntl(fd, _SET_LEASE, fcntl.F_UNLCK)
    return "a lease for reading"


@attack(refused("EPERM"))
def lock_record_of_device(at: Attacker) -> object:
    """Lock a part of a device's file against all others on the host."""
    _, fd = at.system.device_map(at.env.slot("book"), Right.READ)
    return at.host.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 0, 0)) == 0


@attack(refused("EPERM"), programs=BOTH)
def shrink_channel(at: Attacker) -> object:
    """Make the pipes of its channel too small for what the kernel writes in one piece."""
    at.host.fcntl(ANSWERS, _SET_PIPE_SIZE, 4096)
    at.host.fcntl(REQUESTS, _SET_PIPE_SIZE, 4096)
    return "both pipes"


@attack(refused("EPERM"))
def enlarge_channel(at: Attacker) -> object:
    """Use up the memory for pipes that the host has for the user who runs the kernel."""
    return at.host.fcntl(REQUESTS, _SET_PIPE_SIZE, 1 << 20) > 1 << 17


@attack(refused("EPERM"))
def seal_frame(at: Attacker) -> object:
    """Seal a frame that others write."""
    frame = at.neighbour.lend()
    _, _, fd = at.borrow(frame.slot)
    return at.host.fcntl(fd, _ADD_SEALS, fcntl.F_SEAL_WRITE) == 0


@attack(killed("crashed: closed its channel"))
def close_requests(at: Attacker) -> object:
    """Hang up on the kernel, and go on."""
    os.close(REQUESTS)
    return at.still_here()


@attack(killed("crashed: closed its channel"))
def close_notices(at: Attacker) -> object:
    """Be deaf to notices."""
    os.close(NOTICE)
    return at.still_here()


@attack(killed("crashed: (closed its channel|does not read its answers)"))
def close_answers(at: Attacker) -> object:
    """Be deaf to answers, and go on asking."""
    os.close(ANSWERS)
    for _ in range(3):
        at.send(at.request("clock"))
        time.sleep(0.05)
    return at.still_here(1)


@attack(killed("crashed: closed its channel"))
def close_everything(at: Attacker) -> object:
    """Close every descriptor that there is."""
    for fd in range(256):
        try:
            os.close(fd)
        except OSError:
            pass
    return at.still_here()
