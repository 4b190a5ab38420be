"""APICs on the board, and what ACPI says of them.

The board imports this for machines that have APICs alone: others start faster without.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

from vmm.acpi.tables import table
from vmm.bus import MmioBus, PortBus
from vmm.clock import TimerQueue
from vmm.devices import IrqLine, ioapic, lapic
from vmm.devices.apics import Apics

PC_AT: Final = 1
"""A flag: there are 8259s as well."""
LEVEL_HIGH: Final = 0xD


def attach(
    timers: TimerQueue,
    ports: PortBus,
    mmio: MmioBus,
    cpu_line: IrqLine,
    nmi: Callable[[], None],
    firmware: bool,
) -> Apics:
    """Put them on the buses; without ``firmware``, they are as it would leave them."""
    apics = Apics(timers, cpu_line, nmi)
    apics.attach(ports, mmio)
    if not firmware:
        apics.lapic.let_external_through()
    return apics


def acpi_table(level_irqs: Sequence[int]) -> bytes:
    """The MADT (ACPI 6.4, 5.2.12): one processor, and an I/O APIC with the timer on its input 2.

    ``level_irqs`` are those of ISA's interrupts that are level-triggered, and active when high.
    """
    body = struct.pack("<II", lapic.BASE, PC_AT)
    body += struct.pack("<BBBBI", 0, 8, 0, 0, 1)
    body += struct.pack("<BBBBII", 1, 12, 0, 0, ioapic.BASE, 0)
    overrides = [(0, ioapic.TIMER_INPUT, 0), *((irq, irq, LEVEL_HIGH) for irq in level_irqs)]
    for irq, at, flags in overrides:
        body += struct.pack("<BBBBIH", 2, 10, 0, irq, at, flags)
    return table(b"APIC", 4, body)
