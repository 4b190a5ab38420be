"""Debian packages, downloaded and unpacked by apt's and dpkg's own programs as an ordinary user.

The programs check the archive's signatures with the machine's keys; nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from images.recipes import RecipeError


class Package(NamedTuple):
    """A version of a package that the machine's lists offer."""

    name: str
    version: str
    depends: str
    """Its dependencies in Debian's notation."""


def ensure_lists(probe: str) -> None:
    """See to it that apt knows packages at all; ``probe`` is one that every list has."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise RecipeError(
                f"this image is made from Debian's packages, and there is no {program} here; "
                "make it on a Debian machine and copy the cache folder"
            )
    if find(probe) is not None:
        return
    if os.geteuid() == 0:
        _run(["apt-get", "update", "--quiet=2"])
    if find(probe) is None:
        raise RecipeError(
            f"apt offers no package {probe} on this machine; run 'apt-get update' as root "
            "on Debian, and try again"
        )


def find(name: str) -> Package | None:
    """The version of a package that would be installed, or ``None``."""
    done = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", name],
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
    )
    fields: dict[str, str] = {}
    for line in done.stdout.splitlines():
        key, colon, value = line.partition(": ")
        if colon and not line.startswith(" "):
            fields.setdefault(key, value)
    if done.returncode or "Version" not in fields:
        return None
    return Package(fields["Package"], fields["Version"], fields.get("Depends", ""))


def unpack(package: Package, folder: Path) -> Path:
    """Download one package and unpack it below ``folder``; returns the root of its files."""
    downloads = folder / "downloads"
    root = folder / package.name
    downloads.mkdir(exist_ok=True)
    command = ["apt-get", "download", "--quiet=2"]
    if os.geteuid() == 0:
        command += ["--option", "APT::Sandbox::User=root"]  # the folder belongs to us, not to _apt
    _run([*command, f"{package.name}={package.version}"], downloads)
    archive = next(downloads.glob(f"{package.name}_*.deb"))
    _run(["dpkg-deb", "--extract", str(archive), str(root)])
    archive.unlink()
    return root


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        reason = lines[0].removeprefix("E:").strip() if lines else f"status {done.returncode}"
        raise RecipeError(f"'{' '.join(command[:2])}' failed: {reason.rstrip('.')}")


def _environment() -> dict[str, str]:
    """Messages in English, and no question to anybody."""
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
