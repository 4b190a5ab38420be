"""CPU states without real mode, for kernels that are entered in 32-bit or 64-bit code."""

from __future__ import annotations

import struct

from vmm.engine.interface import Registers, Segment, Table
from vmm.memory import GuestMemory

CODE, DATA = 0x10, 0x18
"""Selectors: the ones that the Linux boot protocol asks for."""
FLAGS_CODE_32 = 0x00C0_9B00
FLAGS_CODE_64 = 0x00A0_9B00
FLAGS_DATA = 0x00C0_9300
FLAGS_TSS = 0x0000_8B00
GDT_AT = 0x500
PAGE_TABLES_AT = 0x9000
"""Six pages: the identity map of the first 4 GiB."""

CR0_PE, CR0_ET, CR0_PG = 1, 1 << 4, 1 << 31
CR4_PAE = 1 << 5
EFER_LME, EFER_LMA = 1 << 8, 1 << 10


def protected_mode(memory: GuestMemory, entry: int) -> Registers:
    """Flat 32-bit segments, paging off, interrupts off."""
    return _flat(memory, entry, FLAGS_CODE_32)


def long_mode(memory: GuestMemory, entry: int) -> Registers:
    """64-bit code, the first 4 GiB mapped to themselves, interrupts off."""
    registers = _flat(memory, entry, FLAGS_CODE_64)
    entries = struct.Struct("<512Q")
    pml4, pdpt, directories = (PAGE_TABLES_AT + 4096 * i for i in range(3))
    memory.write_struct(entries, pml4, pdpt | 3, *[0] * 511)
    tables = [directories + 4096 * i | 3 for i in range(4)]
    memory.write_struct(entries, pdpt, *tables, *[0] * 508)
    for i in range(4):
        pages = [(i << 30) + (j << 21) | 0x83 for j in range(512)]
        memory.write_struct(entries, directories + 4096 * i, *pages)
    registers.cr3 = pml4
    registers.cr4 = CR4_PAE
    registers.efer = EFER_LME | EFER_LMA
    registers.cr0 |= CR0_PG
    return registers


def _flat(memory: GuestMemory, entry: int, code_flags: int) -> Registers:
    def descriptor(flags: int) -> int:
        return flags << 32 | 0xF << 48 | 0xFFFF

    gdt = (0, 0, descriptor(code_flags), descriptor(FLAGS_DATA))
    memory.write_struct(struct.Struct("<4Q"), GDT_AT, *gdt)
    data = Segment(DATA, 0, 0xFFFF_FFFF, FLAGS_DATA)
    return Registers(
        rip=entry,
        es=data,
        cs=Segment(CODE, 0, 0xFFFF_FFFF, code_flags),
        ss=data,
        ds=data,
        fs=data,
        gs=data,
        tr=Segment(0, 0, 0xFFFF, FLAGS_TSS),
        gdtr=Table(GDT_AT, 31),
        cr0=CR0_PE | CR0_ET,
    )
