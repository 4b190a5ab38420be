"""The BIOS for guests that start from one: Debian's build of SeaBIOS, a BIOS for the display
adapter, and the ROM that lets firmware start a Linux kernel of the host's.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from images import cache
from images.recipes import RecipeError
from images.recipes.packages import ensure_lists, find, unpack

NAME: Final = "seabios"
SUMMARY: Final = "SeaBIOS, a video BIOS, and a ROM that starts Linux kernels"
BIOS, VIDEO, LINUX_ROM = "bios.bin", "vgabios.bin", "linuxboot.bin"
FILES: Final = (BIOS, VIDEO, LINUX_ROM, "manifest.json")
_VERSION: Final = "1"
_SOURCES: Final = {
    BIOS: ("seabios", "usr/share/seabios/bios-256k.bin"),
    VIDEO: ("seabios", "usr/share/seabios/vgabios-stdvga.bin"),
    LINUX_ROM: ("qemu-system-data", "usr/share/qemu/linuxboot_dma.bin"),
}
"""The package that has a file, and where."""


def fetch(say: Callable[[str], None]) -> Path:
    """Take the files out of the packages that apt offers; returns their folder."""
    say("looking for the packages")
    ensure_lists("seabios")
    path = cache.image(NAME)
    with cache.replacing(path) as fresh, tempfile.TemporaryDirectory() as scratch:
        roots, versions = {}, {}
        for name in sorted({package for package, _ in _SOURCES.values()}):
            package = find(name)
            if package is None:
                raise RecipeError(
                    f"apt offers no package {name}; run 'apt-get update' and try again"
                )
            say(f"downloading {name} {package.version}, {package.size / 1e6:.1f} MB")
            roots[name] = unpack(package, Path(scratch))
            versions[name] = package.version
        files = {}
        for file, (name, source) in _SOURCES.items():
            try:
                files[file] = (roots[name] / source).read_bytes()
            except OSError:
                raise RecipeError(f"the package {name} has no {source}") from None
        manifest = {
            "recipe": _VERSION,
            "packages": versions,
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
        for file, data in files.items():
            cache.write(fresh / file, data)
    return path


def is_current() -> bool:
    """Whether the files in the cache are those of this recipe."""
    try:
        manifest = json.loads((cache.image(NAME) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("recipe") == _VERSION
