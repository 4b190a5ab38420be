"""The multiboot protocol."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.rig import multiboot as flat_image
from tests.vmm.rig import new_memory
from vmm.boot import BootError, multiboot
from vmm.config import MIB
from vmm.memory import GuestMemory


def elf32(code: bytes, address: int = 0x20_0000) -> bytes:
    """An ELF file with a multiboot header in front of its code."""
    header = struct.pack("<III", multiboot.MAGIC, 0, -multiboot.MAGIC & 0xFFFF_FFFF)
    head = b"\x7fELF\x01\x01\x01" + bytes(9)
    head += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, address + 12, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    body = header + code
    head += struct.pack("<8I", 1, 84, address, address, len(body), len(body) + 100, 7, 4)
    return head + body


def words(memory: GuestMemory, at: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}I", memory.read(at, 4 * count))


def test_flat_image() -> None:
    memory = new_memory(8 * MIB)
    image = flat_image("nop; hlt")
    assert multiboot.is_multiboot(image)
    registers = multiboot.load(memory, image, b"", "one two")
    assert registers.rip == 0x10_0020
    assert memory.read(registers.rip, 2) == b"\x90\xf4"
    assert registers.general[0] == multiboot.LOADER_MAGIC
    assert registers.cr0 & 1
    assert not registers.cr0 >> 31


def test_elf_image() -> None:
    memory = new_memory(8 * MIB)
    registers = multiboot.load(memory, elf32(b"\x90\xf4"), b"", "")
    assert memory.read(registers.rip, 2) == b"\x90\xf4"


def test_information() -> None:
    memory = new_memory(8 * MIB)
    registers = multiboot.load(memory, flat_image("hlt"), b"module", "one two")
    info = registers.general[3]
    flags, lower, upper = words(memory, info, 3)
    assert flags & 0x4D == 0x4D
    assert (lower, upper) == (639, 7 * 1024)
    command_line, modules, table = words(memory, info + 16, 3)
    assert memory.read(command_line, 8) == b"one two\0"
    assert modules == 1
    start, end = words(memory, table, 2)
    assert memory.read(start, end - start) == b"module"
    assert start % 4096 == 0
    length, address = words(memory, info + 44, 2)
    assert length % 24 == 0
    assert struct.unpack("<IQQI", memory.read(address + 24, 24)) == (20, MIB, 7 * MIB, 1)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (bytes(10_000), "no header"),
        (elf32(b"\xf4")[52:] + bytes(100), "neither flat nor"),
        (elf32(b"\xf4" * 50)[:-4], "truncated"),
        (elf32(b"\xf4", address=0x7000_0000), "too little memory"),
        (struct.pack("<III", multiboot.MAGIC, 4, -multiboot.MAGIC - 4 & 0xFFFF_FFFF), "requires"),
        (flat_image("hlt")[:20], "truncated"),
    ],
)
def test_bad_images(image: bytes, complaint: str) -> None:
    with pytest.raises(BootError, match=complaint):
        multiboot.load(new_memory(8 * MIB), image, b"", "")


def test_long_command_lines_are_refused() -> None:
    with pytest.raises(BootError, match="command line is longer"):
        multiboot.load(new_memory(8 * MIB), flat_image("hlt"), b"", "x" * 5000)
