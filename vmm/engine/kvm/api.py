"""Linux's KVM interface (Documentation/virt/kvm/api.rst of the kernel): numbers and structures."""

from __future__ import annotations

import ctypes
from typing import Final

_KVMIO: Final = 0xAE << 8


def _io(number: int) -> int:
    return _KVMIO | number


def _ior(number: int, size: int) -> int:
    return 2 << 30 | size << 16 | _KVMIO | number


def _iow(number: int, size: int) -> int:
    return 1 << 30 | size << 16 | _KVMIO | number


def _iowr(number: int, size: int) -> int:
    return 3 << 30 | size << 16 | _KVMIO | number


class Segment(ctypes.Structure):
    _fields_ = [
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("selector", ctypes.c_uint16),
        ("type", ctypes.c_uint8),
        ("present", ctypes.c_uint8),
        ("dpl", ctypes.c_uint8),
        ("db", ctypes.c_uint8),
        ("s", ctypes.c_uint8),
        ("l", ctypes.c_uint8),
        ("g", ctypes.c_uint8),
        ("avl", ctypes.c_uint8),
        ("unusable", ctypes.c_uint8),
        ("padding", ctypes.c_uint8),
    ]


class Table(ctypes.Structure):
    _fields_ = [
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint16),
        ("padding", ctypes.c_uint16 * 3),
    ]


class Regs(ctypes.Structure):
    """General registers in the structure's order: RAX RBX RCX RDX RSI RDI RSP RBP R8 to R15."""

    _fields_ = [
        ("general", ctypes.c_uint64 * 16),
        ("rip", ctypes.c_uint64),
        ("rflags", ctypes.c_uint64),
    ]


class Sregs(ctypes.Structure):
    _fields_ = [
        ("cs", Segment),
        ("ds", Segment),
        ("es", Segment),
        ("fs", Segment),
        ("gs", Segment),
        ("ss", Segment),
        ("tr", Segment),
        ("ldt", Segment),
        ("gdt", Table),
        ("idt", Table),
        ("cr0", ctypes.c_uint64),
        ("cr2", ctypes.c_uint64),
        ("cr3", ctypes.c_uint64),
        ("cr4", ctypes.c_uint64),
        ("cr8", ctypes.c_uint64),
        ("efer", ctypes.c_uint64),
        ("apic_base", ctypes.c_uint64),
        ("interrupt_bitmap", ctypes.c_uint64 * 4),
    ]


MEMORY_READ_ONLY = 2
"""A flag of ``MemoryRegion``: writes are MMIO."""


class MemoryRegion(ctypes.Structure):
    _fields_ = [
        ("slot", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("guest_phys_addr", ctypes.c_uint64),
        ("memory_size", ctypes.c_uint64),
        ("userspace_addr", ctypes.c_uint64),
    ]


class CpuidEntry(ctypes.Structure):
    _fields_ = [
        ("function", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("eax", ctypes.c_uint32),
        ("ebx", ctypes.c_uint32),
        ("ecx", ctypes.c_uint32),
        ("edx", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 3),
    ]


MOST_CPUID: Final = 256
CPUID_INDEXED: Final = 1


class Cpuid(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("entries", CpuidEntry * MOST_CPUID),
    ]


class MsrEntry(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("data", ctypes.c_uint64),
    ]


class Msrs(ctypes.Structure):
    """One at a time: what a processor does not have is skipped."""

    _fields_ = [("count", ctypes.c_uint32), ("padding", ctypes.c_uint32), ("entry", MsrEntry)]


class Debug(ctypes.Structure):
    _fields_ = [
        ("control", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("debugreg", ctypes.c_uint64 * 8),
    ]


DEBUG_ENABLE, DEBUG_STEP, DEBUG_HARDWARE = 1, 2, 1 << 17

FPU_SIZE, EVENTS_SIZE, DEBUG_REGISTERS_SIZE, XCRS_SIZE = 416, 64, 128, 392

CHECK_EXTENSION, CREATE_VM, GET_API_VERSION, GET_VCPU_MMAP_SIZE = map(_io, (3, 1, 0, 4))
SET_TSS_ADDR = _io(0x47)
CREATE_VCPU = _io(0x41)
RUN = _io(0x80)
NMI = _io(0x9A)
SET_USER_MEMORY_REGION = _iow(0x46, ctypes.sizeof(MemoryRegion))
GET_SUPPORTED_CPUID = _iowr(0x05, 8)
SET_CPUID2 = _iow(0x90, 8)
GET_REGS, SET_REGS = _ior(0x81, ctypes.sizeof(Regs)), _iow(0x82, ctypes.sizeof(Regs))
GET_SREGS, SET_SREGS = _ior(0x83, ctypes.sizeof(Sregs)), _iow(0x84, ctypes.sizeof(Sregs))
INTERRUPT = _iow(0x86, 4)
GET_MSRS, SET_MSRS = _iowr(0x88, 8), _iow(0x89, 8)
GET_FPU, SET_FPU = _ior(0x8C, FPU_SIZE), _iow(0x8D, FPU_SIZE)
GET_EVENTS, SET_EVENTS = _ior(0x9F, EVENTS_SIZE), _iow(0xA0, EVENTS_SIZE)
GET_DEBUG_REGISTERS = _ior(0xA1, DEBUG_REGISTERS_SIZE)
SET_DEBUG_REGISTERS = _iow(0xA2, DEBUG_REGISTERS_SIZE)
GET_XCRS, SET_XCRS = _ior(0xA6, XCRS_SIZE), _iow(0xA7, XCRS_SIZE)
SET_GUEST_DEBUG = _iow(0x9B, ctypes.sizeof(Debug))

API_VERSION: Final = 12
CAP_USER_MEMORY, CAP_IMMEDIATE_EXIT, CAP_XCRS = 3, 136, 56

# The page that a vCPU shares with its user (struct kvm_run).
REQUEST_INTERRUPT_WINDOW, IMMEDIATE_EXIT = 0, 1
EXIT_REASON, READY_FOR_INTERRUPT, IF_FLAG = 8, 12, 13
EXIT_DATA = 32
EXIT_IO, EXIT_DEBUG, EXIT_HLT, EXIT_MMIO, EXIT_IRQ_WINDOW = 2, 4, 5, 6, 7
EXIT_SHUTDOWN, EXIT_FAIL_ENTRY, EXIT_INTR, EXIT_INTERNAL_ERROR = 8, 9, 10, 17
"""Exit reasons.

  IO     u8 direction (1: out), u8 size, u16 port, u32 count, u64 offset of the data in the page
  MMIO   u64 address, u8 data[8], u32 length, u8 is_write
"""
