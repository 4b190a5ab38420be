"""PVH: Xen's direct boot protocol for x86 (docs/misc/pvh.pandoc in Xen's source).

A 64-bit ELF kernel, such as Linux's ``vmlinux``, has a note of owner "Xen" that holds the physical
address of a 32-bit entry point.  It is entered in protected mode with EBX = the address of the
start information (xen/include/public/arch-x86/hvm/start_info.h, version 1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from vmm.boot import BootError
from vmm.boot.flat_cpu import protected_mode
from vmm.boot.linux import HIGH_MEMORY, load_elf64, memory_map
from vmm.engine.interface import Registers
from vmm.memory import PAGE, GuestAddressError, GuestMemory

ELF64: Final = b"\x7fELF\x02\x01"
START_MAGIC: Final = 0x336E_C578
START_AT: Final = 0x1_0000
MODULES_AT: Final = START_AT + 0x100
MAP_AT: Final = START_AT + 0x200
COMMAND_LINE_AT: Final = 0x2_0000
COMMAND_LINE_ROOM: Final = 0x1_0000
_LOAD, _NOTE = 1, 4
_PHYS32_ENTRY: Final = 18
_OWNER: Final = b"Xen\0"
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")


def is_elf64(image: bytes) -> bool:
    """Whether the image is a 64-bit ELF file, which only this protocol starts."""
    return image.startswith(ELF64)


def load(
    memory: GuestMemory, image: bytes, module: bytes, command_line: str, *, rsdp: int = 0
) -> Registers:
    """Put a kernel, one module (if not empty) and the start information into memory.

    ``rsdp`` is the guest-physical address of the ACPI root pointer, or 0.
    """
    if not is_elf64(image):
        raise BootError("the kernel is no PVH kernel: it is not a 64-bit ELF file")
    try:
        segments = list(_segments(image))
        entry = _entry(image, segments)
        loaded = [(at, at + size) for kind, _, _, _, at, _, size, _ in segments if kind == _LOAD]
        if any(start < HIGH_MEMORY for start, _ in loaded):
            raise BootError("the PVH kernel wants to be loaded below 1 MiB, where the firmware is")
        load_elf64(memory, image)
        end = max((end for _, end in loaded), default=HIGH_MEMORY)
        _start_information(memory, module, command_line, end, rsdp)
    except GuestAddressError as error:
        raise BootError(f"too little memory for the PVH kernel: {error}") from error
    except (struct.error, OverflowError) as error:
        raise BootError(f"the PVH kernel is truncated: {error}") from error
    registers = protected_mode(memory, entry)
    registers.general[3] = START_AT
    return registers


def _segments(image: bytes) -> Iterator[tuple[int, ...]]:
    """The program headers."""
    (table,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    for i in range(count):
        yield _SEGMENT.unpack_from(image, table + i * size)


def _entry(image: bytes, segments: list[tuple[int, ...]]) -> int:
    """What the note says (System V ABI, "Note Section"; Xen's elfnote.h)."""
    for kind, _, offset, _, _, length, _, _ in segments:
        if kind != _NOTE:
            continue
        notes = image[offset : offset + length]
        at = 0
        while at + 12 <= len(notes):
            name_size, size, note = struct.unpack_from("<III", notes, at)
            name_at = at + 12
            value_at = name_at + (name_size + 3 & ~3)
            value = notes[value_at : value_at + size]
            owner = notes[name_at : name_at + name_size]
            if owner == _OWNER and note == _PHYS32_ENTRY and len(value) in (4, 8):
                entry = int.from_bytes(value, "little")
                if entry >> 32:
                    raise BootError("the PVH kernel's entry point lies beyond 4 GiB")
                return entry
            at = value_at + (size + 3 & ~3)
    raise BootError("the kernel is an ELF file without Xen's PVH entry note; give a bzImage")


def _start_information(
    memory: GuestMemory, module: bytes, command_line: str, end: int, rsdp: int
) -> None:
    text = command_line.encode() + b"\0"
    if len(text) > COMMAND_LINE_ROOM:
        raise BootError(f"the command line is longer than {COMMAND_LINE_ROOM - 1} bytes")
    memory.write(COMMAND_LINE_AT, text)
    areas = memory_map(memory, rsdp)
    memory.write(MAP_AT, b"".join(struct.pack("<QQII", *area, 0) for area in areas))
    if module:
        start = (end + PAGE - 1) & ~(PAGE - 1)
        memory.write(start, module)
        memory.write(MODULES_AT, struct.pack("<QQQQ", start, len(module), 0, 0))
    information = struct.pack(
        "<IIIIQQQQII",
        *(START_MAGIC, 1, 0, bool(module), MODULES_AT if module else 0),
        *(COMMAND_LINE_AT, rsdp, MAP_AT, len(areas), 0),
    )
    memory.write(START_AT, information)
