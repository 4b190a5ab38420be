"""Whether this host's KVM is one to use.

A host may offer /dev/kvm and have it emulate what a processor would do (inside of another virtual
machine, say).  Such a KVM can be slower than the software engine, or unable to execute an ordinary
system at all.  So a tiny guest is run and timed before KVM is chosen.
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import Final

from vmm.boot import flat_cpu
from vmm.engine.interface import NO_VECTOR, EngineError, Exit, Table
from vmm.engine.kvm.engine import KvmEngine, prepare
from vmm.memory import GuestMemory

SLOW: Final = 5_000
"""Nanoseconds: a KVM that takes longer for a port access is not used by itself."""
_SIZE: Final = 1 << 20
_CODE, _HANDLER, _IDT, _STACK = 0x2_0000, 0x2_1000, 0x3_0000, 0x8_0000
_VECTOR: Final = 0x40
_ACCESSES: Final = 400
_GUEST: Final = (
    b"\xcd\x40"  # int 0x40
    + b"\xb9"
    + struct.pack("<I", _ACCESSES)  # mov ecx, _ACCESSES
    + b"\xe6\x80"  # again: out 0x80, al
    + b"\xff\xc9"  # dec ecx
    + b"\x75\xfa"  # jnz again
    + b"\xf4"  # hlt
)
_RETURN: Final = b"\x48\xcf"  # iretq


class _Board:
    """Ports that nothing is behind."""

    def __init__(self) -> None:
        self.accesses = 0

    def pio_in(self, port: int, size: int) -> int:
        return 0

    def pio_out(self, port: int, size: int, value: int) -> None:
        self.accesses += 1

    def mmio_read(self, address: int, size: int) -> int:
        return 0

    def mmio_write(self, address: int, size: int, value: int) -> None:
        pass

    def acknowledge_irq(self) -> int:
        return NO_VECTOR


def why_not(kvm: int) -> str:
    """Why the KVM behind a descriptor is not one to use; empty if it is."""
    board = _Board()
    try:
        engine = KvmEngine(board, kvm)
    except EngineError as error:
        return str(error)
    try:
        return _try(engine, board)
    except EngineError as error:
        return str(error)
    finally:
        engine.close()


def _try(engine: KvmEngine, board: _Board) -> str:
    memory = GuestMemory(
        memoryview(mmap.mmap(-1, _SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    )
    engine.map_ram(0, memory.buffer, 0, _SIZE)
    memory.write(_CODE, _GUEST)
    memory.write(_HANDLER, _RETURN)
    gate = struct.pack("<HHHHII", _HANDLER & 0xFFFF, flat_cpu.CODE, 0x8E00, _HANDLER >> 16, 0, 0)
    memory.write(_IDT + 16 * _VECTOR, gate)
    registers = flat_cpu.long_mode(memory, _CODE)
    registers.general[4] = _STACK
    registers.idtr = Table(_IDT, 0xFFF)
    engine.set_registers(registers)
    start = time.perf_counter_ns()
    if engine.run() is not Exit.HALTED or board.accesses != _ACCESSES:
        return f"it does not execute a 64-bit system ({engine.error or 'the guest went wrong'})"
    took = (time.perf_counter_ns() - start) // _ACCESSES
    return f"a port access takes it {took / 1000:.1f} us" if took > SLOW else ""


__all__ = ["prepare", "why_not"]
