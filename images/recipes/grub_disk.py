"""A disk as an installed system leaves it: GRUB in its first sectors, and a file system with
Debian's kernel, an initial RAM disk and memtest86+, which GRUB's menu offers.

Built by an ordinary user and without mounting anything: GRUB's own ``grub-mkimage`` makes what goes
before the first partition, ``mke2fs -d`` fills the file system.  GRUB speaks through the BIOS,
which shows it on the screen or, if there is none, at the first serial port; the kernel does both.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from images import cache
from images.recipes import RecipeError, debian_cloud, manifest
from images.recipes.packages import downloading, ensure_lists, offered, unpack

NAME: Final = "grub-disk"
SUMMARY: Final = "a bootable disk: GRUB, Debian's cloud kernel and memtest86+"
FILES: Final = ("disk.img", "memtest.bin", "manifest.json")
SECTOR: Final = 512
FIRST: Final = 2048
"""The sector at which the partition begins."""
PARTITION: Final = 48 << 20
"""Bytes of the partition."""
LINUX_PARTITION, ACTIVE = 0x83, 0x80
_VERSION: Final = "3"
_PACKAGES: Final = ("grub-pc-bin", "grub-common", "memtest86+")
_GRUB: Final = "usr/lib/grub/i386-pc"
_MODULES: Final = (
    *("biosdisk", "part_msdos", "ext2", "normal", "linux", "linux16"),
    *("echo", "test", "reboot", "halt", "configfile", "ls", "cat"),
)
_EARLY: Final = """\
set root=(hd0,msdos1)
set prefix=(hd0,msdos1)/boot/grub
"""
_MENU: Final = """\
set timeout=1
menuentry "Debian GNU/Linux" {
    echo "Loading Linux ..."
    linux /boot/vmlinuz console=tty0 console=ttyS0 panic=-1
    initrd /boot/initrd.img
}
menuentry "memtest86+" {
    linux /boot/memtest86+x64.bin console=ttyS0,115200
}
menuentry "Off" {
    halt
}
"""


def fetch(say: Callable[[str], None]) -> Path:
    """Make the disk from the packages that apt offers; returns its folder."""
    if shutil.which("mke2fs", path=_PATH) is None:
        raise RecipeError("making a disk needs mke2fs, of the package e2fsprogs")
    if not debian_cloud.is_current():
        debian_cloud.fetch(say)
    say("looking for the packages")
    ensure_lists(_PACKAGES[0])
    path = cache.image(NAME)
    with cache.replacing(path) as fresh, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        roots, versions = {}, {}
        for name in _PACKAGES:
            package = offered(name)
            say(downloading(package))
            roots[name] = unpack(package, folder)
            versions[name] = package.version
        say("building the disk")
        core = _core(roots["grub-common"], roots["grub-pc-bin"], folder)
        boot = (roots["grub-pc-bin"] / _GRUB / "boot.img").read_bytes()
        disk = assemble(boot, core, _file_system(roots["memtest86+"], folder))
        memtest = roots["memtest86+"] / "boot" / "memtest86+x64.bin"
        files = {"disk.img": disk, "memtest.bin": memtest.read_bytes()}
        manifest.write(fresh, files, _recipe(), versions)
    return path


def is_current() -> bool:
    """Whether the disk in the cache was made like this, with the kernel that is there."""
    return manifest.is_of(NAME, _recipe())


def _recipe() -> str:
    return f"{_VERSION} {manifest.digest(debian_cloud.NAME)}"


def assemble(boot: bytes, core: bytes, file_system: bytes) -> bytes:
    """A disk: ``boot`` with a partition table, ``core`` behind it, one partition."""
    if len(core) > (FIRST - 1) * SECTOR:
        raise RecipeError("GRUB does not fit before the first partition")
    sectors = len(file_system) // SECTOR
    first = bytearray(boot[: SECTOR - 66].ljust(SECTOR, b"\0"))
    entry = struct.pack("<B3xB3xII", ACTIVE, LINUX_PARTITION, FIRST, sectors)
    first[446 : 446 + 16] = entry
    first[510:512] = b"\x55\xaa"
    return (bytes(first) + core).ljust(FIRST * SECTOR, b"\0") + file_system


_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"


def _core(common: Path, modules: Path, folder: Path) -> bytes:
    """What GRUB's first sector loads: its kernel and the modules that the menu needs."""
    early, core = folder / "early.cfg", folder / "core.img"
    early.write_text(_EARLY)
    program = common / "usr/bin/grub-mkimage"
    _run(
        *(str(program), "-O", "i386-pc", "-d", str(modules / _GRUB), "-c", str(early)),
        *("-p", "(hd0,msdos1)/boot/grub", "-o", str(core), *_MODULES),
    )
    return core.read_bytes()


def _file_system(memtest: Path, folder: Path) -> bytes:
    """The partition."""
    base = cache.image(debian_cloud.NAME)
    root = folder / "disk"
    (root / "boot" / "grub").mkdir(parents=True)
    shutil.copy(base / "vmlinuz", root / "boot" / "vmlinuz")
    shutil.copy(base / "initramfs", root / "boot" / "initrd.img")
    shutil.copy(memtest / "boot" / "memtest86+x64.bin", root / "boot" / "memtest86+x64.bin")
    (root / "boot" / "grub" / "grub.cfg").write_text(_MENU)
    made = folder / "partition"
    with made.open("wb") as file:
        file.truncate(PARTITION)
    _run("mke2fs", "-q", "-t", "ext2", "-F", "-L", "disk", "-d", str(root), str(made))
    return made.read_bytes()


def _run(*command: str) -> None:
    program = shutil.which(command[0], path=_PATH) or command[0]
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise RecipeError(f"{command[0]} does not run: {error.strerror}") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RecipeError(f"{Path(command[0]).name} failed: {reason}")
