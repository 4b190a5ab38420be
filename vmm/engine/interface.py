"""The contract between a CPU engine and the board around it.

One thread owns an engine: it alone calls its methods, and the ``Callbacks`` run on it, from
within ``run``.  The exception is ``kick``, which any thread may call.  Port and MMIO accesses are
served inside ``run`` and do not leave it.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

NO_VECTOR = -1
"""What ``Callbacks.acknowledge_irq`` returns when the request has gone away."""


class EngineError(Exception):
    """An engine cannot be started on this machine, or broke.  The text is one sentence."""


class Exit(enum.Enum):
    """Why ``Engine.run`` returned."""

    HALTED = "halted"
    """The guest executed HLT and no interrupt can be delivered yet."""
    STOPPED = "stopped"
    """``kick`` was called."""
    SHUTDOWN = "shutdown"
    """A triple fault."""
    ERROR = "error"
    """The engine cannot go on; ``Engine.error`` says why."""
    BREAKPOINT = "breakpoint"
    """The next instruction is at one of the breakpoints, and was not executed."""
    STEPPED = "stepped"
    """One instruction was executed, as ``step`` was asked to do."""


class Segment(NamedTuple):
    """A segment register with its hidden part."""

    selector: int = 0
    base: int = 0
    limit: int = 0
    flags: int = 0
    """Bits 8 to 23 of the descriptor's high word, in place (Intel SDM volume 3, 3.4.5)."""


class Table(NamedTuple):
    """GDTR or IDTR."""

    base: int = 0
    limit: int = 0


NO_SEGMENT = Segment()
NO_TABLE = Table()


@dataclass
class Registers:
    """The state of a CPU that boot protocols, debuggers and reports speak of."""

    general: list[int] = field(default_factory=lambda: [0] * 16)
    """RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of the encoding."""
    rip: int = 0
    rflags: int = 2
    es: Segment = NO_SEGMENT
    cs: Segment = NO_SEGMENT
    ss: Segment = NO_SEGMENT
    ds: Segment = NO_SEGMENT
    fs: Segment = NO_SEGMENT
    gs: Segment = NO_SEGMENT
    ldtr: Segment = NO_SEGMENT
    tr: Segment = NO_SEGMENT
    gdtr: Table = NO_TABLE
    idtr: Table = NO_TABLE
    cr0: int = 0
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    efer: int = 0


class CpuidResult(NamedTuple):
    """What CPUID leaves in EAX, EBX, ECX and EDX."""

    eax: int
    ebx: int
    ecx: int
    edx: int


class Callbacks(Protocol):
    """What an engine asks of its board.  Values are unsigned and as wide as ``size`` bytes."""

    def pio_in(self, port: int, size: int) -> int: ...

    def pio_out(self, port: int, size: int, value: int) -> None: ...

    def mmio_read(self, address: int, size: int) -> int: ...

    def mmio_write(self, address: int, size: int, value: int) -> None: ...

    def acknowledge_irq(self) -> int:
        """Return the vector to deliver and take it as delivered, or ``NO_VECTOR``."""


class Engine(Protocol):
    """A CPU."""

    error: str
    """After ``Exit.ERROR``: one sentence."""

    def map_ram(self, gpa: int, buffer: memoryview, offset: int, length: int) -> None:
        """Let ``length`` bytes of a page-aligned ``buffer`` appear at guest address ``gpa``."""

    def map_mmio(self, gpa: int, length: int) -> None:
        """Send accesses to this range to the callbacks."""

    def map_window(
        self, gpa: int, buffer: memoryview, offset: int, length: int, read_only: bool = False
    ) -> None:
        """Let ``length`` bytes of a page-aligned ``buffer`` appear in front of MMIO.

        What the guest writes to one that is ``read_only`` is lost, or goes to the callbacks.  This
        and ``unmap_window`` may be called from callbacks, and take effect at once.  Different
        parts of a buffer that are ever shown are kept track of: let there be a bounded number.
        """

    def unmap_window(self, gpa: int) -> None:
        """Send accesses to what appeared at ``gpa`` to the callbacks again."""

    def get_registers(self) -> Registers: ...

    def set_registers(self, registers: Registers) -> None: ...

    def save(self) -> dict[str, int | bytes]:
        """All that ``Registers`` leaves out, to go on from elsewhere."""

    def restore(self, registers: Registers, rest: Mapping[str, int | bytes]) -> None:
        """Be as an engine was when ``get_registers`` and ``save`` gave these.

        Raises ``EngineError`` if ``rest`` is not what an engine of this kind saves.
        """

    def set_a20(self, enabled: bool) -> None:
        """Let bit 20 of addresses through, or force it to zero."""

    def reset(self) -> None:
        """Bring the CPU to its state after power-on; memory stays."""

    def run(self) -> Exit:
        """Execute until something of ``Exit`` happens.

        After ``HALTED``, running again executes only once an interrupt can be delivered.
        """

    def step(self) -> Exit:
        """Execute one instruction: ``STEPPED``, or what ended it.

        The handler of an exception, an interrupt or a system call counts as part of the instruction
        that it returns to.  A halted processor is woken.
        """

    def set_breakpoints(self, addresses: Collection[int]) -> None:
        """Leave ``run`` before the instructions at these linear addresses, and at no others.

        An instruction that ``run`` begins with is executed even if there is a breakpoint.
        """

    def kick(self) -> None:
        """Make ``run`` return ``STOPPED`` soon, from any thread.

        It is sticky: a kick that comes while nothing runs ends the next ``run`` at once.
        """

    def set_irq_line(self, asserted: bool) -> None:
        """The level of the CPU's INTR pin."""

    def raise_nmi(self) -> None: ...

    def invalidate(self, gpa: int, length: int) -> None:
        """Guest memory was changed behind the engine's back (by DMA)."""

    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult: ...

    def set_cpuid(self, leaf: int, register: str, clear: int = 0, set_: int = 0) -> None:
        """Change feature bits of leaf 1 (``ecx``/``edx``) or 7 (``ebx``)."""

    def close(self) -> None:
        """Give the engine's memory back.  Guest RAM is its owner's."""
