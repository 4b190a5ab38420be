"""Disks of a guest from the command line: image files, their formats, and the processes they need.

A raw image is a block driver; a qcow2 image is a driver with a store before it, and as many more of
both as there are backing files below it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast

from images import cache
from servers.init.description import (
    DeviceEntry,
    DiskEntry,
    ProcessEntry,
)
from servers.store.header import PROBE, Header, ImageError, empty, is_qcow2, parse
from tools.errors import UserError

Interface = Literal["virtio", "ide", "ahci"]
Format = Literal["", "raw", "qcow2"]

SYNTAX: Final = "F[:ro][:ide|:ahci|:virtio][:raw|:qcow2][:overlay=G][:encrypt][:integrity]"
DEEPEST: Final = 16
"""Images in a chain of backing files at most."""
SLACK: Final = 64 << 20
"""Bytes that an image may grow beyond the size of its disk."""


class Wanted(NamedTuple):
    """What one ``--disk`` or ``--cdrom`` asks for."""

    path: str
    writable: bool = True
    interface: Interface = "virtio"
    format: Format = ""
    """Empty: what the file's header says."""
    overlay: str = ""
    """The file that takes what is written in place of ``path``."""
    cdrom: bool = False
    encrypt: bool = False
    integrity: bool = False
    """Whether the VMM protects it; its store is beside the file that is written."""


class Parts(NamedTuple):
    """What a description gets."""

    devices: list[DeviceEntry]
    processes: list[ProcessEntry]
    disks: list[DiskEntry]


def parse_disk(argument: str) -> Wanted:
    """A disk from the text after ``--disk``; raises ``UserError``."""
    path, options = argument, []
    while True:
        rest, colon, word = path.rpartition(":")
        if not colon or not (word in _WORDS or word.startswith("overlay=")):
            break
        path = rest
        options.append(word)
    wanted = Wanted(path)
    for word in options:
        if word == "ro":
            wanted = wanted._replace(writable=False)
        elif word.startswith("overlay="):
            wanted = wanted._replace(overlay=word.removeprefix("overlay="))
        elif word == "encrypt":
            wanted = wanted._replace(encrypt=True)
        elif word == "integrity":
            wanted = wanted._replace(integrity=True)
        elif word in ("raw", "qcow2"):
            wanted = wanted._replace(format=cast(Format, word))
        else:
            wanted = wanted._replace(interface=cast(Interface, word))
    if not wanted.path or (wanted.overlay and not wanted.writable):
        raise UserError(f"--disk {argument}: it is {SYNTAX}, and an overlay is written to", 2)
    return wanted


_WORDS: Final = frozenset(("ro", "virtio", "ide", "ahci", "raw", "qcow2", "encrypt", "integrity"))


def expand(wanted: list[Wanted]) -> Parts:
    """Devices, processes and disks; raises ``UserError``.  A missing overlay is made."""
    parts = Parts([], [], [])
    for index, disk in enumerate(wanted):
        if disk.overlay:
            _make_overlay(disk)
            disk = disk._replace(path=disk.overlay, format="qcow2")
        source = _chain(parts, f"{index}", _file(disk.path), disk.format, disk.writable, 0)
        parts.disks.append(
            DiskEntry(
                source=source,
                writable=disk.writable,
                interface=disk.interface,
                cdrom=disk.cdrom,
                encrypt=disk.encrypt,
                integrity=disk.integrity,
                store=f"{_file(disk.path)}.store",
            )
        )
    return parts


def _file(path: str) -> Path:
    """The file of an image, which can be read."""
    if path.startswith("image:"):
        found = cache.folder() / "images" / path.removeprefix("image:")
    else:
        found = Path(path)
    if not found.exists():
        raise UserError(f"the disk {path} does not exist")
    if found.is_dir():
        raise UserError(f"{path} is not a file")
    try:
        with found.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"cannot read the disk {path}: {error.strerror}") from None
    return found.resolve()


def _header(path: Path, expected: Format) -> Header | None:
    """A qcow2 image's header; None of a raw one."""
    if expected == "raw":
        return None
    with path.open("rb") as file:
        data = file.read(PROBE)
    if not expected and not is_qcow2(data):
        return None
    try:
        return parse(data)
    except ImageError as error:
        raise UserError(f"the disk {path} cannot be used: {error}") from None


def _chain(
    parts: Parts, name: str, path: Path, expected: Format, writable: bool, depth: int
) -> str:
    """Add what serves an image; returns the process that offers its disk."""
    header = _header(path, expected)
    if header is None:
        return _driver(parts, name, path, writable, 0)
    if depth == DEEPEST:
        raise UserError(f"the disk {path} has more than {DEEPEST} backing files below each other")
    size = path.stat().st_size + header.size + header.size // 256 + SLACK if writable else 0
    holds = [f"image={_driver(parts, name, path, writable, size)}"]
    if header.backing:
        below = _backing(path, header)
        format_ = cast(Format, header.backing_format)
        holds.append(f"backing={_chain(parts, f'{name}-base', below, format_, False, depth + 1)}")
    parts.processes.append(
        ProcessEntry(
            name=f"store{name}",
            program="servers.store",
            holds=holds,
            offers=["block"],
            label="drivers",
            priority=115,
            memory="256MiB",
            config={"read_only": not writable},
        )
    )
    return f"store{name}"


def _backing(path: Path, header: Header) -> Path:
    """The file below an image; its name is relative to the image."""
    if header.backing_format not in ("raw", "qcow2"):
        said = header.backing_format or "not said"
        raise UserError(
            f"the disk {path} cannot be used: the format of its backing file is {said}; "
            f"say it with 'qemu-img rebase -u -b {header.backing} -F raw|qcow2'"
        )
    return _file(os.path.join(path.parent, header.backing))


def _driver(parts: Parts, name: str, path: Path, writable: bool, size: int) -> str:
    """Add a file and its block driver; ``size`` if it may grow."""
    device = f"disk{name}"
    parts.devices.append(DeviceEntry(name=device, file=str(path), writable=writable))
    parts.processes.append(
        ProcessEntry(
            name=f"block{name}",
            program="drivers.block",
            holds=[f"disk=device:{device}"],
            offers=["block"],
            label="drivers",
            priority=120,
            config={"read_only": not writable, "size": size},
        )
    )
    return f"block{name}"


def _make_overlay(disk: Wanted) -> None:
    """See to it that the overlay is there, and lies over this disk."""
    base, overlay = _file(disk.path), Path(disk.overlay)
    below = _header(base, disk.format)
    if overlay.exists():
        header = _header(_file(disk.overlay), "qcow2")
        assert header is not None
        if not header.backing or _backing(overlay, header) != base:
            raise UserError(
                f"the overlay {overlay} is not one of {base}: its backing file is "
                f"{header.backing or 'none'}"
            )
        return
    size = below.size if below else base.stat().st_size
    try:
        made = empty(size, str(base), "qcow2" if below else "raw")
        cache.write(overlay.absolute(), made)
    except ImageError as error:
        raise UserError(f"the overlay {overlay} cannot be made: {error}") from None
    except OSError as error:
        raise UserError(f"cannot write the overlay {overlay}: {error.strerror}") from None
