"""The multiboot protocol, version 1 (Multiboot Specification 0.6.96).

A kernel carries a header within its first 8 KiB: magic number, flags, checksum, and with flag 16
the addresses to load it at; without it, it is a 32-bit ELF file.  It is entered in 32-bit protected
mode with EAX = 2BADB002h and EBX = the address of the information structure.
"""

from __future__ import annotations

import struct

from vmm.boot import BootError
from vmm.boot.flat_cpu import protected_mode
from vmm.boot.linux import HIGH_MEMORY, LOW_TOP
from vmm.engine.interface import Registers
from vmm.memory import HIGH_START, PAGE, GuestAddressError, GuestMemory

MAGIC = 0x1BADB002
LOADER_MAGIC = 0x2BADB002
SEARCH = 8192
ADDRESSES_GIVEN = 1 << 16
UNKNOWN_REQUIREMENTS = 0xFFFC
"""Requirement flags (bits 0-15) that this loader does not know and so must not ignore."""
INFO_AT = 0x1_0000
INFO_MEMORY, INFO_COMMAND_LINE, INFO_MODULES, INFO_MEMORY_MAP, INFO_LOADER = 1, 4, 8, 64, 512
MAP_AT, MODULES_AT, NAME_AT, COMMAND_LINE_AT = (INFO_AT + 0x100 * i for i in range(1, 5))
COMMAND_LINE_ROOM = 0x1000
LOADER_NAME = b"Cloister\0"
MAP_RAM = 1


def _find_header(image: bytes) -> int | None:
    for at in range(0, min(len(image), SEARCH) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<III", image, at)
        if magic == MAGIC and (magic + flags + checksum) & 0xFFFF_FFFF == 0:
            return at
    return None


def is_multiboot(image: bytes) -> bool:
    """Whether a multiboot header is in the image."""
    return _find_header(image) is not None


def load(memory: GuestMemory, image: bytes, module: bytes, command_line: str) -> Registers:
    """Put a kernel, one module (if not empty) and the information structure into memory."""
    at = _find_header(image)
    if at is None:
        raise BootError("the kernel is no multiboot kernel: it has no header in its first 8 KiB")
    (flags,) = struct.unpack_from("<I", image, at + 4)
    if flags & UNKNOWN_REQUIREMENTS:
        raise BootError(f"the multiboot kernel requires what is not known here: flags {flags:#x}")
    try:
        if flags & ADDRESSES_GIVEN:
            entry, end = _load_flat(memory, image, at)
        else:
            entry, end = _load_elf32(memory, image)
        info = _information(memory, module, command_line, end)
    except GuestAddressError as error:
        raise BootError(f"too little memory for the multiboot kernel: {error}") from error
    except struct.error as error:
        raise BootError(f"the multiboot kernel is truncated: {error}") from error
    registers = protected_mode(memory, entry)
    registers.general[0] = LOADER_MAGIC
    registers.general[3] = info
    return registers


def _load_flat(memory: GuestMemory, image: bytes, at: int) -> tuple[int, int]:
    """Load by the addresses in the header; returns entry point and end."""
    header, start, load_end, bss_end, entry = struct.unpack_from("<5I", image, at + 12)
    offset = at - (header - start)
    if header < start or offset < 0:
        raise BootError("the multiboot kernel's header has impossible addresses")
    size = load_end - start if load_end else len(image) - offset
    if size < 0 or offset + size > len(image):
        raise BootError("the multiboot kernel is truncated")
    memory.write(start, image[offset : offset + size])
    end = max(start + size, bss_end)
    memory.view(start, end - start)
    return entry, end


def _load_elf32(memory: GuestMemory, image: bytes) -> tuple[int, int]:
    if image[:5] != b"\x7fELF\x01":
        raise BootError("the multiboot kernel is neither flat nor a 32-bit ELF file")
    entry, table = struct.unpack_from("<II", image, 24)
    entry_size, count = struct.unpack_from("<HH", image, 42)
    end = 0
    for i in range(count):
        kind, offset, _, address, in_file, in_memory = struct.unpack_from(
            "<6I", image, table + i * entry_size
        )
        if kind == 1:
            if offset + in_file > len(image) or in_memory < in_file:
                raise BootError("the multiboot kernel is truncated")
            memory.view(address, in_memory)[:in_file] = image[offset : offset + in_file]
            end = max(end, address + in_memory)
    return entry, end


def _information(memory: GuestMemory, module: bytes, command_line: str, end: int) -> int:
    """The structure that EBX points to (3.3)."""
    text = command_line.encode() + b"\0"
    if len(text) > COMMAND_LINE_ROOM:
        raise BootError(f"the command line is longer than {COMMAND_LINE_ROOM - 1} bytes")
    memory.write(COMMAND_LINE_AT, text)
    memory.write(NAME_AT, LOADER_NAME)
    low_top = memory.regions[0].length
    areas = [(0, LOW_TOP), (HIGH_MEMORY, low_top - HIGH_MEMORY)]
    areas += [(HIGH_START, region.length) for region in memory.regions[1:]]
    entries = b"".join(struct.pack("<IQQI", 20, at, size, MAP_RAM) for at, size in areas)
    memory.write(MAP_AT, entries)
    flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MEMORY_MAP | INFO_LOADER
    if module:
        flags |= INFO_MODULES
        start = (max(end, HIGH_MEMORY) + PAGE - 1) & ~(PAGE - 1)
        memory.write(start, module)
        memory.write(MODULES_AT, struct.pack("<IIII", start, start + len(module), 0, 0))
    info = bytearray(116)
    struct.pack_into("<III", info, 0, flags, LOW_TOP >> 10, (low_top - HIGH_MEMORY) >> 10)
    struct.pack_into("<III", info, 16, COMMAND_LINE_AT, bool(module), MODULES_AT)
    struct.pack_into("<II", info, 44, len(entries), MAP_AT)
    struct.pack_into("<I", info, 64, NAME_AT)
    memory.write(INFO_AT, info)
    return INFO_AT
