"""What boots: unmodified systems, each started as a person would, and looked at.

The result is ``docs/guests.md``: each guest with what it said, and what its screen showed.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from images import cache
from tools.bench import boot
from tools.errors import UserError
from tools.images import fetch
from tools.system import ROOT
from vmm.boot import linux
from vmm.boot.payload import unpack

DOCUMENT: Final = ROOT / "docs" / "guests.md"
PICTURES: Final = ROOT / "docs" / "guests"
_TIMEOUT: Final = 120.0
_LINES: Final = 14
"""Of what a guest said, at most."""
_ESCAPE: Final = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|.)")
_SCRIPT: Final = "uname -srm; grep -m1 'model name' /proc/cpuinfo; busybox | busybox head -1"


class Guest(NamedTuple):
    """One system, and how it is known to have come up."""

    name: str
    what: str
    images: tuple[str, ...]
    """What ``cloister images fetch`` makes of it."""
    arguments: Callable[[], list[str]]
    expected: tuple[str, ...]
    """What it must say."""
    picture: float = 0
    """After how many seconds its screen is looked at; 0 for a guest without."""
    ends: bool = True
    """Whether it switches itself off."""
    memory: str = "256M"


class Found(NamedTuple):
    """How one guest did."""

    name: str
    missing: list[str]
    """What it did not say."""
    said: str


def _image(name: str, file: str) -> str:
    return str(cache.image(name) / file)


def _files(image: str, kernel: str = "") -> list[str]:
    kernel = kernel or _image(image, "vmlinuz")
    return ["--kernel", kernel, "--initrd", _image(image, "initramfs")]


def _linux(image: str, kernel: str = "") -> list[str]:
    """One that says what it is, and switches itself off."""
    encoded = base64.b64encode(_SCRIPT.encode()).decode()
    append = f"console=ttyS0 quiet panic=-1 cloister.run={encoded}"
    return [*_files(image, kernel), "--append", append]


def _vmlinux() -> list[str]:
    """What is packed in Debian's bzImage, by its own entry."""
    image = Path(_image("debian-cloud", "vmlinuz")).read_bytes()
    path = cache.folder() / "vmlinux"
    header = linux.parse_header(image)
    at = header.setup_size + header.payload_offset
    found = unpack(image[at : at + header.payload_length])
    if found is None:
        raise UserError("the kernel's payload is packed in a way that is not known")
    cache.write(path, found)
    return _linux("debian-cloud", str(path))


GUESTS: Final = (
    Guest(
        *("debian-cloud", "Debian's cloud kernel, by Linux's 64-bit boot protocol"),
        *(("linux",), lambda: _linux("debian-cloud")),
        ("init started", "x86_64", "BusyBox"),
    ),
    Guest(
        *("debian-pvh", "the `vmlinux` in it, by PVH (Xen's ELF note)", ("linux",), _vmlinux),
        ("init started", "x86_64", "BusyBox"),
    ),
    Guest(
        *("debian-generic", "Debian's kernel for PCs, with a framebuffer", ("linux-generic",)),
        lambda: [*_files("debian-generic"), "--append", "console=ttyS0 console=tty0 panic=-1"],
        (),
        picture=6,
        ends=False,
    ),
    Guest(
        *("debian-i386", "Debian's kernel for 32-bit processors", ("linux-i386",)),
        lambda: _linux("debian-i386"),
        ("init started", "i686", "BusyBox"),
    ),
    Guest(
        *("debian-grub", "SeaBIOS, GRUB and Debian's kernel, all from one disk image"),
        ("seabios", "grub-disk"),
        lambda: ["--bios", "--disk", f"{_image('grub-disk', 'disk.img')}:ro"],
        ("SeaBIOS", "Booting from Hard Disk", "Linux version 6", "init started"),
        ends=False,
    ),
    Guest(
        *("memtest-cd", "memtest86+ from its CD image, by SeaBIOS", ("seabios", "boot-media")),
        lambda: ["--bios", "--cdrom", _image("boot-media", "memtest.iso")],
        (),
        picture=9,
        ends=False,
    ),
    Guest(
        *("memtest", "memtest86+ by the BIOS, on the serial port", ("seabios", "boot-media")),
        lambda: [
            *("--bios", "--kernel", _image("boot-media", "memtest.bin")),
            *("--append", "console=ttyS0,115200"),
        ],
        ("Memtest86+", "Test #"),
        ends=False,
        memory="32M",
    ),
    Guest(
        *("ipxe", "iPXE by the BIOS", ("seabios", "boot-media")),
        lambda: ["--bios", "--kernel", _image("boot-media", "ipxe.lkrn")],
        (),
        picture=5,
        ends=False,
    ),
    Guest(
        *("ipxe-cd", "iPXE from its CD image", ("seabios", "boot-media")),
        lambda: ["--bios", "--cdrom", _image("boot-media", "ipxe.iso")],
        (),
        picture=6,
        ends=False,
    ),
    Guest(
        *("demo", "our own guest: long mode, paging, user mode, its own disk driver", ()),
        lambda: ["--kernel", "guest:demo", "--append", "auto"],
        ("demo guest",),
        memory="32M",
    ),
)


