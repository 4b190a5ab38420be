"""The host's files: reading, writing, making and changing what no process was given."""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from tests.hostile.attacker import Attacker
from tests.hostile.linux import AT_FDCWD
from tests.hostile.registry import BORN, TURNED, attack, killed_for, refused

BOTH = (BORN, TURNED)
NO = refused("EPERM", "EACCES")
ROOT = os.path.abspath(__file__).partition("/tests/")[0]
_O_TMPFILE = 0o20200000


def _file(at: Attacker, name: str = "note") -> bytes:
    return os.path.join(at.facts.folder, name).encode()


@attack(NO, open_hand=True, programs=BOTH)
def read_passwd(at: Attacker) -> object:
    """Read the host's list of users."""
    return os.read(at.host.open("/etc/passwd"), 64)


@attack(NO, open_hand=True)
def read_a_users_file(at: Attacker) -> object:
    """Read a file in a user's folder."""
    return os.read(at.host.open(_file(at).decode()), 64)


@attack(NO, open_hand=True, programs=BOTH)
def read_by_openat2(at: Attacker) -> object:
    """Open a file by the call whose flags no filter can see."""
    how = struct.pack("3Q", os.O_RDWR, 0, 0)
    return at.host.openat2(AT_FDCWD, _file(at), how, len(how))


@attack(NO, open_hand=True, programs=BOTH)
def list_folder(at: Attacker) -> object:
    """List a folder."""
    folder = at.host.open(at.facts.folder, os.O_DIRECTORY)
    return at.host.getdents64(folder, ctypes.create_string_buffer(4096), 4096)


@attack(
    NO,
    open_hand=True,
    programs=BOTH,
    holes={BORN: "Landlock has no say in stat, and the first filter allows it for imports"},
)
def look_at_a_users_file(at: Attacker) -> object:
    """Learn that a file exists, how long it is and when it was changed."""
    buffer = ctypes.create_string_buffer(256)
    at.host.statx(AT_FDCWD, _file(at), 0, 0x7FF, buffer)
    return struct.unpack_from("Q", buffer.raw, 40)


@attack(
    NO,
    open_hand=True,
    programs=BOTH,
    holes={BORN: "Landlock has no say in O_PATH, and the first filter allows it for imports"},
)
def hold_a_users_file(at: Attacker) -> object:
    """Get a descriptor that stands for a file, without reading it."""
    return os.fstat(at.host.open(_file(at).decode(), os.O_PATH)).st_size


@attack(
    NO,
    open_hand=True,
    programs=BOTH,
)
def read_what_lies_beside_the_code(at: Attacker) -> object:
    """Read a file that is no code but lies in the same folder, as a user's disks may."""
    return os.read(at.host.open(f"{ROOT}/pyproject.toml"), 16)


@attack(NO, programs=BOTH)
def read_memory_of_victim(at: Attacker) -> object:
    """Read the victim's memory through the host's list of processes."""
    fd = at.host.open(f"/proc/{at.facts.pids['victim']}/mem")
    return os.pread(fd, 16, at.facts.secret)


@attack(NO)
def write_memory_of_kernel(at: Attacker) -> object:
    """Open the memory of the kernel's process for writing."""
    return at.host.open(f"/proc/{at.facts.pids['kernel']}/mem", os.O_RDWR)


@attack(NO)
def write_own_memory(at: Attacker) -> object:
    """Open its own memory as a file, which would go around the protection of its pages."""
    return at.host.open("/proc/self/mem", os.O_RDWR)


@attack(NO, programs=BOTH)
def read_own_map(at: Attacker) -> object:
    """Learn from the host where things are in its own memory."""
    return os.read(at.host.open("/proc/self/maps"), 64)


@attack(NO)
def raise_own_limits(at: Attacker) -> object:
    """Change a setting of its namespaces."""
    return at.host.open("/proc/sys/kernel/pid_max", os.O_WRONLY)


@attack(NO, open_hand=True, leaves="files", programs=BOTH)
def create_file(at: Attacker) -> object:
    """Make a file."""
    return at.host.open(_file(at, "evil").decode(), os.O_WRONLY | os.O_CREAT)


@attack(NO, open_hand=True)
def create_nameless_file(at: Attacker) -> object:
    """Make a file without a name, to fill the disk unseen."""
    return at.host.open(at.facts.folder, os.O_RDWR | _O_TMPFILE)


@attack(NO, open_hand=True, leaves="files", programs=BOTH)
def write_file(at: Attacker) -> object:
    """Write a file."""
    return os.write(at.host.open(_file(at).decode(), os.O_WRONLY), b"break in")


@attack(NO, open_hand=True)
def write_in_the_project(at: Attacker) -> object:
    """Open the code that processes are started with for writing."""
    return at.host.open(__file__, os.O_WRONLY | os.O_APPEND)


