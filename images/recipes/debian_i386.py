"""Debian's kernel for 32-bit processors, with a 32-bit busybox, as `debian_cloud` is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from images.recipes import debian_cloud

NAME: Final = "debian-i386"
SUMMARY: Final = "Debian's kernel for PCs with processors of 32 bits"
FILES: Final = debian_cloud.FILES
SOURCE: Final = debian_cloud.Source(NAME, "linux-image-686", r"linux-image-\d\S*-686", "i386")


def fetch(say: Callable[[str], None]) -> Path:
    """Make the image from the packages that apt offers; returns its folder."""
    return debian_cloud.make(SOURCE, say)


def is_current() -> bool:
    """Whether the image in the cache has the init of this Cloister."""
    return debian_cloud.is_made(SOURCE)
