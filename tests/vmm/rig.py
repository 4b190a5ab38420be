"""What the VMM's tests stand on: snippets of machine code, a bare CPU, a clock that is set by hand,
and a board whose world is all in this process."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable
from typing import Literal

from keystone import KS_ARCH_X86, KS_MODE_16, KS_MODE_32, KS_MODE_64, Ks

from vmm.backends import Backends, Block, Entropy, Tpm
from vmm.board import Board
from vmm.boot import flat_cpu
from vmm.clock import Clock
from vmm.config import MIB, VmConfig
from vmm.engine.interface import NO_VECTOR, Engine, Registers, Table
from vmm.engine.kvm.engine import KvmEngine
from vmm.engine.unicorn.engine import UnicornEngine
from vmm.memory import GuestMemory
from vmm.pacer import Waiter

MODES = {16: KS_MODE_16, 32: KS_MODE_32, 64: KS_MODE_64}
CODE = 0x2_0000
STACK = 0x8_0000
IDT = 0x3_0000
HANDLERS = 0x4_0000


def assemble(source: str, address: int = CODE, bits: int = 64) -> bytes:
    """Machine code of some lines; a semicolon separates instructions."""
    code, _ = Ks(KS_ARCH_X86, MODES[bits]).asm(source.replace(";", "\n"), address, as_bytes=True)
    assert code, source
    return bytes(code)


def new_memory(size: int = 4 * MIB) -> GuestMemory:
    return GuestMemory(memoryview(mmap.mmap(-1, size)))


class Cpu:
    """An engine with memory and nothing else; it writes down what reaches ports and MMIO.

    In 64-bit mode, handlers of exceptions are ``HLT`` unless a test puts something else there.
    """

    MMIO = 0xF000_0000

    def __init__(self, model: str = "qemu64", kvm: int | None = None) -> None:
        """On the software engine, or the one behind a descriptor of KVM."""
        self.log: list[tuple[object, ...]] = []
        self.vectors: list[int] = []
        self.memory = new_memory()
        self.engine: Engine = UnicornEngine(self, model) if kvm is None else KvmEngine(self, kvm)
        self.engine.map_ram(0, self.memory.buffer, 0, self.memory.size)
        self.engine.map_mmio(self.memory.size, (1 << 52) - self.memory.size)

    def pio_in(self, port: int, size: int) -> int:
        self.log.append(("in", port, size))
        return 0x5A5A_5A5A

    def pio_out(self, port: int, size: int, value: int) -> None:
        self.log.append(("out", port, size, value))

    def mmio_read(self, address: int, size: int) -> int:
        self.log.append(("read", address, size))
        return (1 << 8 * size) - 1

    def mmio_write(self, address: int, size: int, value: int) -> None:
        self.log.append(("write", address, size, value))

    def acknowledge_irq(self) -> int:
        vector = self.vectors.pop(0) if self.vectors else NO_VECTOR
        self.engine.set_irq_line(bool(self.vectors))
        return vector

    def interrupt(self, vector: int) -> None:
        """Ask for an interrupt."""
        self.vectors.append(vector)
        self.engine.set_irq_line(True)

    def put(self, source: str, address: int = CODE, bits: int = 64) -> None:
        code = assemble(source, address, bits)
        self.memory.write(address, code)
        self.engine.invalidate(address, len(code))

    def start_64(self, source: str) -> Registers:
        """Ready to run in long mode, with an IDT whose handlers halt."""
        self.put(source)
        registers = flat_cpu.long_mode(self.memory, CODE)
        registers.general[4] = STACK
        registers.idtr = Table(IDT, 0xFFF)
        for vector in range(256):
            at = HANDLERS + 64 * vector
            low, middle, high = at & 0xFFFF, at >> 16 & 0xFFFF, at >> 32
            gate = struct.pack("<HHHHII", low, flat_cpu.CODE, 0x8E00, middle, high, 0)
            self.memory.write(IDT + 16 * vector, gate)
            self.memory.write(at, b"\xf4\xeb\xfd")
        self.engine.set_registers(registers)
        return registers

    def start_16(self, source: str) -> None:
        """Ready to run in real mode at 0000:7C00."""
        self.put(source, 0x7C00, 16)
        self.engine.reset()
        registers = self.engine.get_registers()
        registers.cs = registers.cs._replace(selector=0, base=0)
        registers.rip = 0x7C00
        registers.general[4] = 0x7C00
        self.engine.set_registers(registers)

    def handler(self, vector: int, source: str) -> None:
        """What a vector does in 64-bit mode."""
        self.put(source, HANDLERS + 64 * vector)

    def handled(self) -> int:
        """The vector in whose handler the CPU halted."""
        return (self.engine.get_registers().rip - HANDLERS) // 64

    @property
    def rax(self) -> int:
        return self.engine.get_registers().general[0]


class FakeClock:
    """Time that passes only when told."""

    def __init__(self, now: int = 1_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Line:
    """An interrupt line that counts its rising edges."""

    def __init__(self) -> None:
        self.level = False
        self.edges = 0

    def __call__(self, level: bool) -> None:
        self.edges += level and not self.level
        self.level = level


class Recorder:
    """A serial backend that keeps what it gets."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.heard: Callable[[bytes], None] = lambda _data: None

    def write(self, data: bytes) -> None:
        self.data += data
        self.heard(bytes(self.data))

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")


class Machine:
    """A board with recorded serial output."""

    def __init__(
        self,
        *blocks: Block,
        memory: int = 8 * MIB,
        entropy: Entropy | None = None,
        append: str = "",
        restart_on_reset: bool = False,
        kaslr: bool = False,
        clock: Clock = time.monotonic_ns,
        tpm: Tpm | None = None,
        tpm_interface: Literal["tis", "crb"] = "tis",
    ) -> None:
        self.serial = Recorder()
        waiter = Waiter()
        config = VmConfig(
            memory=memory,
            append=append,
            restart_on_reset=restart_on_reset,
            kaslr=kaslr,
            tpm_interface=tpm_interface,
        )
        self.board = Board(
            config,
            new_memory(memory),
            Backends(self.serial, blocks, entropy, tpm),
            idle=waiter.idle,
            wake=waiter.wake,
            clock=clock,
        )


def multiboot(source: str, bits: int = 32) -> bytes:
    """A flat multiboot image of some 32-bit code, loaded at 1 MiB."""
    base, header = 0x10_0000, 32
    flags = 1 << 16
    fields = (0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFF_FFFF)
    addresses = (base, base, 0, base + 0x1_0000, base + header)
    return struct.pack("<8I", *fields, *addresses) + assemble(source, base + header, bits)
