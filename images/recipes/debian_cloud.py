"""Debian's kernel for cloud machines, with a small initial RAM disk of busybox.

The kernel is the distributor's, unmodified.  It has the serial console, TPM interfaces and PVH
built in; virtio and file systems are modules, which the initial RAM disk brings.  Debian's other
kernels are made into images in the same way.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from images import cache, initramfs
from images.modules import ModuleError, ModuleTree
from images.recipes import RecipeError
from images.recipes.packages import Foreign, Package, ensure_lists, find, unpack

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
    offered, unpacked = _archive(source)
    kernel, busybox = _kernel(source, offered), offered(_BUSYBOX)
    path = cache.image(source.name)
    with cache.replacing(path) as fresh, tempfile.TemporaryDirectory() as scratch:
        say(_downloading(kernel))
        kernel_root = unpacked(kernel, Path(scratch))
        say(_downloading(busybox))
        busybox_root = unpacked(busybox, Path(scratch))
        say("building the initial RAM disk")
        files = _files(kernel_root, busybox_root)
        manifest = {
            "recipe": initramfs.version(),
            "packages": {package.name: package.version for package in (kernel, busybox)},
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
        for name, data in files.items():
            cache.write(fresh / name, data)
    return path


def is_made(source: Source) -> bool:
    """Whether its image in the cache has the init of this Cloister."""
    try:
        manifest = json.loads((cache.image(source.name) / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("recipe") == initramfs.version()


Offered = Callable[[str], Package]
Unpacked = Callable[[Package, Path], Path]


def _archive(source: Source) -> tuple[Offered, Unpacked]:
    """Where a kernel's packages are looked for, and how they are unpacked."""
    if not source.architecture:
        ensure_lists(source.meta)
        return partial(_offered, find), unpack
    foreign = Foreign(source.architecture, cache.folder() / f"apt-{source.architecture}")
    foreign.ensure_lists(source.meta)
    return partial(_offered, foreign.find), foreign.unpack


def _downloading(package: Package) -> str:
    return f"downloading {package.name} {package.version}, {package.size / 1e6:.1f} MB"


def _kernel(source: Source, offered: Offered) -> Package:
    """The package with the kernel itself, which the meta package depends on."""
    match = re.search(source.pattern, offered(source.meta).depends)
    if match is None:
        raise RecipeError(
            f"{source.meta} names no kernel package; run 'apt-get update' and try again"
        )
    return offered(match.group())


def _offered(look: Callable[[str], Package | None], name: str) -> Package:
    package = look(name)
    if package is None:
        raise RecipeError(f"apt offers no package {name}; run 'apt-get update' and try again")
    return package


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
