"""The one build of Unicorn's library that the engine is written for, and what is where in it.

Offsets are those of the 2.1.4 cp37-abi3 manylinux x86_64 wheel.  They follow from its source
(``qemu/target/i386/cpu.h``, ``qemu/include/hw/core/cpu.h``, ``include/uc_priv.h``).  The library
is recognised by its build id before anything is patched, and ``UnicornEngine`` then checks that
values written through the library's own interface appear where these offsets say.

The Python package around the library is not imported: that would take longer than loading the
library does, and nothing of it is used.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import struct
import sys
from pathlib import Path

from vmm.engine.interface import EngineError

VERSION = "2.1.4"
BUILD_ID = bytes.fromhex("44285d3e80527122e9e361928189385906ec813e")

# struct uc_struct
UC_CPU = 0x1B8
"""CPUState *"""
UC_NO_EXIT_REQUEST = 0x7F2
"""bool: no exit test after each load and store (it would restart half-done instructions)"""

# CPUState
CPU_INTERRUPT_REQUEST = 0x1C
CPU_EXIT_WORD = 0x130
"""pointer to icount_decr; its upper half, when negative, ends a chain of translated blocks"""
CPU_HALTED = 0x8198
CPU_CLASS = 0x81B0
CPU_CLASS_SIZE = 0xD0

INTERRUPT_NMI = 0x200
INTERRUPT_ALWAYS = 0x10000
"""A request bit that QEMU does not use.  It stays set, so that the loop between blocks always
asks the interrupt thunk, and no other thread ever writes the request word."""

ENV = 0x8A50
"""CPUX86State within CPUState"""

# CPUX86State
ENV_EIP = 0x80
ENV_EFLAGS = 0x88
ENV_CC_SRC = 0x98
ENV_CC_OP = 0xA8
ENV_DF = 0xAC
ENV_HFLAGS = 0xB0
ENV_SEGMENTS = 0xB8
"""ES, CS, SS, DS, FS, GS, LDTR, TR, GDTR, IDTR"""
SEGMENT = struct.Struct("<IxxxxQII")
"""selector, base, limit, flags"""
ENV_CR = 0x1A8
ENV_EFER = 0x250
ENV_SYSENTER_CS = 0x12C0
ENV_SYSENTER_ESP = 0x12C8
ENV_SYSENTER_EIP = 0x12D0
ENV_STAR = 0x12D8
ENV_LSTAR = 0x12E8
ENV_CSTAR = 0x12F0
ENV_FMASK = 0x12F8
ENV_TSC_OFFSET = 0x1588
"""What is added to the host's time-stamp counter"""
ENV_FEATURES = 0x1600
"""u64 words: CPUID.1:EDX, CPUID.1:ECX, CPUID.7:EBX, ..."""
FEATURE_WORDS = {(1, "edx"): 0, (1, "ecx"): 1, (7, "ebx"): 2}

UC_SYSTEM_MEMORY = 0x1D0
"""The region that is all of physical memory"""
REGION_CONTAINER = 0x20
"""In a region of memory: the region that it is in"""

REGION_BLOCK = 0x08
"""In a region of RAM: its block"""
BLOCK_HOST, BLOCK_OFFSET = 0x08, 0x10
"""In a block of RAM: where it is in this process, and its address among all RAM"""

CC_OP_EFLAGS = 1
FLAGS_ARITHMETIC = 0x8D5
"""CF PF AF ZF SF OF: the flags that the translator keeps apart from eflags"""
FLAG_TF = 0x100
FLAG_DF = 0x400
HFLAG_INHIBIT_IRQ = 8

# Public constants (unicorn.h, x86.h)
ARCH_X86 = 4
MODE_64 = 8
HOOK_INTR = 1
HOOK_INSN = 2
HOOK_INSN_INVALID = 1 << 14
INSN_IN = 218
INSN_OUT = 500
INSN_SYSCALL = 699
INSN_SYSENTER = 700
PROT_ALL = 7
REG_RAX = 35
REG_RIP = 41
REG_MSR = 248
FLOATING = {
    "fpsw": (31, 2),
    "fpcw": (246, 2),
    "fptag": (247, 2),
    "mxcsr": (249, 4),
    **{f"st{i}": (114 + i, 10) for i in range(8)},
    **{f"xmm{i}": (122 + i, 16) for i in range(16)},
    **{f"dr{i}": (66 + i, 8) for i in (0, 1, 2, 3, 6, 7)},
    "cr8": (58, 8),
}
"""Registers that `Registers` does not have: number and size, in an order to write them in."""
MSRS = (
    *(0x174, 0x175, 0x176),  # SYSENTER
    *(0x1A0, 0x277),  # IA32_MISC_ENABLE, IA32_PAT
    *(0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084),  # STAR, LSTAR, CSTAR, FMASK
    *(0xC0000102, 0xC0000103),  # KERNEL_GS_BASE, TSC_AUX
)
"""Model-specific registers that software sets."""

