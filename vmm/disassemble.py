"""Reports about a guest that stopped for good: its registers and the code around its RIP."""

from __future__ import annotations

from collections import Counter

from capstone import CS_ARCH_X86, CS_MODE_16, CS_MODE_32, CS_MODE_64, Cs, CsInsn

from vmm.engine.interface import Registers
from vmm.memory import GuestMemory
from vmm.paging import read_linear

BEFORE, AFTER = 48, 32
"""Bytes of code shown around RIP."""
INSTRUCTIONS_BEFORE, INSTRUCTIONS_AFTER = 6, 3
MAX_INSTRUCTION = 15
FLAG_LONG, FLAG_32 = 1 << 21, 1 << 22
NAMES = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip


def report(registers: Registers, memory: GuestMemory) -> str:
    """Several lines for a person who wants to know what the guest was doing."""
    r = registers
    named = list(zip(NAMES, r.general, strict=True))
    named += [("rip", r.rip), ("rfl", r.rflags), ("cr0", r.cr0), ("cr2", r.cr2)]
    named += [("cr3", r.cr3), ("cr4", r.cr4), ("efer", r.efer), ("cs", r.cs.selector)]
    cells = [f"{name:>4} {value:016x}" for name, value in named]
    lines = ["  ".join(cells[i : i + 4]) for i in range(0, len(cells), 4)]
    lines.append(f"gdtr {r.gdtr.base:x}/{r.gdtr.limit:x}  idtr {r.idtr.base:x}/{r.idtr.limit:x}")
    return "\n".join((*lines, *code_lines(registers, memory)))


def code_lines(registers: Registers, memory: GuestMemory) -> list[str]:
    """The instructions that lead to RIP, the one at RIP marked, and some after it."""
    flags = registers.cs.flags
    if registers.efer & 1 << 10 and flags & FLAG_LONG:
        mode, base = CS_MODE_64, 0
    else:
        mode, base = (CS_MODE_32 if flags & FLAG_32 else CS_MODE_16), registers.cs.base
    decoder = Cs(CS_ARCH_X86, mode)
    rip = registers.rip
    after = read_linear(registers, memory, base + rip, AFTER)
    if not after:
        return [f"  => {rip:x}  (nothing is mapped here)"]
    start = max(rip - BEFORE, 0)
    before = read_linear(registers, memory, base + start, rip - start)
    if len(before) < rip - start:
        before = b""
    lines = [_line("    ", i) for i in _leading_to(rip, before, start, decoder)]
    following = list(decoder.disasm(after, rip, INSTRUCTIONS_AFTER + 1))
    if not following:
        return [*lines, f"  => {rip:x}  {after[:8].hex(' ')}  (no instruction)"]
    return [*lines, _line("  =>", following[0]), *(_line("    ", i) for i in following[1:])]


def _leading_to(rip: int, before: bytes, start: int, decoder: Cs) -> list[CsInsn]:
    """The instructions in ``before`` (from ``start``) that end at RIP.

    x86 code cannot be decoded backwards, but decoding falls into step wherever it begins: of all
    beginnings, most agree on the right instructions.
    """
    candidates: dict[tuple[int, ...], list[CsInsn]] = {}
    votes: Counter[tuple[int, ...]] = Counter()
    for skip in range(min(MAX_INSTRUCTION, len(before))):
        decoded = list(decoder.disasm(before[skip:], start + skip))[-INSTRUCTIONS_BEFORE:]
        if decoded and decoded[-1].address + decoded[-1].size == rip:
            addresses = tuple(instruction.address for instruction in decoded)
            candidates[addresses] = decoded
            votes[addresses] += 1
    return candidates[votes.most_common(1)[0][0]] if votes else []


def _line(mark: str, instruction: CsInsn) -> str:
    text = f"{instruction.mnemonic} {instruction.op_str}"
    return f"{mark} {instruction.address:x}  {text.rstrip()}"
