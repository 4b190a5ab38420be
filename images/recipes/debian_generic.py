"""Debian's kernel for PCs, with the initial RAM disk of `debian_cloud`: it has framebuffers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from images.recipes import debian_cloud

NAME: Final = "debian-generic"
SUMMARY: Final = "Debian's kernel for PCs, with drivers for their hardware"
FILES: Final = debian_cloud.FILES
SOURCE: Final = debian_cloud.Source(NAME, "linux-image-amd64", r"linux-image-\d\S*-amd64")


def fetch(say: Callable[[str], None]) -> Path:
    """Make the image from the packages that apt offers; returns its folder."""
    return debian_cloud.make(SOURCE, say)


def is_current() -> bool:
    """Whether the image in the cache has the init of this Cloister."""
    return debian_cloud.is_made(SOURCE)