@attack(NO, open_hand=True, leaves="files", programs=BOTH)
def truncate_by_opening(at: Attacker) -> object:
    """Empty a file, by opening it just for reading."""
    return at.host.open(_file(at).decode(), os.O_RDONLY | os.O_TRUNC)


@attack(NO, open_hand=True, leaves="files")
def truncate_file(at: Attacker) -> object:
    """Empty a file by its name."""
    return at.host.truncate(_file(at), 0) == 0


@attack(NO, open_hand=True, leaves="files")
def make_folder(at: Attacker) -> object:
    """Make a folder."""
    return at.host.mkdirat(AT_FDCWD, _file(at, "evil"), 0o700) == 0


@attack(NO, open_hand=True, leaves="files")
def make_pipe_in_folder(at: Attacker) -> object:
    """Make a named pipe, through which to talk to a process of the host."""
    return at.host.mknodat(AT_FDCWD, _file(at, "evil"), stat.S_IFIFO | 0o600, 0) == 0


@attack(NO)
def make_disk(at: Attacker) -> object:
    """Make a device file of the host's first disk."""
    return at.host.mknodat(AT_FDCWD, _file(at, "evil"), stat.S_IFBLK | 0o600, 8 << 8) == 0


@attack(NO, open_hand=True, leaves="files")
def remove_file(at: Attacker) -> object:
    """Remove a file."""
    return at.host.unlinkat(AT_FDCWD, _file(at), 0) == 0


@attack(NO, open_hand=True, leaves="files")
def rename_file(at: Attacker) -> object:
    """Put one file in the place of another."""
    return at.host.renameat2(AT_FDCWD, _file(at, "script"), AT_FDCWD, _file(at), 0) == 0


@attack(NO, open_hand=True, leaves="files")
def link_file(at: Attacker) -> object:
    """Give a file another name."""
    return at.host.linkat(AT_FDCWD, _file(at), AT_FDCWD, _file(at, "evil"), 0) == 0


@attack(NO, open_hand=True, leaves="files")
def make_symbolic_link(at: Attacker) -> object:
    """Lay a trap for those who follow links."""
    return at.host.symlinkat(b"/etc/passwd", AT_FDCWD, _file(at, "evil")) == 0


@attack(NO, open_hand=True, leaves="files")
def change_mode(at: Attacker) -> object:
    """Let everybody write a file."""
    return at.host.fchmodat(AT_FDCWD, _file(at), 0o666) == 0


@attack(NO)
def change_owner(at: Attacker) -> object:
    """Take a file over."""
    return at.host.fchownat(AT_FDCWD, _file(at), 1, 1, 0) == 0


@attack(NO, open_hand=True, leaves="files")
def change_times(at: Attacker) -> object:
    """Hide that a file was changed."""
    times = struct.pack("4q", 1, 0, 1, 0)
    return at.host.utimensat(AT_FDCWD, _file(at), times, 0) == 0


@attack(NO)
def set_attribute(at: Attacker) -> object:
    """Put an attribute on a file."""
    return at.host.setxattr(_file(at), b"user.evil", b"1", 1, 0) == 0


@attack(NO, open_hand=True)
def read_attributes(at: Attacker) -> object:
    """Read which attributes a file has."""
    return at.host.listxattr(_file(at), None, 0) >= 0


@attack(NO, open_hand=True)
def enter_folder(at: Attacker) -> object:
    """Go to another folder, from which relative names are looked up."""
    return at.host.chdir(at.facts.folder.encode()) == 0


@attack(NO, open_hand=True)
def watch_folder(at: Attacker) -> object:
    """Hear of what others do with files."""
    return at.host.inotify_init1(0)


@attack(NO)
def watch_everything(at: Attacker) -> object:
    """Hear of all that anybody does with files, and decide whether they may."""
    return at.host.fanotify_init(0, 0)


@attack(killed_for("name_to_handle_at"), open_hand=True)
def name_file_by_handle(at: Attacker) -> object:
    """Get the number by which the host knows a file, whatever its folder's permissions are."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount = ctypes.c_int()
    return at.host.name_to_handle_at(AT_FDCWD, b"/", handle, ctypes.byref(mount), 0) == 0


@attack(killed_for("open_by_handle_at"))
def open_file_by_handle(at: Attacker) -> object:
    """Open a file of which only a guessed number is known."""
    handle = ctypes.create_string_buffer(struct.pack("IiQ", 8, 1, 2), 16)
    return at.host.open_by_handle_at(AT_FDCWD, handle, os.O_RDONLY)


@attack(NO)
def flush_all_disks(at: Attacker) -> object:
    """Have the host write all its files to its disks, which slows everybody down."""
    at.host.sync()
    return "flushed"


@attack(NO, programs=BOTH)
def reopen_standard_output(at: Attacker) -> object:
    """Open what is behind a descriptor again, with more rights than it has."""
    return at.host.open("/proc/self/fd/1", os.O_RDWR | os.O_CREAT)