def attempt(guest: Guest, pictures: Path) -> Found:
    """Boot one, and look at it."""
    for image in guest.images:
        fetch(image)
    seconds = 60.0 if guest.ends else guest.picture + 2 if guest.picture else 15.0
    words = ["boot", *guest.arguments(), "--memory", guest.memory, "--timeout", f"{seconds}"]
    picture = pictures / f"{guest.name}.png"
    if guest.picture:
        picture.unlink(missing_ok=True)
        words += ["--screenshot", str(picture), "--screenshot-after", f"{guest.picture}"]
    done = subprocess.run(
        boot.command(*words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    missing = [text for text in guest.expected if text not in said]
    if guest.ends and done.returncode:
        missing.append(f"an end (status {done.returncode}: {done.stderr.decode().strip()})")
    if guest.picture and not picture.exists():
        missing.append(f"a picture ({done.stderr.decode().strip()})")
    return Found(guest.name, missing, said)


def transcript(said: str) -> str:
    """What a guest said, for a document: its last lines, without what moves a terminal's cursor."""
    text = _ESCAPE.sub("", said).replace("\r", "")
    plain = "".join(c for c in text if c.isprintable() or c == "\n")
    lines = [line.rstrip()[:100] for line in plain.split("\n") if line.strip()]
    return "\n".join(lines[-_LINES:])


def document(found: list[Found]) -> str:
    """``docs/guests.md``."""
    by_name = {each.name: each for each in found}
    parts = [
        "# What boots\n\nUnmodified systems, each started with `cloister boot` as is shown below. "
        "This page is made by `cloister bench guests --write`, which boots all of them. Images are "
        "Debian's, by `cloister images fetch`; `$IMAGES` is where they are kept.\n\n"
        "| guest | what it is | boots |\n| --- | --- | --- |\n"
    ]
    for guest in GUESTS:
        result = "no: " + ", ".join(m) if (m := by_name[guest.name].missing) else "yes"
        parts.append(f"| [{guest.name}](#{guest.name}) | {guest.what} | {result} |\n")
    for guest in GUESTS:
        words = " ".join(_shown(word) for word in guest.arguments())
        parts.append(f"\n## {guest.name}\n\n```\ncloister boot {words}\n```\n\n")
        if guest.picture:
            parts.append(f"![{guest.what}](guests/{guest.name}.png)\n")
        if guest.expected:
            parts.append(f"```\n{transcript(by_name[guest.name].said)}\n```\n")
    return "".join(parts)


def _shown(word: str) -> str:
    """An argument as a reader would type it."""
    word = re.sub(r"cloister\.run=\S+", "cloister.run=...", word)
    word = word.replace(str(cache.folder() / "images"), "$IMAGES")
    word = word.replace(str(cache.folder()), "$CACHE")
    return f"'{word}'" if " " in word else word


def measure(write: bool) -> list[Found]:
    """Boot all of them; ``write`` the document, which else stays as it is with its pictures."""
    if not write:
        with tempfile.TemporaryDirectory(prefix="cloister-bench-") as folder:
            return [attempt(guest, Path(folder)) for guest in GUESTS]
    PICTURES.mkdir(exist_ok=True)
    found = [attempt(guest, PICTURES) for guest in GUESTS]
    DOCUMENT.write_text(document(found), encoding="utf-8")
    return found
