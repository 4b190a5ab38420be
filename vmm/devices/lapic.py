"""The processor's local APIC, as memory at FEE00000h (xAPIC).

Intel SDM volume 3, chapter 11 (of 2023): 11.4 registers, 11.5 local vector table and timer, 11.6
interrupt commands, 11.8 priorities.

  020 identity   030 version   080 task priority   0A0 processor priority   0B0 end of interrupt
  0D0 0E0 logical destination and its format   0F0 spurious vector: 8 enables
  100-170 in service   180-1F0 level triggered   200-270 requested   280 errors (written to look)
  300 310 interrupt command   320 timer: 18:17 mode   330 thermal   340 counters   350 LINT0
  360 LINT1   370 error   380 initial count   390 current count   3E0 divide by
  An entry of the local vector table: 7:0 vector, 10:8 mode, 16 masked

There is one processor: commands to others go nowhere.  The 8259s are on LINT0, which passes their
requests on in mode 7; nothing is on LINT1.  The timer counts nanoseconds, divided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.bus import MmioBus
from vmm.clock import Timer, TimerQueue

BASE, SIZE = 0xFEE0_0000, 0x1000
IDENTITY, VERSION, TASK, PROCESSOR, END = 0x20, 0x30, 0x80, 0xA0, 0xB0
LOGICAL, FORMAT, SPURIOUS, ERRORS = 0xD0, 0xE0, 0xF0, 0x280
SERVICE, TRIGGER, REQUEST = 0x100, 0x180, 0x200
COMMAND, COMMAND_HIGH = 0x300, 0x310
TIMER, THERMAL, COUNTERS, LINT0, LINT1, ERROR = 0x320, 0x330, 0x340, 0x350, 0x360, 0x370
INITIAL, CURRENT, DIVIDE = 0x380, 0x390, 0x3E0
LOCAL: Final = (TIMER, THERMAL, COUNTERS, LINT0, LINT1, ERROR)
ENABLED, MASKED, PERIODIC = 1 << 8, 1 << 16, 1 << 17
FIXED, LOWEST, NMI, EXTERNAL = 0, 1, 4, 7
ILLEGAL_SENT, ILLEGAL_RECEIVED = 1 << 5, 1 << 6
VERSION_VALUE: Final = 0x0005_0014
"""An integrated APIC with six entries in its table."""
MIN_PERIOD: Final = 50_000
"""The shortest time between two interrupts of the timer, ns."""
_WRITABLE: Final = {
    IDENTITY: 0xFF00_0000,
    TASK: 0xFF,
    LOGICAL: 0xFF00_0000,
    FORMAT: 0xF000_0000,
    SPURIOUS: 0x3FF,
    COMMAND_HIGH: 0xFF00_0000,
    TIMER: 0x3_00FF,
    THERMAL: 0x1_07FF,
    COUNTERS: 0x1_07FF,
    LINT0: 0x1_A7FF,
    LINT1: 0x1_A7FF,
    ERROR: 0x1_00FF,
    DIVIDE: 0xB,
}
"""Registers that keep what is written, and which bits of it."""


class Lapic:
    """The one of the only processor."""

    def __init__(
        self,
        timers: TimerQueue,
        changed: Callable[[], None],
        nmi: Callable[[], None],
        ended: Callable[[int], None],
    ) -> None:
        """``changed`` is called when ``asserted`` or ``passes_external`` may have changed;
        ``ended`` with the vector of a level-triggered interrupt that was served."""
        self._timers = timers
        self._changed, self._nmi, self._ended = changed, nmi, ended
        self._registers = dict.fromkeys((*_WRITABLE, COMMAND, INITIAL), 0)
        self._registers |= {FORMAT: 0xFFFF_FFFF, SPURIOUS: 0xFF} | dict.fromkeys(LOCAL, MASKED)
        self._requested = self._served = self._level = 0  # a bit for each vector
        self._errors = self._errors_shown = 0
        self._started = 0  # when the timer's count was the initial one, ns
        self._timer: Timer | None = None
        self.asserted = False
        """Whether there is an interrupt to take."""

    def attach(self, mmio: MmioBus) -> None:
        mmio.map(BASE, SIZE, self.read, self.write)

    def let_external_through(self) -> None:
        """What firmware does: be enabled, and pass on what the 8259s request."""
        self._registers[SPURIOUS] |= ENABLED
        self._registers[LINT0] = EXTERNAL << 8

    @property
    def passes_external(self) -> bool:
        """Whether requests of the 8259s reach the processor."""
        line = self._registers[LINT0]
        return not self.enabled or (line >> 8 & 7 == EXTERNAL and not line & MASKED)

    @property
    def enabled(self) -> bool:
        return bool(self._registers[SPURIOUS] & ENABLED)

    # Interrupts

    def accept(self, vector: int, level: bool = False) -> None:
        """An interrupt arrives."""
        if not self.enabled:
            return
        if vector < 16:
            self._errors |= ILLEGAL_RECEIVED
            return
        bit = 1 << vector
        self._requested |= bit
        self._level = self._level | bit if level else self._level & ~bit
        self._update()

    def _priority(self) -> int:
        """The processor's (11.8.3.1)."""
        task = self._registers[TASK]
        served = self._served.bit_length() - 1 & 0xF0 if self._served else 0
        return task if task & 0xF0 >= served else served

    def _update(self) -> None:
        wanted = self._requested.bit_length() - 1 if self._requested else 0
        self.asserted = wanted & 0xF0 > self._priority() & 0xF0
        self._changed()

    def acknowledge(self) -> int:
        """The vector of the interrupt to take, which ``asserted`` says is there."""
        vector = self._requested.bit_length() - 1
        self._requested &= ~(1 << vector)
        self._served |= 1 << vector
        self._update()
        return vector

    def _end(self) -> None:
        if not self._served:
            return
        vector = self._served.bit_length() - 1
        self._served &= ~(1 << vector)
        if self._level >> vector & 1:
            self._ended(vector)
        self._update()

    # Registers

    def read(self, offset: int, size: int) -> int:
        register, shift = offset & ~15, 8 * (offset & 15)
        return self._value(register) >> shift & (1 << 8 * size) - 1 if shift < 32 else 0

    def _value(self, register: int) -> int:
        for base, bits in (
            (SERVICE, self._served),
            (TRIGGER, self._level),
            (REQUEST, self._requested),
        ):
            if base <= register < base + 0x80:
                return bits >> 2 * (register - base) & 0xFFFF_FFFF
        if register == CURRENT:
            return self._count()
        if register == PROCESSOR:
            return self._priority()
        if register == VERSION:
            return VERSION_VALUE
        return self._errors_shown if register == ERRORS else self._registers.get(register, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        """Registers are written as 32 bits, and no other way."""
        if size != 4 or offset & 15:
            return
        if offset == END:
            self._end()
        elif offset == COMMAND:
            self._registers[COMMAND] = value & 0xC_CFFF
            self._command(value)
        elif offset == ERRORS:
            self._errors_shown, self._errors = self._errors, 0
        elif offset == INITIAL:
            self._registers[INITIAL] = value
            self._start()
        elif offset in _WRITABLE:
            self._write_plain(offset, value)

    def _write_plain(self, offset: int, value: int) -> None:
        before = self._registers[offset]
        self._registers[offset] = value & _WRITABLE[offset]
        if offset == FORMAT:
            self._registers[FORMAT] |= 0x0FFF_FFFF
        elif offset == SPURIOUS and not self.enabled:
            for entry in LOCAL:
                self._registers[entry] |= MASKED
        elif offset in LOCAL and not self.enabled:
            self._registers[offset] |= MASKED
        if offset == DIVIDE and before != self._registers[DIVIDE]:
            self._start()
        elif offset == TIMER and (before ^ value) & (PERIODIC | MASKED):
            self._plan()
        self._update()

    # Commands

    def _command(self, value: int) -> None:
        if not self._is_meant(value):
            return
        vector, mode = value & 0xFF, value >> 8 & 7
        if mode == NMI:
            self._nmi()
        elif mode in (FIXED, LOWEST):
            if vector < 16:
                self._errors |= ILLEGAL_SENT
            else:
                self.accept(vector)

    def _is_meant(self, value: int) -> bool:
        shorthand = value >> 18 & 3
        if shorthand:
            return shorthand in (1, 2)
        return self.is_destination(self._registers[COMMAND_HIGH] >> 24, bool(value & 0x800))

    def is_destination(self, destination: int, logical: bool) -> bool:
        """Whether a message is for this APIC (11.6.2)."""
        if destination == 0xFF:
            return True
        if not logical:
            return destination == self._registers[IDENTITY] >> 24
        mine = self._registers[LOGICAL] >> 24
        if self._registers[FORMAT] >> 28 == 0xF:
            return bool(destination & mine)
        return destination >> 4 == mine >> 4 and bool(destination & mine & 15)

    # The timer

    def _divisor(self) -> int:
        divide = self._registers[DIVIDE]
        return 1 << ((divide >> 1 & 4 | divide & 3) + 1 & 7)

    def _length(self) -> int:
        """Nanoseconds from the initial count to zero."""
        return self._registers[INITIAL] * self._divisor()

    def _count(self) -> int:
        initial, length = self._registers[INITIAL], self._length()
        if not initial:
            return 0
        passed = self._timers.clock() - self._started
        if self._registers[TIMER] & PERIODIC:
            passed %= length
        return max(initial - passed // self._divisor(), 0)

    def _start(self) -> None:
        self._started = self._timers.clock()
        self._plan()

    def _plan(self) -> None:
        """See to it that the timer's next interrupt comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        length, entry = self._length(), self._registers[TIMER]
        if not length or entry & MASKED:
            return
        deadline = self._started + length
        if entry & PERIODIC:
            now = self._timers.clock()
            passed = max(now - self._started, 0) // length
            deadline = max(self._started + (passed + 1) * length, now + min(length, MIN_PERIOD))
            if length < MIN_PERIOD:
                deadline = now + MIN_PERIOD
        elif deadline <= self._started:
            return
        self._timer = self._timers.schedule(deadline, self._expired)

    def _expired(self) -> None:
        self._timer = None
        entry = self._registers[TIMER]
        if entry & PERIODIC:
            self._plan()
        self.accept(entry & 0xFF)
