"""Debian's kernel for cloud machines, with a small initial RAM disk of busybox.

The kernel is the distributor's, unmodified.  It has the serial console, TPM interfaces and PVH
built in; virtio and file systems are modules, which the initial RAM disk brings.  Debian's other
kernels are made into images in the same way.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from images import cache, initramfs
from images.modules import ModuleError, ModuleTree
from images.recipes import RecipeError, manifest
from images.recipes.packages import (
    Foreign,
    Package,
    downloading,
    ensure_lists,
    find,
    offered,
    unpack,
)

NAME: Final = "debian-cloud"
SUMMARY: Final = "Debian's cloud kernel and a busybox initial RAM disk"
FILES: Final = ("vmlinuz", "initramfs", "manifest.json")
_META: Final = "linux-image-cloud-amd64"
_BUSYBOX: Final = "busybox-static"


class Source(NamedTuple):
    """Which of Debian's kernels, and from where."""

    name: str
    """Of the image."""
    meta: str
    """The package that depends on the newest kernel."""
    pattern: str
    """What that kernel's package is called."""
    architecture: str = ""
    """Another than the machine's."""


CLOUD: Final = Source(NAME, _META, r"linux-image-\d\S*-cloud-amd64")


def fetch(say: Callable[[str], None]) -> Path:
    """Make the image from the packages that apt offers; returns its folder."""
    return make(CLOUD, say)


def is_current() -> bool:
    """Whether the image in the cache has the init of this Cloister."""
    return is_made(CLOUD)


def make(source: Source, say: Callable[[str], None]) -> Path:
    """Make the image of one of Debian's kernels; returns its folder."""
    say("looking for the packages")
    look_up, unpacked = _archive(source)
    kernel, busybox = _kernel(source, look_up), look_up(_BUSYBOX)
    path = cache.image(source.name)
    with cache.replacing(path) as fresh, tempfile.TemporaryDirectory() as scratch:
        say(downloading(kernel))
        kernel_root = unpacked(kernel, Path(scratch))
        say(downloading(busybox))
        busybox_root = unpacked(busybox, Path(scratch))
        say("building the initial RAM disk")
        files = _files(kernel_root, busybox_root)
        versions = {package.name: package.version for package in (kernel, busybox)}
        manifest.write(fresh, files, initramfs.version(), versions)
    return path


def is_made(source: Source) -> bool:
    """Whether its image in the cache has the init of this Cloister."""
    return manifest.is_of(source.name, initramfs.version())


Offered = Callable[[str], Package]
Unpacked = Callable[[Package, Path], Path]


def _archive(source: Source) -> tuple[Offered, Unpacked]:
    """Where a kernel's packages are looked for, and how they are unpacked."""
    if not source.architecture:
        ensure_lists(source.meta)
        return partial(offered, look=find), unpack
    foreign = Foreign(source.architecture, cache.folder() / f"apt-{source.architecture}")
    foreign.ensure_lists(source.meta)
    return partial(offered, look=foreign.find), foreign.unpack


def _kernel(source: Source, look_up: Offered) -> Package:
    """The package with the kernel itself, which the meta package depends on."""
    match = re.search(source.pattern, look_up(source.meta).depends)
    if match is None:
        raise RecipeError(
            f"{source.meta} names no kernel package; run 'apt-get update' and try again"
        )
    return look_up(match.group())


def _files(kernel: Path, busybox: Path) -> dict[str, bytes]:
    """The image's files from the unpacked packages."""
    images = sorted((kernel / "boot").glob("vmlinuz-*"))
    trees = sorted(kernel.glob("lib/modules/*")) + sorted(kernel.glob("usr/lib/modules/*"))
    programs = sorted(busybox.glob("bin/busybox")) + sorted(busybox.glob("usr/bin/busybox"))
    if not (images and trees and programs):
        raise RecipeError("the packages have another layout than this recipe knows")
    try:
        archive = initramfs.build(programs[0].read_bytes(), ModuleTree(trees[0]))
    except ModuleError as error:
        raise RecipeError(f"the initial RAM disk could not be built: {error}") from None
    return {"vmlinuz": images[0].read_bytes(), "initramfs": archive}
