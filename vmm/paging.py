"""Walking the guest's page tables, for reports and debuggers (Intel SDM volume 3, chapter 4)."""

from __future__ import annotations

import struct

from vmm.engine.interface import Registers
from vmm.memory import PAGE, GuestAddressError, GuestMemory

CR0_PG = 1 << 31
CR4_PAE = 1 << 5
EFER_LMA = 1 << 10
PRESENT, LARGE = 1, 1 << 7
ADDRESS_MASK = 0x000F_FFFF_FFFF_F000
ENTRY_32, ENTRY_64 = struct.Struct("<I"), struct.Struct("<Q")


def translate(registers: Registers, memory: GuestMemory, linear: int) -> int | None:
    """The guest-physical address of a linear one, or None where nothing is mapped."""
    if not registers.cr0 & CR0_PG:
        return linear & 0xFFFF_FFFF
    if registers.efer & EFER_LMA:
        levels, bits, layout, top = 4, 9, ENTRY_64, registers.cr3 & ADDRESS_MASK
    elif registers.cr4 & CR4_PAE:
        levels, bits, layout, top = 3, 9, ENTRY_64, registers.cr3 & 0xFFFF_FFE0
    else:
        levels, bits, layout, top = 2, 10, ENTRY_32, registers.cr3 & 0xFFFF_F000
    table = top
    for level in range(levels - 1, -1, -1):
        shift = 12 + bits * level
        index = linear >> shift & (1 << bits) - 1
        try:
            (entry,) = memory.read_struct(layout, table + index * layout.size)
        except GuestAddressError:
            return None
        if not entry & PRESENT:
            return None
        table = entry & (ADDRESS_MASK if layout is ENTRY_64 else 0xFFFF_F000)
        may_be_large = level == 1 or (level == 2 and levels == 4)
        if level == 0 or (may_be_large and entry & LARGE):
            offset = (1 << shift) - 1
            return table & ~offset | linear & offset
    return None


def read_linear(registers: Registers, memory: GuestMemory, linear: int, length: int) -> bytes:
    """What is mapped at ``linear``: fewer bytes than asked for where the mapping ends."""
    data = b""
    while len(data) < length:
        address = linear + len(data)
        physical = translate(registers, memory, address)
        if physical is None:
            break
        room = min(PAGE - address % PAGE, length - len(data))
        try:
            data += memory.read(physical, room)
        except GuestAddressError:
            break
    return data
