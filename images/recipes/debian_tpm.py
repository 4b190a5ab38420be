"""The image of `debian_cloud` with Debian's tpm2-tools in its initial RAM disk.

The programs and the libraries that they need come from Debian's packages.  Linux unpacks archives
one behind the other: this image's is the other's with one more behind it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from images import cache
from images.cpio import Archive
from images.elf import Elf, ElfError
from images.recipes import RecipeError, debian_cloud, manifest
from images.recipes.packages import Package, ensure_lists, find, unpack

NAME: Final = "debian-tpm"
SUMMARY: Final = "the same with Debian's tpm2-tools"
FILES: Final = ("vmlinuz", "initramfs", "manifest.json")
_PROGRAMS: Final = ("usr/bin/tpm2",)
_LIBRARIES: Final = ("libtss2-tcti-device.so.0",)
"""Libraries that are loaded by name, and named in no file."""
_PACKAGES: Final = ("tpm2-tools", "libtss2-tcti-device0")
_FOLDER: Final = "usr/lib/x86_64-linux-gnu"
_VERSION: Final = "1"
_MOST: Final = 200
"""Packages; more means that the walk went wrong."""


def fetch(say: Callable[[str], None]) -> Path:
    """Make the image from the packages that apt offers; returns its folder."""
    if not debian_cloud.is_current():
        debian_cloud.fetch(say)
    base = cache.image(debian_cloud.NAME)
    say("looking for the packages")
    ensure_lists(_PACKAGES[0])
    path = cache.image(NAME)
    with cache.replacing(path) as fresh, tempfile.TemporaryDirectory() as scratch:
        roots, versions = [], {}
        for package in _closure(_PACKAGES):
            say(f"downloading {package.name} {package.version}")
            roots.append(unpack(package, Path(scratch)))
            versions[package.name] = package.version
        say("building the initial RAM disk")
        files = {
            "vmlinuz": (base / "vmlinuz").read_bytes(),
            "initramfs": (base / "initramfs").read_bytes() + _archive(roots),
        }
        manifest.write(fresh, files, _recipe(), versions)
    return path


def is_current() -> bool:
    """Whether the image in the cache was made like this, from the other image as it is."""
    return manifest.is_of(NAME, _recipe())


def _recipe() -> str:
    return f"{_VERSION} {manifest.digest(debian_cloud.NAME)}"


def _closure(names: tuple[str, ...]) -> Iterator[Package]:
    """The packages and all that they depend on, each once."""
    waiting, seen = [*names], set(names)
    while waiting:
        package = find(waiting.pop())
        if package is None:
            continue  # a virtual package; if its library is missed, that is said later
        yield package
        for text in package.depends.split(","):
            name = re.match(r"\s*([a-z0-9.+-]+)", text)
            if name is not None and name[1] not in seen:
                seen.add(name[1])
                waiting.append(name[1])
        if len(seen) > _MOST:
            raise RecipeError("the packages depend on too many others")


def _archive(roots: list[Path]) -> bytes:
    """The programs, and the libraries that they and each other need."""
    archive = Archive()
    libraries = _shared_libraries(roots)
    waiting, added = [*_LIBRARIES], set(_LIBRARIES)
    loaders = set()
    for program in _PROGRAMS:
        found = next((root / program for root in roots if (root / program).is_file()), None)
        if found is None:
            raise RecipeError(f"the packages have no {program}")
        data = found.read_bytes()
        elf = _elf(found.name, data)
        loaders.add(elf.interpreter)
        archive.add_file(program, data, 0o755)
        waiting += [name for name in elf.needed if name not in added]
        added.update(elf.needed)
    while waiting:
        name = waiting.pop()
        if name not in libraries:
            raise RecipeError(f"the packages have no library {name}")
        data = libraries[name].read_bytes()
        archive.add_file(f"{_FOLDER}/{name}", data, 0o755)
        for other in _elf(name, data).needed:
            if other not in added:
                added.add(other)
                waiting.append(other)
    for loader in sorted(loaders):
        name = loader.rpartition("/")[2]
        if name not in added:
            archive.add_file(f"{_FOLDER}/{name}", libraries[name].read_bytes(), 0o755)
        archive.add_link(loader, f"/{_FOLDER}/{name}")
    return archive.data()


def _elf(name: str, data: bytes) -> Elf:
    try:
        return Elf(data)
    except ElfError as error:
        raise RecipeError(f"{name} cannot be taken: {error}") from None


def _shared_libraries(roots: list[Path]) -> dict[str, Path]:
    """Every library of the packages by the name that others know it by."""
    found: dict[str, Path] = {}
    for root in roots:
        for folder in ("lib", "usr/lib", "lib64", "usr/lib64"):
            for path in sorted((root / folder).glob("**/*.so*")):
                if path.is_file():
                    found.setdefault(path.name, path)
    return found
