"""The Linux/x86 boot protocol (Documentation/x86/boot.rst in the kernel's source).

A bzImage is a setup header, real-mode code, and a program that unpacks the real kernel, an ELF
file, out of its payload.  That program is a large part of a boot on a software CPU, so where it can
be the payload is unpacked here and the ELF file entered by the 64-bit protocol.  Otherwise, or when
the machine's configuration asks for address randomisation, which is the program's work, the image
is entered by the 32-bit protocol and does everything itself.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from vmm.boot import BootError
from vmm.boot.flat_cpu import long_mode, protected_mode
from vmm.boot.payload import unpack
from vmm.engine.interface import Registers
from vmm.memory import HIGH_START, PAGE, GuestAddressError, GuestMemory

SETUP_END = 0x202
MAGIC = b"HdrS"
MIN_VERSION = 0x20A
"""2.10: the first with ``pref_address`` and ``init_size``; Linux 2.6.31."""
HEADER_END = 0x268
"""Where the header of ``MIN_VERSION`` ends in the file."""
LOADED_HIGH = 1
XLF_KERNEL_64 = 1

BOOT_PARAMS_AT = 0x1_0000
COMMAND_LINE_AT = 0x2_0000
COMMAND_LINE_ROOM = 0x1_0000
LOW_TOP = 0x9_FC00
"""The end of conventional memory; above it a PC keeps its extended BIOS data area."""
ACPI_START, ACPI_END = 0xE_0000, 0x10_0000
HIGH_MEMORY = 0x10_0000
E820_RAM, E820_RESERVED, E820_ACPI = 1, 2, 3

# Offsets in boot_params ("zero page"; arch/x86/include/uapi/asm/bootparam.h)
BP_ACPI_RSDP = 0x070
BP_E820_COUNT = 0x1E8
BP_HEADER = 0x1F1
BP_E820 = 0x2D0


class Header(NamedTuple):
    """The fields of the setup header that matter to a loader."""

    setup_size: int
    """Bytes before the protected-mode code."""
    end: int
    """Where the header ends in the file."""
    version: int
    initrd_max: int
    command_line_max: int
    xloadflags: int
    payload_offset: int
    payload_length: int
    preferred_address: int
    init_size: int


def parse_header(image: bytes, oldest: int = MIN_VERSION) -> Header:
    """Read the setup header; raise ``BootError`` for what is no bzImage that can be started.

    A loader that needs less may take an ``oldest`` version of the protocol that is older than
    ours; fields that the header does not have are zero.
    """
    if len(image) < HEADER_END:
        raise BootError(f"the kernel is no bzImage: it has only {len(image)} bytes")
    if image[SETUP_END : SETUP_END + 4] != MAGIC:
        raise BootError("the kernel is no bzImage: the setup header's magic number is missing")
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < oldest:
        raise BootError(
            f"the kernel's boot protocol {version >> 8}.{version & 0xFF:02} is older than "
            f"{oldest >> 8}.{oldest & 0xFF}"
        )
    if not image[0x211] & LOADED_HIGH:
        raise BootError("the kernel is a zImage, which loads low; only bzImages can be started")
    setup_size = ((image[0x1F1] or 4) + 1) * 512
    end = SETUP_END + image[0x201]
    (paragraphs,) = struct.unpack_from("<I", image, 0x1F4)
    fields = image[:end].ljust(HEADER_END, b"\0")
    header = Header(
        setup_size,
        end,
        version,
        struct.unpack_from("<I", fields, 0x22C)[0],
        struct.unpack_from("<I", fields, 0x238)[0],
        struct.unpack_from("<H", fields, 0x236)[0] if version >= 0x20C else 0,
        *struct.unpack_from("<II", fields, 0x248),
        *struct.unpack_from("<QI", fields, 0x258),
    )
    wanted = setup_size + 16 * paragraphs
    if len(image) + 15 < wanted:  # the last paragraph may be cut
        raise BootError(f"the kernel is truncated: {len(image)} bytes of {wanted}")
    if not (HEADER_END if version >= MIN_VERSION else 0x230) <= end <= setup_size:
        raise BootError("the kernel's setup header has an impossible length")
    return header


def load(
    memory: GuestMemory,
    image: bytes,
    initrd: bytes,
    command_line: str,
    *,
    rsdp: int = 0,
    randomise: bool = False,
    screen: bytes = b"",
) -> Registers:
    """Put a kernel, its initrd and its parameters into memory; return how to start it.

    ``rsdp`` is the guest-physical address of the ACPI root pointer, or 0; ``screen`` is the
    beginning of the boot parameters, which says what the screen shows.
    """
    header = parse_header(image)
    low_top = memory.regions[0].length
    kernel_size = max(header.init_size, len(image) - header.setup_size)
    kernel_end = header.preferred_address + kernel_size
    if kernel_end > low_top:
        raise BootError(
            f"too little memory: the kernel needs {_mib(kernel_end)} MiB "
            f"and the machine has {_mib(low_top)}"
        )
    initrd_at = _place_initrd(header, initrd, kernel_end, low_top)
    text = command_line.encode()
    if len(text) >= min(header.command_line_max + 1, COMMAND_LINE_ROOM):
        raise BootError(
            f"the kernel's command line is {len(text)} bytes long; "
            f"the kernel takes {header.command_line_max}"
        )
    memory.write(initrd_at, initrd)
    memory.write(COMMAND_LINE_AT, text + b"\0")
    memory.write(BOOT_PARAMS_AT, _boot_params(header, image, memory, initrd_at, len(initrd), rsdp))
    memory.write(BOOT_PARAMS_AT, screen)
    entry = None if randomise else _load_unpacked(memory, header, image)
    if entry is not None:
        registers = long_mode(memory, entry)
    else:
        memory.write(header.preferred_address, image[header.setup_size :])
        registers = protected_mode(memory, header.preferred_address)
    registers.general[6] = BOOT_PARAMS_AT
    return registers


def _mib(size: int) -> int:
    return -(-size >> 20)


def _place_initrd(header: Header, initrd: bytes, kernel_end: int, low_top: int) -> int:
    """As high as the kernel allows, page aligned."""
    if not initrd:
        return 0
    top = min(low_top, header.initrd_max + 1)
    address = (top - len(initrd)) & ~(PAGE - 1)
    if address < kernel_end:
        raise BootError(
            f"too little memory: kernel and initrd need {_mib(kernel_end + len(initrd) + PAGE)} "
            f"MiB and the machine has {_mib(low_top)}"
        )
    return address


def _boot_params(
    header: Header, image: bytes, memory: GuestMemory, initrd_at: int, initrd_size: int, rsdp: int
) -> bytes:
    params = bytearray(PAGE)
    params[BP_HEADER : header.end] = image[BP_HEADER : header.end]
    params[0x210] = 0xFF  # type of loader: none that is registered
    params[0x211] |= LOADED_HIGH
    struct.pack_into("<II", params, 0x218, initrd_at, initrd_size)
    struct.pack_into("<I", params, 0x228, COMMAND_LINE_AT)
    struct.pack_into("<I", params, 0x214, header.preferred_address)
    struct.pack_into("<Q", params, BP_ACPI_RSDP, rsdp)
    entries = memory_map(memory, rsdp)
    params[BP_E820_COUNT] = len(entries)
    for i, entry in enumerate(entries):
        struct.pack_into("<QQI", params, BP_E820 + 20 * i, *entry)
    return bytes(params)


def memory_map(memory: GuestMemory, rsdp: int) -> list[tuple[int, int, int]]:
    """Start, length and kind of each range of addresses, kinds as ACPI has them (15.1)."""
    entries = [
        (0, LOW_TOP, E820_RAM),
        (LOW_TOP, 0xA_0000 - LOW_TOP, E820_RESERVED),
        (ACPI_START, ACPI_END - ACPI_START, E820_ACPI if rsdp else E820_RESERVED),
        (HIGH_MEMORY, memory.regions[0].length - HIGH_MEMORY, E820_RAM),
    ]
    entries += [(HIGH_START, region.length, E820_RAM) for region in memory.regions[1:]]
    return entries


def _load_unpacked(memory: GuestMemory, header: Header, image: bytes) -> int | None:
    """Unpack the payload and load the ELF file in it; None where that cannot be done here."""
    if not header.xloadflags & XLF_KERNEL_64 or not header.payload_length:
        return None
    start = header.setup_size + header.payload_offset
    elf = unpack(image[start : start + header.payload_length])
    if elf is None or elf[:5] != b"\x7fELF\x02":
        return None
    try:
        return load_elf64(memory, elf)
    except (struct.error, OverflowError, GuestAddressError) as error:
        raise BootError(f"the kernel's payload is damaged: {error}") from error


def load_elf64(memory: GuestMemory, elf: bytes) -> int:
    """Copy the loadable segments to their physical addresses; return the entry point.

    Memory beyond a segment's file contents is zero already in a machine that starts.
    """
    entry, table = struct.unpack_from("<QQ", elf, 24)
    entry_size, count = struct.unpack_from("<HH", elf, 54)
    contents = memoryview(elf)
    for i in range(count):
        kind, _, offset, _, address, in_file, in_memory, _ = struct.unpack_from(
            "<IIQQQQQQ", elf, table + i * entry_size
        )
        if kind == 1:
            if offset + in_file > len(elf) or in_memory < in_file:
                raise BootError("the kernel is damaged: a segment lies outside the file")
            window = memory.view(address, in_memory)
            window[:in_file] = contents[offset : offset + in_file]
    return int(entry)
