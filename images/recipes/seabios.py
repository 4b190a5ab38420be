"""The BIOS for guests that start from one: Debian's build of SeaBIOS, a BIOS for the display
adapter, and the ROM that lets firmware start a Linux kernel of the host's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from images.recipes import files, manifest

NAME: Final = "seabios"
SUMMARY: Final = "SeaBIOS, a video BIOS, and a ROM that starts Linux kernels"
BIOS, VIDEO, LINUX_ROM = "bios.bin", "vgabios.bin", "linuxboot.bin"
FILES: Final = (BIOS, VIDEO, LINUX_ROM, "manifest.json")
_VERSION: Final = "1"
_SOURCES: Final[files.Sources] = {
    BIOS: ("seabios", "usr/share/seabios/bios-256k.bin"),
    VIDEO: ("seabios", "usr/share/seabios/vgabios-stdvga.bin"),
    LINUX_ROM: ("qemu-system-data", "usr/share/qemu/linuxboot_dma.bin"),
}


def fetch(say: Callable[[str], None]) -> Path:
    """Take the files out of the packages that apt offers; returns their folder."""
    return files.take(NAME, _VERSION, _SOURCES, say)


def is_current() -> bool:
    """Whether the files in the cache are those of this recipe."""
    return manifest.is_of(NAME, _VERSION)
