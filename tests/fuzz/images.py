"""Images that users hand in: any is loaded, or refused in one sentence."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from typing import Final

from tests.fuzz.source import Source
from tests.vmm.boot.test_linux_boot import bzimage, elf, pack_xz
from tests.vmm.boot.test_multiboot import elf32
from tests.vmm.boot.test_pvh import vmlinux
from tests.vmm.rig import new_memory
from vmm.boot import BootError, linux, multiboot, pvh
from vmm.boot.payload import unpack
from vmm.config import MIB
from vmm.engine.interface import Registers

MEMORY: Final = 24 * MIB
GZIP: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush() + struct.pack("<I", len(data))


def _flat() -> bytes:
    base, flags = 0x10_0000, 1 << 16
    fields = (multiboot.MAGIC, flags, -(multiboot.MAGIC + flags) & 0xFFFF_FFFF)
    return struct.pack("<8I", *fields, base, base, 0, base + 0x1000, base + 32) + b"\x90\xf4"


@cache
def bases() -> tuple[bytes, ...]:
    """Images that are right."""
    return (
        bzimage(),
        bzimage(_gzip(elf())),
        bzimage(elf() + bytes(8)),
        _flat(),
        elf32(b"\x90\xf4"),
        vmlinux(),
    )


@cache
def payloads() -> tuple[bytes, ...]:
    """Packed kernels that are right, and headers of formats."""
    block = b"\x02\x21\x4c\x18" + struct.pack("<I", 3) + b"\x10a\0" + struct.pack("<I", 2)
    return pack_xz(elf()), _gzip(elf()), block, b"BZh9" + bytes(20), b"\x5d\0\0" + bytes(30)


def _refused(error: BootError) -> None:
    assert str(error) and "\n" not in str(error), repr(str(error))


def _check(registers: Registers) -> None:
    """How a guest is started: numbers that a CPU can hold."""
    assert all(0 <= value < 1 << 64 for value in (*registers.general, registers.rip))


def load(image: bytes, module: bytes, command_line: str, randomise: bool) -> None:
    """Load an image as the board does."""
    memory = new_memory(MEMORY)
    try:
        if multiboot.is_multiboot(image):
            _check(multiboot.load(memory, image, module, command_line))
        elif pvh.is_elf64(image):
            _check(pvh.load(memory, image, module, command_line, rsdp=linux.ACPI_START))
        else:
            rsdp = linux.ACPI_START
            found = linux.load(memory, image, module, command_line, rsdp=rsdp, randomise=randomise)
            _check(found)
    except BootError as error:
        _refused(error)


def target(data: bytes) -> None:
    """An image that is nearly right, with an initial RAM disk and a command line."""
    source = Source(data)
    module = bytes(source.pick((0, 0, 1, 4096, 20 * MIB)))
    line = "x" * source.pick((0, 1, 255, 256, 2047, 2048, 0x1_0000))
    randomise, base = source.chance(4), source.pick(bases())
    for _ in range(source.count(3)):  # a field of a header, whole
        size = source.pick((1, 2, 4, 8))
        at = source.number(2) % len(base)
        base = base[:at] + source.unsigned(8 * size).to_bytes(size, "little") + base[at + size :]
    load(source.edited(base) if source.chance(2) else base, module, line, randomise)


def raw(data: bytes) -> None:
    """The bytes themselves, as an image."""
    load(data, b"", "", False)


def packed(data: bytes) -> None:
    """The bytes themselves, as a packed kernel: no more comes out than it says."""
    try:
        found = unpack(data)
    except BootError as error:
        return _refused(error)
    assert found is None or len(found) <= int.from_bytes(data[-4:], "little")
    return None


def payload(data: bytes) -> None:
    """A packed kernel that is nearly right."""
    source = Source(data)
    packed(source.edited(source.pick(payloads())))


def kernel(data: bytes) -> None:
    """An unpacked kernel that is nearly right, packed again."""
    source = Source(data)
    found = source.edited(elf())
    for _ in range(source.count(3)):
        at = source.number() % 120
        found = found[:at] + source.unsigned(64).to_bytes(8, "little") + found[at + 8 :]
    load(bzimage(_gzip(found)), b"", "", False)
