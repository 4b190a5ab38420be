"""Two 8259A interrupt controllers, the second cascaded on input 2 of the first.

Intel, "8259A Programmable Interrupt Controller" (231468-003).

  port        write                                   read
  20h / A0h   ICW1 (bit 4), OCW2, OCW3 (bit 3)        IRR or ISR, as OCW3 chose; poll word
  21h / A1h   ICW2, ICW3, ICW4 after ICW1; else IMR   IMR
  4D0h/4D1h   ELCR: inputs that are level triggered   same   (Intel 82371SB, 2.4.3)
"""

from __future__ import annotations

from collections.abc import Callable

from vmm.bus import PortBus
from vmm.devices import IrqLine
from vmm.engine.interface import NO_VECTOR

CASCADE = 2
NONE = 8
"""The priority of nothing; 0 is the highest."""


class Chip:
    """One 8259A."""

    def __init__(self, is_master: bool, changed: Callable[[], None]) -> None:
        self._is_master = is_master
        self._changed = changed
        self.elcr = 0
        self._lines = 0
        self.irr = 0
        self._reset()

    def _reset(self) -> None:
        """ICW1 (231468-003, "Initialization Command Words")."""
        self._lines = 0
        self.irr &= self.elcr
        self.imr = self.isr = 0
        self._base = 0
        self._lowest_plus_1 = 0  # the input with the highest priority
        self._expected = 0  # the next ICW, 0: none
        self._needs_icw4 = self._single = False
        self._read_isr = self._poll = self._special_mask = False
        self._auto_eoi = self._rotate_auto = self._fully_nested = False

    def set_line(self, number: int, level: bool) -> None:
        """An input changes.  Edge-triggered requests are latched, level-triggered ones follow."""
        bit = 1 << number
        if level:
            if self.elcr & bit or not self._lines & bit:
                self.irr |= bit
            self._lines |= bit
        else:
            if self.elcr & bit:
                self.irr &= ~bit
            self._lines &= ~bit
        self._changed()

    def _priority(self, mask: int) -> int:
        if not mask:
            return NONE
        first = self._lowest_plus_1
        rotated = (mask >> first | mask << (8 - first)) & 0xFF
        return (rotated & -rotated).bit_length() - 1

    def pending(self) -> int:
        """The input to be served now, or -1."""
        wanted = self.irr & ~self.imr
        if not wanted:
            return -1
        in_service = self.isr
        if self._special_mask:
            in_service &= ~self.imr
        if self._fully_nested and self._is_master:
            in_service &= ~(1 << CASCADE)
        priority = self._priority(wanted)
        if priority < self._priority(in_service):
            return (priority + self._lowest_plus_1) & 7
        return -1

    def acknowledge(self, number: int) -> int:
        """The INTA cycle for an input: returns its vector."""
        bit = 1 << number
        if self._auto_eoi:
            if self._rotate_auto:
                self._lowest_plus_1 = (number + 1) & 7
        else:
            self.isr |= bit
        if not self.elcr & bit:
            self.irr &= ~bit
        self._changed()
        return self._base + number

    def spurious(self) -> int:
        """The vector when a request went away before it was acknowledged."""
        return self._base + 7

    def read(self, offset: int) -> int:
        if self._poll:
            self._poll = False
            number = self.pending()
            if number < 0:
                return 0
            self.acknowledge(number)
            return 0x80 | number
        if offset:
            return self.imr
        return self.isr if self._read_isr else self.irr

    def write(self, offset: int, value: int) -> None:
        if offset:
            self._write_data(value)
        elif value & 0x10:
            self._reset()
            self._expected = 2
            self._needs_icw4 = bool(value & 1)
            self._single = bool(value & 2)
        elif value & 8:
            self._poll = bool(value & 4)
            if value & 2:
                self._read_isr = bool(value & 1)
            if value & 0x40:
                self._special_mask = bool(value & 0x20)
        else:
            self._write_ocw2(value >> 5, value & 7)
        self._changed()

    def _write_ocw2(self, command: int, number: int) -> None:
        if command in (0, 4):
            self._rotate_auto = command == 4
        elif command in (1, 5):  # end of the interrupt with the highest priority
            priority = self._priority(self.isr)
            if priority != NONE:
                number = (priority + self._lowest_plus_1) & 7
                self.isr &= ~(1 << number)
                if command == 5:
                    self._lowest_plus_1 = (number + 1) & 7
        elif command in (3, 7):
            self.isr &= ~(1 << number)
            if command == 7:
                self._lowest_plus_1 = (number + 1) & 7
        elif command == 6:
            self._lowest_plus_1 = (number + 1) & 7

    def _write_data(self, value: int) -> None:
        if self._expected == 0:
            self.imr = value
        elif self._expected == 2:
            self._base = value & 0xF8
            self._expected = 3 if not self._single else 4 if self._needs_icw4 else 0
        elif self._expected == 3:
            self._expected = 4 if self._needs_icw4 else 0
        else:
            self._fully_nested = bool(value & 0x10)
            self._auto_eoi = bool(value & 2)
            self._expected = 0


class Pic:
    """The pair, inputs 0 to 15."""

    ELCR_WRITABLE = (0xF8, 0xDE)
    """Inputs 0, 1, 2, 8 and 13 are edge triggered always."""

    def __init__(self, cpu_line: IrqLine) -> None:
        self._cpu_line = cpu_line
        self._asserted = False
        self._cascade = False
        self.master = Chip(True, self._update)
        self.slave = Chip(False, self._update_slave)
        self.master.imr = self.slave.imr = 0xFF

    def attach(self, ports: PortBus) -> None:
        ports.map_bytes(0x20, 2, self.master.read, self.master.write)
        ports.map_bytes(0xA0, 2, self.slave.read, self.slave.write)
        ports.map_bytes(0x4D0, 2, self._read_elcr, self._write_elcr)

    def set_irq(self, number: int, level: bool) -> None:
        """Drive input ``number`` (0 to 15)."""
        if number < 8:
            self.master.set_line(number, level)
        else:
            self.slave.set_line(number - 8, level)

    def make_level_triggered(self, number: int) -> None:
        """What firmware does for inputs that PCI devices and the SCI use."""
        self._chip(number >> 3).elcr |= 1 << (number & 7)

    def line(self, number: int) -> IrqLine:
        """Input ``number`` as a callable."""
        return lambda level: self.set_irq(number, level)

    def acknowledge(self) -> int:
        """Answer the CPU's INTA cycle with a vector."""
        number = self.master.pending()
        if number < 0:
            self._update()
            return NO_VECTOR
        vector = self.master.acknowledge(number)
        if number != CASCADE:
            return vector
        number = self.slave.pending()
        return self.slave.spurious() if number < 0 else self.slave.acknowledge(number)

    def _update(self) -> None:
        asserted = self.master.pending() >= 0
        if asserted != self._asserted:
            self._asserted = asserted
            self._cpu_line(asserted)

    def _update_slave(self) -> None:
        cascade = self.slave.pending() >= 0
        if cascade != self._cascade:
            self._cascade = cascade
            self.master.set_line(CASCADE, cascade)
            if not cascade and not self.master.isr & 1 << CASCADE:
                self.master.irr &= ~(1 << CASCADE)
                self._update()

    def _chip(self, offset: int) -> Chip:
        return self.slave if offset else self.master

    def _read_elcr(self, offset: int) -> int:
        return self._chip(offset).elcr

    def _write_elcr(self, offset: int, value: int) -> None:
        self._chip(offset).elcr = value & self.ELCR_WRITABLE[offset]
