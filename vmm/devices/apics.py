"""Interrupts of a board with APICs: the local one, the I/O APIC, and the 8259s behind them.

A system uses either the 8259s or the I/O APIC and masks the others' inputs, so every line goes to
both.  Until it does, the 8259s' requests pass through the local APIC ("virtual wire mode", Intel
MultiProcessor Specification 1.4, 3.6.2.2).
"""

from __future__ import annotations

from collections.abc import Callable

from vmm.bus import MmioBus, PortBus
from vmm.clock import TimerQueue
from vmm.devices import IrqLine
from vmm.devices.ioapic import IoApic
from vmm.devices.lapic import Lapic
from vmm.devices.pic import Pic
from vmm.engine.interface import NO_VECTOR


class Apics:
    """All interrupt controllers; to devices it is as the 8259s are."""

    def __init__(self, timers: TimerQueue, cpu_line: IrqLine, nmi: Callable[[], None]) -> None:
        self._cpu_line = cpu_line
        self._external = self._asserted = False
        self.pic = Pic(self._set_external)
        self.lapic = Lapic(timers, self._update, nmi, self._ended)
        self.ioapic = IoApic(self.lapic, nmi)

    def attach(self, ports: PortBus, mmio: MmioBus) -> None:
        self.pic.attach(ports)
        self.lapic.attach(mmio)
        self.ioapic.attach(mmio)

    def set_irq(self, number: int, level: bool) -> None:
        """Drive the input ``number`` (0 to 15) of ISA."""
        self.pic.set_irq(number, level)
        self.ioapic.set_irq(number, level)

    def line(self, number: int) -> IrqLine:
        """An input as a callable."""
        return lambda level: self.set_irq(number, level)

    def make_level_triggered(self, number: int) -> None:
        """What firmware does for inputs of PCI; the I/O APIC's are the system's to set."""
        self.pic.make_level_triggered(number)

    def acknowledge(self) -> int:
        """Answer the processor's question for a vector."""
        if self.lapic.asserted:
            return self.lapic.acknowledge()
        if self._external and self.lapic.passes_external:
            return self.pic.acknowledge()
        return NO_VECTOR

    def _set_external(self, level: bool) -> None:
        self._external = level
        self._update()

    def _ended(self, vector: int) -> None:
        self.ioapic.ended(vector)

    def _update(self) -> None:
        lapic = self.lapic
        asserted = lapic.asserted or (self._external and lapic.passes_external)
        if asserted != self._asserted:
            self._asserted = asserted
            self._cpu_line(asserted)
