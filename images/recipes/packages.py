"""Debian packages, downloaded and unpacked by apt's and dpkg's own programs as an ordinary user.

The programs check the archive's signatures with the machine's keys; nothing is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from images.recipes import RecipeError


class Package(NamedTuple):
    """A version of a package that the machine's lists offer."""

    name: str
    version: str
    depends: str
    """Its dependencies in Debian's notation."""
    size: int = 0
    """Bytes to download."""


class Foreign:
    """Packages of another architecture, with lists of their own: the machine's stay as they are."""

    def __init__(self, architecture: str, folder: Path) -> None:
        """``folder`` is kept for the lists."""
        self._architecture = architecture
        self._folder = folder
        state = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "Dir::State": str(folder),
            "Dir::State::status": "/dev/null",
            "Dir::Cache": str(folder / "cache"),
            "APT::Sandbox::User": "root",
        }
        self._options = [word for key, value in state.items() for word in ("-o", f"{key}={value}")]

    def ensure_lists(self, probe: str) -> None:
        """As the function of that name, for this architecture."""
        for name in ("lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        failed: RecipeError | None = None
        if self.find(probe) is None:
            try:
                _run(["apt-get", *self._options, "update", "--quiet=2"])
            except RecipeError as error:
                failed = error  # of one archive perhaps, while another has it
        if self.find(probe) is None:
            missing = f"apt offers no package {probe} for {self._architecture}"
            raise failed or RecipeError(missing)

    def find(self, name: str) -> Package | None:
        return _shown(["apt-cache", *self._options, "show", "--no-all-versions", name])

    def unpack(self, package: Package, folder: Path) -> Path:
        return _unpacked(["apt-get", *self._options, "download", "--quiet=2"], package, folder)


def ensure_lists(probe: str) -> None:
    """See to it that apt has lists of packages, and that they offer ``probe``.

    Without lists apt may still know ``probe``, from having installed it, but cannot download it.
    """
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise RecipeError(
                f"this image is made from Debian's packages, and there is no {program} here; "
                "make it on a Debian machine and copy the cache folder"
            )
    if not _has_lists() and os.geteuid() == 0:
        _run(["apt-get", "update", "--quiet=2"])
    if not _has_lists():
        raise RecipeError(
            "apt has no lists of packages on this machine; run 'apt-get update' as root, "
            "with a network, and try again"
        )
    if find(probe) is None:
        raise RecipeError(
            f"apt offers no package {probe}, which Debian for amd64 has; "
            "make this image on such a machine and copy the cache folder"
        )


def _has_lists() -> bool:
    """Whether apt has fetched any list of packages."""
    done = _start(["apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"])
    return done.returncode == 0 and bool(done.stdout.strip())


def find(name: str) -> Package | None:
    """The version of a package that would be installed, or ``None``."""
    return _shown(["apt-cache", "show", "--no-all-versions", name])


def _shown(command: list[str]) -> Package | None:
    done = _start(command)
    fields: dict[str, str] = {}
    for line in done.stdout.splitlines():
        key, colon, value = line.partition(": ")
        if colon and not line.startswith(" "):
            fields.setdefault(key, value)
    if done.returncode or "Version" not in fields:
        return None
    depends, size = fields.get("Depends", ""), int(fields.get("Size", "0"))
    return Package(fields["Package"], fields["Version"], depends, size)


def offered(name: str, look: Callable[[str], Package | None] | None = None) -> Package:
    """The same, or ``RecipeError`` if apt has none; ``look`` is where to look instead."""
    package = (look or find)(name)
    if package is None:
        raise RecipeError(f"apt offers no package {name}; run 'apt-get update' and try again")
    return package


def downloading(package: Package) -> str:
    """What a person is told while it comes."""
    return f"downloading {package.name} {package.version}, {package.size / 1e6:.1f} MB"


def unpack(package: Package, folder: Path) -> Path:
    """Download one package and unpack it below ``folder``; returns the root of its files."""
    command = ["apt-get", "download", "--quiet=2"]
    if os.geteuid() == 0:
        command += ["--option", "APT::Sandbox::User=root"]  # the folder belongs to us, not to _apt
    return _unpacked(command, package, folder)


def _unpacked(command: list[str], package: Package, folder: Path) -> Path:
    downloads = folder / "downloads"
    root = folder / package.name
    downloads.mkdir(exist_ok=True)
    _run([*command, f"{package.name}={package.version}"], downloads)
    archive = next(downloads.glob(f"{package.name}_*.deb"))
    _run(["dpkg-deb", "--extract", str(archive), str(root)])
    archive.unlink()
    return root


def _run(command: list[str], folder: Path | None = None) -> None:
    done = _start(command, folder)
    if done.returncode:
        reason = _reason(done.stderr) or f"status {done.returncode}"
        raise RecipeError(f"'{' '.join(command[:2])}' failed: {reason}")


def _reason(messages: str) -> str:
    """What a program says is wrong: apt marks it, dpkg says it last."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    marked = [line.removeprefix("E:").strip() for line in lines if line.startswith("E:")]
    reason = (marked or lines[-1:] or [""])[0].rstrip(".")
    unreachable = re.fullmatch(r"Failed to fetch \S+\s+(.+)", reason)
    if unreachable is None:
        return reason
    return (
        f"{unreachable[1]}; look after the network, "
        "or run 'apt-get update' as root if the lists are old, and try again"
    )


def _start(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
    )


def _environment() -> dict[str, str]:
    """Messages in English, and no question to anybody."""
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
