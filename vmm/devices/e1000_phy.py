"""The 82540EM's transceiver, whose link is always up (IEEE 802.3, 22.2.4; manual 317453, 8 and
13.4.6).

  MDIC  15:0 data  20:16 register  25:21 transceiver  27:26 operation: 1 write, 2 read
        28 ready  30 error
  registers  0 control  1 status  2, 3 identifier  4 advertisement  5 partner's ability
             9 1000BASE-T control  10 its status  16 specific control  17 specific status
"""

from __future__ import annotations

from typing import Final

WRITE, READ = 1, 2
READY, ERROR = 1 << 28, 1 << 30
ONLY: Final = 1
"""The number of the one that there is."""
RESET, RESTART = 1 << 15, 1 << 9
_START: Final = {
    0: 0x1140,  # negotiation on, full duplex, 1000 Mb/s
    1: 0x796D,  # all abilities; negotiated, link up
    2: 0x0141,
    3: 0x0C20,
    4: 0x01E1,
    5: 0x45E1,
    6: 0x0001,
    9: 0x0300,
    10: 0x3C00,
    16: 0x0068,
    17: 0xAC08,  # 1000 Mb/s, full duplex, resolved, link up
    20: 0x0D60,
}
_WRITABLE: Final = (0, 4, 9, 16, 18, 20)


class Phy:
    """Its registers."""

    def __init__(self) -> None:
        self._registers = [_START.get(number, 0) for number in range(32)]
        self._restarted = False

    def manage(self, value: int) -> int:
        """Carry out what is written to MDIC; its value afterwards."""
        operation, register = value >> 26 & 3, value >> 16 & 31
        if value >> 21 & 31 != ONLY:
            return value | READY | ERROR
        if operation == WRITE and register in _WRITABLE:
            self._write(register, value & 0xFFFF)
        elif operation == READ:
            value = value & ~0xFFFF | self._registers[register]
        return value | READY

    def _write(self, register: int, value: int) -> None:
        if register == 0:
            self._restarted = self._restarted or bool(value & (RESET | RESTART))
            value &= ~(RESET | RESTART)
        self._registers[register] = value

    def take_restarted(self) -> bool:
        """Whether the link was negotiated since this was asked."""
        found, self._restarted = self._restarted, False
        return found