CTL_USE_EXITS = 4
CTL_EXITS = 6
CTL_CPU_MODEL = 7
CTL_TB_FLUSH = 10


def ctl_write(control: int, arguments: int) -> int:
    """The first argument of ``uc_ctl`` for setting something."""
    return control | arguments << 26 | 1 << 30


class Library:
    """The loaded library: functions by name, and the table through which it calls itself."""

    def __init__(self) -> None:
        self.path = _find()
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image,
        ):
            if BUILD_ID not in image[:4096]:
                raise EngineError(
                    f"{self.path} is not the build of Unicorn {VERSION} that the software engine "
                    f"is written for; install unicorn=={VERSION} from its x86_64 Linux wheel, or "
                    "use the kvm engine"
                )
            self._slots, reference = _call_slots(image, "uc_emu_stop")
        self.calls = ctypes.CDLL(str(self.path))
        """Functions that run long: the interpreter goes on meanwhile."""
        self.quick = ctypes.PyDLL(str(self.path))
        """Functions that return at once: the interpreter waits."""
        self._base = self.address("uc_emu_stop") - reference

    def address(self, name: str) -> int:
        """Where a function is in memory."""
        value = ctypes.cast(getattr(self.calls, name), ctypes.c_void_p).value
        if value is None:
            raise EngineError(f"Unicorn's library has no function {name}")
        return value

    def redirect(self, name: str, target: int) -> None:
        """Let the library's own calls of ``name`` arrive at ``target``."""
        ctypes.c_uint64.from_address(self._base + self._slots[name]).value = target


def _find() -> Path:
    spec = importlib.util.find_spec("unicorn")
    if spec is None or spec.origin is None:
        raise EngineError(f"the software engine needs the package unicorn=={VERSION}")
    path = Path(spec.origin).parent / "lib" / "libunicorn.so.2"
    if sys.platform != "linux" or not path.is_file():
        raise EngineError(f"the software engine needs the x86_64 Linux wheel of unicorn=={VERSION}")
    return path


def _call_slots(image: mmap.mmap, reference: str) -> tuple[dict[str, int], int]:
    """The slots of ``REDIRECTED`` functions in the global offset table, and the reference's offset.

    ELF-64: sections (type 4: relocations with addends, 11: dynamic symbols).
    """
    (sections_at,) = struct.unpack_from("<Q", image, 0x28)
    (count,) = struct.unpack_from("<H", image, 0x3C)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", image, sections_at + 64 * i) for i in range(count)
    ]
    symbols = next(s for s in sections if s[1] == 11)
    names_at = sections[symbols[6]][4]
    slots: dict[str, int] = {}
    reference_offset = 0
    wanted = {name.encode(): name for name in (*REDIRECTED, reference)}
    by_symbol: dict[int, str] = {}
    for encoded, name in wanted.items():
        at = image.find(b"\0" + encoded + b"\0", names_at) + 1 - names_at
        by_symbol[at] = name
    table = image[symbols[4] : symbols[4] + symbols[5]]
    index_to_name: dict[int, str] = {}
    for index, (name_at, value) in enumerate(struct.iter_unpack("<I4xQ8x", table)):
        if name_at in by_symbol:
            index_to_name[index] = by_symbol[name_at]
            if by_symbol[name_at] == reference:
                reference_offset = value
    for section in sections:
        if section[1] != 4:
            continue
        relocations = image[section[4] : section[4] + section[5]]
        for offset, kind, symbol in struct.iter_unpack("<QII8x", relocations):
            if kind == 7 and symbol in index_to_name:
                slots[index_to_name[symbol]] = offset
    return slots, reference_offset


REDIRECTED = (
    "tlb_set_page_with_attrs_x86_64",
    "tb_invalidate_phys_page_fast_x86_64",
    "tlb_set_dirty_x86_64",
    "tlb_protect_code_x86_64",
    "tlb_unprotect_code_x86_64",
    "tlb_reset_dirty_by_vaddr_x86_64",
)
"""Functions whose callers inside the library get our thunks instead."""
