"""The 8254 interval timer, and port 61h, which gates and shows its third counter.

Intel, "8254 Programmable Interval Timer" (231164-005); port 61h: Intel 82371SB, 2.4.4.

  port   write                                   read
  40h+n  reload value of counter n, as its       count, latched count or latched status
         access mode says (low, high, both)
  43h    7:6 counter (3: read-back), 5:4 access  -
         (0: latch), 3:1 mode, 0 BCD
  61h    0 gate of counter 2, 1 speaker          as written; 4 refresh toggle, 5 OUT of counter 2

Counters run at 1.193182 MHz of the board's clock, which is read only when the guest looks.
Counter 0's output is interrupt 0.  An interrupt that comes late is delivered once and the series
goes on in step with the clock: a guest that was held up gets one, not a burst.
"""

from __future__ import annotations

from vmm.bus import PortBus
from vmm.clock import SECOND, Timer, TimerQueue
from vmm.devices import IrqLine

HZ = 1_193_182
LATCH, LOW, HIGH, BOTH = 0, 1, 2, 3
MIN_GAP = 50_000
"""The shortest time between two interrupts, ns: a guest that programs a shorter period would keep
this process busy and get nothing done itself."""
REFRESH_NS = 15_085


def _from_bcd(value: int) -> int:
    return sum((value >> 4 * i & 15) * 10**i for i in range(4))


def _to_bcd(value: int) -> int:
    return sum(value // 10**i % 10 << 4 * i for i in range(4))


class Counter:
    """One counter.  ``started`` is the time (ns) at which it held ``reload``."""

    def __init__(self, timers: TimerQueue) -> None:
        self._timers = timers
        self.mode = 3
        self.access = BOTH
        self.bcd = False
        self.gate = True
        self.reload = 0x10000
        self.loaded = False  # a count was written since the mode was
        self.started = timers.clock()
        self._low = 0
        self._write_high = self._read_high = False
        self._latched: int | None = None
        self._status: int | None = None

    def ticks(self) -> int:
        """Input pulses since ``started``."""
        return (self._timers.clock() - self.started) * HZ // SECOND

    def count(self) -> int:
        """What the counting element holds."""
        ticks = self.ticks()
        if self.mode == 2:
            value = self.reload - ticks % self.reload
        elif self.mode == 3:
            value = self.reload - 2 * ticks % self.reload
        else:
            value = self.reload - ticks
        value %= 10_000 if self.bcd else 0x10000
        return _to_bcd(value) if self.bcd else value

    def output(self) -> bool:
        """The level of OUT."""
        ticks = self.ticks()
        if self.mode in (0, 1):
            return self.loaded and ticks >= self.reload
        if not self.loaded:
            return True
        if self.mode == 2:
            return ticks % self.reload != self.reload - 1
        if self.mode == 3:
            return ticks % self.reload < (self.reload + 1) // 2
        return ticks != self.reload

    def set_mode(self, access: int, mode: int, bcd: bool) -> None:
        self.access, self.mode, self.bcd = access, mode & 3 if mode > 5 else mode, bcd
        self.loaded = self._write_high = self._read_high = False
        self._latched = self._status = None

    def set_gate(self, gate: bool) -> None:
        """A rising gate restarts the counter in modes 1, 2, 3 and 5."""
        if gate and not self.gate and self.mode in (1, 2, 3, 5):
            self.started = self._timers.clock()
        self.gate = gate

    def write(self, value: int) -> bool:
        """Take a byte of the reload value.  Returns whether the counter was started by it."""
        if self.access == BOTH and not self._write_high:
            self._low = value
            self._write_high = True
            return False
        self._write_high = False
        word = value << 8 if self.access == HIGH else value
        if self.access == BOTH:
            word = self._low | value << 8
        top = 10_000 if self.bcd else 0x10000
        self.reload = (_from_bcd(word) if self.bcd else word) or top
        self.loaded = True
        self.started = self._timers.clock()
        return True

    def read(self) -> int:
        if self._status is not None:
            value, self._status = self._status, None
            return value
        word = self.count() if self._latched is None else self._latched
        if self.access == BOTH and not self._read_high:
            self._read_high = True
            if self._latched is None:
                self._latched = word  # the high byte must belong to this low byte
            return word & 0xFF
        self._read_high = False
        self._latched = None
        return word & 0xFF if self.access == LOW else word >> 8 & 0xFF

    def latch_count(self) -> None:
        if self._latched is None:
            self._latched = self.count()

    def latch_status(self) -> None:
        if self._status is None:
            self._status = (
                self.output() << 7
                | (not self.loaded) << 6
                | self.access << 4
                | self.mode << 1
                | self.bcd
            )

    def next_interrupt(self) -> int | None:
        """The time (ns) of the next rising edge of OUT, or None when none will come.

        Of a single one it may be past already: a guest that counts a few microseconds has its
        interrupt though this process was busy elsewhere meanwhile.
        """
        if not self.loaded:
            return None
        if self.mode in (2, 3):
            periods = self.ticks() // self.reload + 1
            return self.started + -(-periods * self.reload * SECOND // HZ)
        if self.mode in (0, 4):
            return self.started + -(-self.reload * SECOND // HZ)
        return None


class Pit:
    """The chip and port 61h."""

    def __init__(self, timers: TimerQueue, irq: IrqLine) -> None:
        self._timers = timers
        self._irq = irq
        self.counters = [Counter(timers) for _ in range(3)]
        self.counters[2].gate = False
        self._timer: Timer | None = None
        self._last = 0
        self._speaker = 0

    def attach(self, ports: PortBus) -> None:
        ports.map_bytes(0x40, 4, self.read, self.write)
        ports.map_bytes(0x61, 1, self.read_61, self.write_61)

    def read(self, offset: int) -> int:
        return self.counters[offset].read() if offset < 3 else 0xFF

    def write(self, offset: int, value: int) -> None:
        if offset == 3:
            self._control(value)
        elif self.counters[offset].write(value) and offset == 0:
            self._plan(self.counters[0].next_interrupt())

    def read_61(self, _offset: int) -> int:
        refresh = self._timers.clock() // REFRESH_NS & 1
        return self._speaker | refresh << 4 | self.counters[2].output() << 5

    def write_61(self, _offset: int, value: int) -> None:
        self._speaker = value & 3
        self.counters[2].set_gate(bool(value & 1))

    def _control(self, value: int) -> None:
        select, access = value >> 6, value >> 4 & 3
        if select == 3:
            for i, counter in enumerate(self.counters):
                if value >> (i + 1) & 1:
                    if not value & 0x20:
                        counter.latch_count()
                    if not value & 0x10:
                        counter.latch_status()
        elif access == LATCH:
            self.counters[select].latch_count()
        else:
            self.counters[select].set_mode(access, value >> 1 & 7, bool(value & 1))
            if select == 0:
                self._plan(None)
                if not self.counters[0].output():
                    self._irq(False)

    def _plan(self, deadline: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            deadline = max(deadline, self._last + MIN_GAP)
            self._timer = self._timers.schedule(deadline, self._tick)

    def _tick(self) -> None:
        self._last = self._timers.clock()
        self._irq(False)
        self._irq(True)
        counter = self.counters[0]
        self._plan(counter.next_interrupt() if counter.mode in (2, 3) else None)
