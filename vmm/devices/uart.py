"""A 16550A serial port.

National Semiconductor, "PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs".

  offset  read                       write
  0       RBR received byte          THR byte to send         (DLAB: divisor low)
  1       IER                        IER 0 data, 1 THR empty, 2 line, 3 modem  (DLAB: divisor high)
  2       IIR 3:0 cause, 7:6 FIFOs   FCR 0 enable, 1 clear rx, 2 clear tx, 7:6 trigger
  3       LCR 7 DLAB, 6 break        same
  4       MCR 0 DTR, 1 RTS, 2 OUT1, 3 OUT2 (lets the interrupt out), 4 loop
  5       LSR 0 data, 1 overrun, 5 THR empty, 6 idle
  6       MSR 3:0 changes, 4 CTS, 5 DSR, 6 RI, 7 DCD
  7       scratch

Bytes leave at once: the transmitter is always empty.  Output is gathered and handed on at a line's
end, when enough has come together, or after ``FLUSH_NS``.  Input waits in a backlog until the guest
takes it from the FIFO: none is lost, however slow the guest reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vmm.backends import Serial
from vmm.bus import PortBus
from vmm.clock import Timer, TimerQueue
from vmm.devices import IrqLine

FIFO = 16
FLUSH_NS = 4_000_000
FLUSH_SIZE = 4096
IER_DATA, IER_EMPTY, IER_LINE, IER_MODEM = 1, 2, 4, 8
DLAB = 0x80
POLLS = 64
"""Looks at LSR without sending that show a guest waiting for input."""
MCR_RTS, MCR_OUT2, MCR_LOOP = 2, 8, 0x10
LSR_DATA, LSR_OVERRUN, LSR_EMPTY = 1, 2, 0x60
MSR_CONNECTED = 0xB0
"""CTS, DSR and DCD: somebody is at the other end."""
TRIGGERS = (1, 4, 8, 14)
CAUSE_NONE, CAUSE_MODEM, CAUSE_EMPTY, CAUSE_DATA, CAUSE_LINE, CAUSE_TIMEOUT = 1, 0, 2, 4, 6, 12
NEWLINE = 10


class Uart:
    """One port."""

    def __init__(self, serial: Serial, timers: TimerQueue, irq: IrqLine) -> None:
        self._serial = serial
        self._timers = timers
        self._irq = irq
        self._output = bytearray()
        self._flush_timer: Timer | None = None
        self._backlog: deque[int] = deque()
        self.drained: Callable[[], None] = lambda: None
        """Called when the guest has taken all input that came."""
        self._fifo: deque[int] = deque()
        self._ier = self._lcr = self._mcr = self._scratch = 0
        self._divisor = 12
        self._fifo_enabled = False
        self._trigger = 1
        self._overrun = False
        self._empty_pending = False
        self._polls = 0  # reads of LSR since the guest last sent
        self._has_read = False  # whether the guest ever had a byte of input
        self._modem_delta = 0

    def attach(self, ports: PortBus, base: int) -> None:
        ports.map_bytes(base, 8, self.read, self.write)

    @property
    def backlog(self) -> int:
        """Bytes that came and that the guest has not read."""
        return len(self._backlog) + len(self._fifo)

    def receive(self, data: bytes) -> None:
        """Input from outside."""
        self._backlog.extend(data)
        self._fill()

    def flush(self) -> None:
        """Hand on what was gathered."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._output:
            data = bytes(self._output)
            self._output.clear()
            self._serial.write(data)

    def read(self, offset: int) -> int:
        if offset == 5:  # by far the most frequent
            self._polls += 1
            if self._polls == POLLS:
                self._fill()
            return LSR_EMPTY | (LSR_DATA if self._fifo else 0) | self._take_overrun()
        if offset == 0:
            return self._divisor & 0xFF if self._lcr & DLAB else self._read_data()
        if offset == 1:
            return self._divisor >> 8 if self._lcr & DLAB else self._ier
        if offset == 2:
            return self._read_iir()
        if offset == 3:
            return self._lcr
        if offset == 4:
            return self._mcr
        if offset == 6:
            delta, self._modem_delta = self._modem_delta, 0
            self._update()
            return self._modem_lines() | delta
        return self._scratch

    def write(self, offset: int, value: int) -> None:
        if offset == 0 and not self._lcr & DLAB:
            self._send(value)
        elif offset == 0:
            self._divisor = self._divisor & 0xFF00 | value
        elif offset == 1 and self._lcr & DLAB:
            self._divisor = self._divisor & 0xFF | value << 8
        elif offset == 1:
            if value & IER_EMPTY and not self._ier & IER_EMPTY:
                self._empty_pending = True
            self._ier = value & 0x0F
            self._fill()
        elif offset == 2:
            self._write_fcr(value)
        elif offset == 3:
            self._lcr = value
        elif offset == 4:
            before = self._modem_lines()
            self._mcr = value & 0x1F
            self._modem_delta |= (before ^ self._modem_lines()) >> 4
            self._fill()
        elif offset == 7:
            self._scratch = value

    def _send(self, value: int) -> None:
        if self._mcr & MCR_LOOP:
            if len(self._fifo) < (FIFO if self._fifo_enabled else 1):
                self._fifo.append(value)
            else:
                self._overrun = True
        else:
            self._output.append(value)
            if value == NEWLINE or len(self._output) >= FLUSH_SIZE:
                self.flush()
            elif self._flush_timer is None:
                deadline = self._timers.clock() + FLUSH_NS
                self._flush_timer = self._timers.schedule(deadline, self.flush)
        self._polls = 0
        self._empty_pending = True
        if self._ier & IER_EMPTY:
            self._irq(False)  # the next byte's interrupt is a new edge
        self._update()

    def _read_data(self) -> int:
        if not self._fifo:
            return 0
        value = self._fifo.popleft()
        self._has_read = True
        if not self._fifo and not self._backlog:
            self.drained()
        self._fill()
        return value

    def _fill(self) -> None:
        """Let input in, once the guest listens: a driver that starts throws away what came before.

        It says so by asking for the interrupt and letting it out, or by polling for it.  Each alone
        comes too early: a driver that probes sets all of IER, and RTS before it clears the FIFO.
        """
        room = (FIFO if self._fifo_enabled else 1) - len(self._fifo)
        asked = self._ier & IER_DATA and self._mcr & MCR_OUT2
        listens = asked or self._polls >= POLLS
        if listens and not self._mcr & MCR_LOOP:
            while room > 0 and self._backlog:
                self._fifo.append(self._backlog.popleft())
                room -= 1
        self._update()

    def _take_overrun(self) -> int:
        if not self._overrun:
            return 0
        self._overrun = False
        self._update()
        return LSR_OVERRUN

    def _write_fcr(self, value: int) -> None:
        enabled = bool(value & 1)
        if value & 2 or enabled != self._fifo_enabled:
            if not self._has_read and not self._mcr & MCR_LOOP:
                self._backlog.extendleft(reversed(self._fifo))  # it could not know of any yet
            self._fifo.clear()
        self._fifo_enabled = enabled
        self._trigger = TRIGGERS[value >> 6] if enabled else 1
        self._fill()

    def _modem_lines(self) -> int:
        if not self._mcr & MCR_LOOP:
            return MSR_CONNECTED
        mcr = self._mcr  # DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD
        return (mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 0xC) << 4

    def _cause(self) -> int:
        """The interrupt with the highest priority."""
        ier = self._ier
        if ier & IER_LINE and self._overrun:
            return CAUSE_LINE
        if ier & IER_DATA and self._fifo:
            # Below the trigger level the time-out interrupt is due after four characters' time;
            # nothing else can arrive meanwhile that is not here already.
            return CAUSE_DATA if len(self._fifo) >= self._trigger else CAUSE_TIMEOUT
        if ier & IER_EMPTY and self._empty_pending:
            return CAUSE_EMPTY
        if ier & IER_MODEM and self._modem_delta:
            return CAUSE_MODEM
        return CAUSE_NONE

    def _read_iir(self) -> int:
        cause = self._cause()
        if cause == CAUSE_EMPTY:
            self._empty_pending = False
            self._update()
        return cause | (0xC0 if self._fifo_enabled else 0)

    def _update(self) -> None:
        self._irq(self._cause() != CAUSE_NONE and bool(self._mcr & MCR_OUT2))
