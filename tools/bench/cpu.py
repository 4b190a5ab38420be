"""The VMM's CPU engine: millions of guest instructions a second, in loops of one kind each.

The engine runs here without a board, in long mode.  Each loop ends with HLT, and its number of
instructions is known.  The best of a few runs counts: what makes one slower is the host.
"""

from __future__ import annotations

import mmap
import time
from typing import Final, NamedTuple

ENTRY: Final = 0x10_0000
STACK: Final = 0x8_0000
MEMORY: Final = 4 << 20
ITERATIONS: Final = 20_000_000
RUNS: Final = 3


class Loop(NamedTuple):
    """A loop that runs RCX times."""

    body: str
    instructions: int
    """In one turn, with the two that close the loop."""
    end: str = ""
    """What the body calls."""


LOOPS: Final = {
    "arithmetic": Loop("add rax, rbx; xor rbx, rcx; rol rax, 3; sub rdx, rax", 6),
    "memory": Loop("mov rax, [rsi + 0x200000]; add rax, rcx; mov [rsi + 0x200000], rax", 5),
    "strides": Loop(
        "add esi, 4160; and esi, 0xfffff; mov rax, [rsi + 0x200000]; mov [rsi + 0x200000], rcx", 6
    ),
    "calls": Loop("call function", 5, "function: lea rax, [rax + 1]; ret"),
}


class Bare:
    """No devices: the loops touch none."""

    def pio_in(self, port: int, size: int) -> int:
        return 0

    def pio_out(self, port: int, size: int, value: int) -> None: ...

    def mmio_read(self, address: int, size: int) -> int:
        return 0

    def mmio_write(self, address: int, size: int, value: int) -> None: ...

    def acknowledge_irq(self) -> int:
        return -1


def _run(loop: Loop, iterations: int) -> float:
    """Seconds that a loop takes."""
    import keystone

    from vmm.boot import flat_cpu
    from vmm.engine import create
    from vmm.engine.interface import Exit
    from vmm.memory import GuestMemory

    source = f"turn: {loop.body}; dec rcx; jnz turn; hlt; {loop.end}"
    assembler = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)
    code, _ = assembler.asm(source, ENTRY, as_bytes=True)
    memory = GuestMemory(memoryview(mmap.mmap(-1, MEMORY)))
    memory.write(ENTRY, code)
    engine = create("soft", Bare(), "qemu64")
    try:
        engine.map_ram(0, memory.buffer, 0, memory.size)
        registers = flat_cpu.long_mode(memory, ENTRY)
        registers.general[1], registers.general[4] = iterations, STACK
        engine.set_registers(registers)
        start = time.perf_counter()
        how = engine.run()
        took = time.perf_counter() - start
        if how is not Exit.HALTED:
            raise RuntimeError(f"the guest loop ended with {how.value}: {engine.error}")
        return took
    finally:
        engine.close()


def measure(iterations: int = ITERATIONS, runs: int = RUNS) -> dict[str, float]:
    """MIPS of each loop."""
    return {
        name: round(
            iterations * loop.instructions / min(_run(loop, iterations) for _ in range(runs)) / 1e6,
            1,
        )
        for name, loop in LOOPS.items()
    }
