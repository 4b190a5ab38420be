"""Tables that firmware puts into memory itself: QEMU's table loader.

Three kinds of files for ``fw_cfg``: what is to be in memory, the root pointer, and commands of 128
octets each that say how to put it there and what to fill in (QEMU, hw/acpi/bios-linker-loader).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from vmm.acpi.image import ALIGNMENT, CHECKSUM_AT
from vmm.acpi.tables import Tables, root_pointer

TABLES: Final = "etc/acpi/tables"
ROOT: Final = "etc/acpi/rsdp"
COMMANDS: Final = "etc/table-loader"
HIGH, BELOW_1M = 1, 2
"""Zones of memory: anywhere, or where the root pointer is looked for."""
_ALLOCATE, _POINT, _CHECKSUM = 1, 2, 3
_SIZE: Final = 128
RSDT_AT, XSDT_AT = 16, 24
"""In the root pointer."""
_ROOT_SUMS: Final = ((8, 20), (32, 36))
"""Its checksums: where they are, and of how many octets."""


class Area(NamedTuple):
    """A file that goes to memory, to which a table points."""

    file: str
    size: int
    signature: bytes
    """The table's."""
    pointer_at: int
    """Where in the table its address is, in eight octets."""


def _command(layout: str, *values: bytes | int) -> bytes:
    return struct.pack(f"<I{layout}", *values).ljust(_SIZE, b"\0")


def allocate(file: str, alignment: int, zone: int) -> bytes:
    """Put a file into memory."""
    return _command("56sIB", _ALLOCATE, file.encode(), alignment, zone)


def point(file: str, target: str, at: int, size: int) -> bytes:
    """Add the address of ``target`` to the ``size`` octets at ``at`` of ``file``."""
    return _command("56s56sIB", _POINT, file.encode(), target.encode(), at, size)


def checksum(file: str, at: int, start: int, length: int) -> bytes:
    """Make the octet at ``at`` such that the sum of ``length`` octets from ``start`` is zero."""
    return _command("56sIII", _CHECKSUM, file.encode(), at, start, length)


def files(tables: Tables, areas: Sequence[Area] = ()) -> dict[str, bytes]:
    """The files by name; addresses in them are offsets, to which the loader adds."""
    image = tables.image
    commands = [allocate(ROOT, 16, BELOW_1M), allocate(TABLES, ALIGNMENT, HIGH)]
    commands += [allocate(area.file, 4096, HIGH) for area in areas]
    commands += [point(TABLES, TABLES, at, size) for at, size, _ in image.pointers]
    data = bytearray(image.data)
    for area in areas:
        at = _find(tables, area.signature) + area.pointer_at
        data[at : at + 8] = bytes(8)
        commands.append(point(TABLES, area.file, at, 8))
    for start, length in image.tables:
        data[start + CHECKSUM_AT] = 0
        commands.append(checksum(TABLES, start + CHECKSUM_AT, start, length))
    root = bytearray(root_pointer(tables.rsdt, tables.xsdt))
    commands += [point(ROOT, TABLES, RSDT_AT, 4), point(ROOT, TABLES, XSDT_AT, 8)]
    for at, length in _ROOT_SUMS:
        root[at] = 0
        commands.append(checksum(ROOT, at, 0, length))
    made = {TABLES: bytes(data), ROOT: bytes(root), COMMANDS: b"".join(commands)}
    return made | {area.file: bytes(area.size) for area in areas}


def _find(tables: Tables, signature: bytes) -> int:
    """Where a table begins."""
    data = tables.image.data
    return next(start for start, _ in tables.image.tables if data[start : start + 4] == signature)
