"""ACPI's fixed hardware: sleeping, the power button, the timer; and the reset register.

ACPI Specification 6.4, 4.8.3 (registers), 4.8.3.6 (reset); CF9h: Intel 82371SB, 2.4.6.

  600h  PM1 status, 16 bits  8 power button, 0 timer carry; writing a one clears
  602h  PM1 enable, 16 bits  as status: which raise the SCI, interrupt 9
  604h  PM1 control, 16 bits 0 SCI_EN (always set), 12:10 sleep type, 13 sleep now
  608h  PM timer, 32 bits    3.579545 MHz, read only
  CF9h  2 a rising edge resets, 1 hard

Sleep type 5 is power-off, and the only one the tables offer.  Firmware may move the registers from
600h (``piix4_pm.py``).
"""

from __future__ import annotations

from collections.abc import Callable

from vmm.bus import PortBus
from vmm.clock import SECOND, Clock
from vmm.devices import IrqLine

BASE = 0x600
PORTS = 64
STATUS, ENABLE, CONTROL, TIMER = BASE, BASE + 2, BASE + 4, BASE + 8
SCI = 9
RESET_PORT = 0xCF9
RESET_VALUE = 6
TIMER_HZ = 3_579_545
POWER_BUTTON = 1 << 8
SCI_EN = 1
SLEEP_NOW = 1 << 13
SLEEP_TYPE_OFF = 5


class AcpiPm:
    """The fixed registers."""

    def __init__(
        self, clock: Clock, irq: IrqLine, power_off: Callable[[], None], reset: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._irq = irq
        self._power_off = power_off
        self._reset = reset
        self._status = self._enable = self._control = 0
        self._reset_control = 0

    def attach(self, ports: PortBus, base: int = BASE) -> None:
        """Put the registers at ``base``, a multiple of their number."""
        ports.map_bytes(base, PORTS, self.read, self.write)
        timer = base + TIMER - BASE
        ports.map(timer, 4, self._read_timer, lambda _port, _size, _value: None)

    def attach_reset(self, ports: PortBus) -> None:
        # Configuration mechanism 1 has a dword register at CF8h; this byte lies inside it.
        ports.readers[RESET_PORT] = lambda _port, _size: self._reset_control
        ports.writers[RESET_PORT] = self._write_reset

    def press_power_button(self) -> None:
        """Ask the guest's system to shut down."""
        self._status |= POWER_BUTTON
        self._update()

    def read(self, offset: int) -> int:
        if offset >= 6:
            return 0
        word = (self._status, self._enable, self._control | SCI_EN)[offset >> 1]
        return word >> 8 * (offset & 1) & 0xFF

    def write(self, offset: int, value: int) -> None:
        shift = 8 * (offset & 1)
        keep = 0xFF << (8 - shift)
        register = offset >> 1
        if register == 0:
            self._status &= ~(value << shift)
        elif register == 1:
            self._enable = self._enable & keep | value << shift
        elif register == 2:
            self._control = (self._control & keep | value << shift) & ~SLEEP_NOW
            asleep = value << shift & SLEEP_NOW
            if asleep and self._control >> 10 & 7 == SLEEP_TYPE_OFF:
                self._power_off()
        self._update()

    def _update(self) -> None:
        self._irq(bool(self._status & self._enable))

    def _read_timer(self, port: int, size: int) -> int:
        ticks = self._clock() * TIMER_HZ // SECOND & 0xFFFF_FFFF
        return ticks >> 8 * (port & 3) & (1 << 8 * size) - 1

    def _write_reset(self, _port: int, _size: int, value: int) -> None:
        rising = value & 4 and not self._reset_control & 4
        self._reset_control = value & 6
        if rising:
            self._reset()
