"""The ISA bridge: Intel 82371SB PIIX3 (290550), function 0.

  Configuration
  4C I/O recovery   4E u16 X-bus chip selects   69 top of memory   6A 70 76 80 A0-A8   kept, unused
  60-63  PIRQ A to D: 7 not routed, 3:0 the ISA interrupt that PCI's line drives

  B2h APM control, B3h APM status: kept; nothing raises a system management interrupt

The 8259s, the timers and port 61h, which the chip has as well, are devices of their own here; reset
control (CF9h) is with the power management.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.bus import PortBus
from vmm.devices.pci import PciDevice

ROUTES: Final = 0x60
LINKS: Final = 4
NOT_ROUTED: Final = 0x80
USABLE: Final = frozenset((3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15))
APM: Final = 0xB2


class Piix3(PciDevice):
    """The bridge: it routes PCI's interrupt lines to ISA's."""

    def __init__(self, set_irq: Callable[[int, bool], None]) -> None:
        """``set_irq`` drives an input of the 8259s."""
        super().__init__(0x8086, 0x7000, 0x06_0100, pin=0)
        self._drive = set_irq
        self._levels = [False] * LINKS
        self._apm = bytearray(2)
        self.config[0x04:0x08] = bytes((0x07, 0x00, 0x00, 0x02))  # it decodes always
        self.config[0x4C], self.config[0x4E] = 0x4D, 0x03
        self.config[0x69] = 0x02
        self.config[ROUTES : ROUTES + LINKS] = bytes([NOT_ROUTED] * LINKS)
        self.set_writable(ROUTES, b"\x8f" * LINKS)
        for first, last in ((0x4C, 0x4F), (0x69, 0x6B), (0x70, 0x71), (0x76, 0x82), (0xA0, 0xA8)):
            self.set_writable(first, b"\xff" * (last - first + 1))

    def attach(self, ports: PortBus) -> None:
        ports.map_bytes(APM, 2, self._apm.__getitem__, self._apm.__setitem__)

    def set_link(self, link: int, level: bool) -> None:
        """PCI's line PIRQ A (0) to D (3)."""
        self._levels[link] = level
        self._update({self._route(link)})

    def _route(self, link: int) -> int:
        value = self.config[ROUTES + link]
        return -1 if value & NOT_ROUTED or value & 15 not in USABLE else value & 15

    def _update(self, irqs: set[int]) -> None:
        routes = [self._route(link) for link in range(LINKS)]
        for irq in irqs - {-1}:
            up = any(
                level and route == irq for level, route in zip(self._levels, routes, strict=True)
            )
            self._drive(irq, up)

    def write_config(self, offset: int, size: int, value: int) -> None:
        before = {self._route(link) for link in range(LINKS)}
        super().write_config(offset, size, value)
        if offset < ROUTES + LINKS and offset + size > ROUTES:
            self._update(before | {self._route(link) for link in range(LINKS)})
