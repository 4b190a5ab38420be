"""The PVH protocol."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.rig import new_memory
from vmm.boot import BootError, linux, pvh
from vmm.config import MIB

ENTRY = 0x20_0000


def vmlinux(
    address: int = ENTRY, kind: int = 18, entry: int = ENTRY, owner: bytes = b"Xen\0"
) -> bytes:
    """A 64-bit ELF file with one segment and, behind a note of another's, the PVH note."""
    notes = struct.pack("<III8s4s", 5, 4, 1, b"Other", b"abcd")
    notes += struct.pack("<III4sQ", 4, 8, kind, owner, entry)
    code_at, code = 64 + 2 * 56 + len(notes), b"\x90\xf4"
    head = pvh.ELF64 + b"\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, ENTRY, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 4, 4, 64 + 2 * 56, 0, 0, len(notes), len(notes), 4)
    head += struct.pack("<IIQQQQQQ", 1, 7, code_at, 0, address, len(code), 5000, 4096)
    return head + notes + code


def test_entry_and_start_information() -> None:
    memory = new_memory(8 * MIB)
    registers = pvh.load(memory, vmlinux(), b"module", "one two", rsdp=linux.ACPI_START)
    assert registers.rip == ENTRY
    assert registers.cr0 & 1
    assert not registers.cr0 >> 31
    assert memory.read(ENTRY, 2) == b"\x90\xf4"
    start = struct.unpack("<IIIIQQQQII", memory.read(registers.general[3], 56))
    magic, version, _, modules, table, line, rsdp, areas, count, _ = start
    assert (magic, version, modules, rsdp) == (0x336EC578, 1, 1, linux.ACPI_START)
    assert memory.read(line, 8) == b"one two\0"
    at, size = struct.unpack("<QQ", memory.read(table, 16))
    assert at >= ENTRY + 5000
    assert memory.read(at, size) == b"module"
    found = [struct.unpack("<QQI4x", memory.read(areas + 24 * i, 24)) for i in range(count)]
    assert found == linux.memory_map(memory, rsdp)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (bytes(100), "not a 64-bit ELF"),
        (vmlinux(kind=17), "without Xen's PVH entry note"),
        (vmlinux(owner=b"Foo\0"), "without Xen's PVH entry note"),
        (vmlinux(entry=1 << 32), "beyond 4 GiB"),
        (vmlinux(address=0x1000), "below 1 MiB"),
        (vmlinux(address=0x7000_0000), "too little memory"),
        (vmlinux(address=(1 << 64) - 4096), "too little memory"),
        (vmlinux()[:50], "truncated"),
        (vmlinux()[:-1], "outside the file"),
    ],
)
def test_bad_images(image: bytes, complaint: str) -> None:
    with pytest.raises(BootError, match=complaint):
        pvh.load(new_memory(8 * MIB), image, b"", "")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BootError, match="command line is longer"):
        pvh.load(new_memory(8 * MIB), vmlinux(), b"", "x" * 0x1_0000)
    with pytest.raises(BootError, match="too little memory"):
        pvh.load(new_memory(8 * MIB), vmlinux(), bytes(8 * MIB), "")
