"""The MC146818 real-time clock and its CMOS memory.

Motorola, "MC146818A Real-Time Clock Plus RAM"; the century byte as ACPI's FADT names it.

  70h  write: index (bits 6:0); bit 7 masks NMI, which nothing raises here
  71h  the indexed byte:
       00 seconds  02 minutes  04 hours  06 day of week  07 day  08 month  09 year  32h century
       01 03 05 alarm (C0h and above: any)
       0A  7 update in progress, 6:4 divider, 3:0 periodic rate
       0B  7 set, 6 periodic, 5 alarm, 4 update-ended interrupts, 2 binary, 1 24-hour
       0C  7 request, 6 periodic, 5 alarm, 4 update ended; cleared by reading
       0D  7 the battery is good
       10..7F memory; PC firmware keeps RAM sizes at 15-18h, 30-31h and 34-35h

The clock is the board's wall clock plus an offset, which setting the time changes.  Interrupt 8.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable

from vmm.bus import PortBus
from vmm.clock import SECOND, Timer, TimerQueue
from vmm.devices import IrqLine

SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY = 0, 2, 4, 6, 7, 8, 9, 0x32
TIME_REGISTERS = (SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY)
A, B, C, D = 10, 11, 12, 13
SET, PIE, AIE, UIE, BINARY, HOUR_24 = 0x80, 0x40, 0x20, 0x10, 0x04, 0x02
UPDATE_NS = 244_000
"""The update-in-progress bit comes up this long before the second changes."""


class Rtc:
    """The chip."""

    def __init__(self, timers: TimerQueue, wall: Callable[[], int], irq: IrqLine) -> None:
        """``wall`` tells the time in ns since 1970, UTC."""
        self._timers = timers
        self._wall = wall
        self._irq = irq
        self._offset = 0  # ns between the guest's time and the wall clock
        self._index = 0
        self.cmos = bytearray(128)
        self.cmos[A], self.cmos[B], self.cmos[D] = 0x26, HOUR_24, 0x80
        self._second_timer: Timer | None = None
        self._periodic_timer: Timer | None = None

    def attach(self, ports: PortBus) -> None:
        ports.map_bytes(0x70, 2, self.read, self.write)

    def set_memory(self, size: int) -> None:
        """Tell firmware how much RAM there is (bytes)."""
        extended = min(max(size - (1 << 20), 0) >> 10, 0xFC00)
        above_16m = min(max(size - (16 << 20), 0) >> 16, 0xFFFF)
        words = {0x15: 640, 0x17: extended, 0x30: extended, 0x34: above_16m}
        for index, value in words.items():
            self.cmos[index : index + 2] = value.to_bytes(2, "little")

    def read(self, offset: int) -> int:
        if offset == 0:
            return 0xFF
        index = self._index
        if index in TIME_REGISTERS and not self.cmos[B] & SET:
            return self._time_register(index)
        if index == A:
            updating = self._now() % SECOND >= SECOND - UPDATE_NS and not self.cmos[B] & SET
            return self.cmos[A] & 0x7F | updating << 7
        value = self.cmos[index]
        if index == C:
            self.cmos[C] = 0
            self._irq(False)
        return value

    def write(self, offset: int, value: int) -> None:
        if offset == 0:
            self._index = value & 0x7F
            return
        index = self._index
        if index in (C, D):
            return
        if index == B:
            self._write_b(value)
        elif index in TIME_REGISTERS and not self.cmos[B] & SET:
            self._load_time()
            self.cmos[index] = value
            self._store_time()
        else:
            self.cmos[index] = value
            if index == A:
                self._plan_periodic()

    def _now(self) -> int:
        return self._wall() + self._offset

    def _encode(self, value: int) -> int:
        return value if self.cmos[B] & BINARY else value // 10 << 4 | value % 10

    def _decode(self, value: int) -> int:
        return value if self.cmos[B] & BINARY else (value >> 4) * 10 + (value & 15)

    def _time_register(self, index: int) -> int:
        now = time.gmtime(self._now() // SECOND)
        if index == HOURS and not self.cmos[B] & HOUR_24:
            return self._encode((now.tm_hour + 11) % 12 + 1) | (now.tm_hour >= 12) << 7
        return self._encode(
            {
                SECONDS: min(now.tm_sec, 59),
                MINUTES: now.tm_min,
                HOURS: now.tm_hour,
                WEEKDAY: (now.tm_wday + 1) % 7 + 1,
                DAY: now.tm_mday,
                MONTH: now.tm_mon,
                YEAR: now.tm_year % 100,
                CENTURY: now.tm_year // 100,
            }[index]
        )

    def _load_time(self) -> None:
        for index in TIME_REGISTERS:
            self.cmos[index] = self._time_register(index)

    def _store_time(self) -> None:
        """Make the time that the registers show the guest's time, if there is such a time."""
        hour = self.cmos[HOURS]
        if self.cmos[B] & HOUR_24:
            hours = self._decode(hour)
        else:
            hours = self._decode(hour & 0x7F) % 12 + 12 * (hour >> 7)
        year = self._decode(self.cmos[CENTURY]) * 100 + self._decode(self.cmos[YEAR])
        month = self._decode(self.cmos[MONTH])
        if not (1970 <= year <= 9999 and 1 <= month <= 12):
            return
        fields = [self._decode(self.cmos[i]) for i in (DAY, MINUTES, SECONDS)]
        seconds = calendar.timegm((year, month, fields[0], hours, fields[1], fields[2]))
        if seconds >= 0:
            self._offset = seconds * SECOND - self._wall()

    def _write_b(self, value: int) -> None:
        if value & SET and not self.cmos[B] & SET:
            self._load_time()
            value &= ~UIE
        was_set = self.cmos[B] & SET
        self.cmos[B] = value
        if was_set and not value & SET:
            self._store_time()
        self._plan_second()
        self._plan_periodic()

    def _plan_second(self) -> None:
        if self._second_timer is not None:
            self._second_timer.cancel()
            self._second_timer = None
        if self.cmos[B] & (AIE | UIE) and not self.cmos[B] & SET:
            left = SECOND - self._now() % SECOND
            self._second_timer = self._timers.schedule(self._timers.clock() + left, self._second)

    def _second(self) -> None:
        cause = UIE
        if all(
            self.cmos[alarm] >= 0xC0 or self.cmos[alarm] == self._time_register(alarm - 1)
            for alarm in (1, 3, 5)
        ):
            cause |= AIE
        self._request(cause)
        self._plan_second()

    def _plan_periodic(self) -> None:
        if self._periodic_timer is not None:
            self._periodic_timer.cancel()
            self._periodic_timer = None
        rate = self.cmos[A] & 15
        if self.cmos[B] & PIE and rate:
            if rate < 3:
                rate += 7
            period = SECOND * (1 << (rate - 1)) // 32768
            deadline = self._timers.clock() + period
            self._periodic_timer = self._timers.schedule(deadline, self._periodic)

    def _periodic(self) -> None:
        self._request(PIE)
        self._plan_periodic()

    def _request(self, cause: int) -> None:
        self.cmos[C] |= cause
        if self.cmos[B] & cause:
            self.cmos[C] |= 0x80
            self._irq(True)
