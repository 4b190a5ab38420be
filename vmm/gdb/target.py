"""The processor's registers as GDB numbers them (Debugging with GDB, G.5.15 and appendix G).

There are two descriptions, of a processor with 64-bit and one with 32-bit registers: which one a
debugger gets is decided when it connects.  The registers of the processor's system, which have no
standard feature, follow the standard ones.  The program counter and what is at it are linear: in
real mode it is the code segment's base plus IP.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from vmm.engine.interface import Registers

_GENERAL: Final = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *(f"r{number}" for number in range(8, 16)),
)
"""In the order of ``Registers.general``."""
_SEGMENTS: Final = ("cs", "ss", "ds", "es", "fs", "gs")
_CONTROL: Final = ("cr0", "cr2", "cr3", "cr4", "efer")
_BASES: Final = ("fs_base", "gs_base", "gdt_base", "idt_base")
_X87: Final = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")

LONG_MODE: Final = 1 << 10
"""EFER.LMA."""


class Register(NamedTuple):
    """One register of a description."""

    name: str
    size: int
    """Octets in a packet."""
    kind: str
    """Its type in GDB's terms."""
    known: bool = True
    """Whether its value is told; the floating-point unit's is not."""


class Layout(NamedTuple):
    """A description, and the order of registers in it."""

    architecture: str
    core: tuple[Register, ...]
    system: tuple[Register, ...]

    @property
    def registers(self) -> tuple[Register, ...]:
        return (*self.core, *self.system)

    def xml(self) -> str:
        """The target description."""
        return (
            '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">'
            f"<architecture>{self.architecture}</architecture>"
            f'<feature name="org.gnu.gdb.i386.core">{_FLAGS}{_xml(self.core)}</feature>'
            f'<feature name="cloister.system">{_xml(self.system)}</feature></target>'
        )


_FLAGS = '<flags id="i386_eflags" size="4">' + "".join(
    f'<field name="{name}" start="{bit}" end="{bit}"/>'
    for name, bit in (
        *(("CF", 0), ("PF", 2), ("AF", 4), ("ZF", 6), ("SF", 7), ("TF", 8), ("IF", 9)),
        *(("DF", 10), ("OF", 11), ("NT", 14), ("RF", 16), ("VM", 17), ("AC", 18), ("ID", 21)),
    )
) + "</flags>"  # fmt: skip


def _xml(registers: tuple[Register, ...]) -> str:
    return "".join(
        f'<reg name="{one.name}" bitsize="{8 * one.size}" type="{one.kind}"/>' for one in registers
    )


def _layout(architecture: str, general: list[str], pc: str, size: int) -> Layout:
    kinds = {"rsp": "data_ptr", "esp": "data_ptr", "rbp": "data_ptr", "ebp": "data_ptr"}
    core = [Register(name, size, kinds.get(name, f"int{8 * size}")) for name in general]
    core.append(Register(pc, size, "code_ptr"))
    core.append(Register("eflags", 4, "i386_eflags"))
    core += [Register(name, 4, "int32") for name in _SEGMENTS]
    core += [Register(f"st{number}", 10, "i387_ext", known=False) for number in range(8)]
    core += [Register(name, 4, "int", known=False) for name in _X87]
    system = [Register(name, size, f"int{8 * size}") for name in (*_CONTROL, *_BASES)]
    return Layout(architecture, tuple(core), tuple(system))


_ORDER_64 = [
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{number}" for number in range(8, 16)),
]
_ORDER_32 = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"]
LAYOUT_64: Final = _layout("i386:x86-64", _ORDER_64, "rip", 8)
LAYOUT_32: Final = _layout("i386", _ORDER_32, "eip", 4)


def layout(registers: Registers) -> Layout:
    """The description for a processor in this state."""
    return LAYOUT_64 if registers.efer & LONG_MODE else LAYOUT_32


def pc(registers: Registers) -> int:
    """The linear address of the next instruction."""
    return registers.cs.base + registers.rip


def read(registers: Registers, name: str) -> int:
    """A register's value."""
    if name in ("rip", "eip"):
        return pc(registers)
    if name == "eflags":
        return registers.rflags
    if name in _SEGMENTS:
        return int(getattr(registers, name).selector)
    if name in _CONTROL:
        return int(getattr(registers, name))
    if name in _BASES:
        return int(getattr(registers, _BASE_OF[name]).base)
    return registers.general[_index(name)]


_BASE_OF: Final = {"fs_base": "fs", "gs_base": "gs", "gdt_base": "gdtr", "idt_base": "idtr"}


def _index(name: str) -> int:
    return _GENERAL.index("r" + name[1:] if name[0] == "e" else name)


def write(registers: Registers, name: str, value: int) -> bool:
    """Change a register; False if that cannot be: a selector alone does not say what it means."""
    if name in ("rip", "eip"):
        registers.rip = value - registers.cs.base
    elif name == "eflags":
        registers.rflags = value | 2
    elif name in _SEGMENTS:
        return bool(value == getattr(registers, name).selector)
    elif name in _CONTROL:
        setattr(registers, name, value)
    elif name in _BASES:
        field = _BASE_OF[name]
        setattr(registers, field, getattr(registers, field)._replace(base=value))
    else:
        registers.general[_index(name)] = value
    return True
