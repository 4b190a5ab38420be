"""What a PC without a system boots: Debian's memtest86+ and iPXE, as kernels and CD images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from images.recipes import files, manifest

NAME: Final = "boot-media"
SUMMARY: Final = "memtest86+ and iPXE, as kernels and as CD images"
_VERSION: Final = "1"
_SOURCES: Final[files.Sources] = {
    "memtest.bin": ("memtest86+", "boot/memtest86+x64.bin"),
    "memtest.iso": ("memtest86+", "usr/lib/memtest86+/memtest86+x64.iso"),
    "ipxe.lkrn": ("ipxe", "boot/ipxe.lkrn"),
    "ipxe.iso": ("ipxe", "usr/lib/ipxe/ipxe.iso"),
}
FILES: Final = (*_SOURCES, "manifest.json")


def fetch(say: Callable[[str], None]) -> Path:
    """Take the files out of the packages that apt offers; returns their folder."""
    return files.take(NAME, _VERSION, _SOURCES, say)


def is_current() -> bool:
    """Whether the files in the cache are those of this recipe."""
    return manifest.is_of(NAME, _VERSION)
