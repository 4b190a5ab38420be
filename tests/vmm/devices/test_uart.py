"""The 16550A, by its data sheet (PC16550D)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import FakeClock, Line, Recorder
from vmm.bus import PortBus
from vmm.clock import TimerQueue
from vmm.devices.uart import FIFO, FLUSH_NS, Uart

BASE = 0x3F8
DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH = range(8)


class Port:
    """A port as a driver uses it: FIFOs on, interrupts let out."""

    def __init__(self, ier: int = 0, fcr: int = 0x01) -> None:
        self.clock = FakeClock()
        self.timers = TimerQueue(self.clock)
        self.serial = Recorder()
        self.irq = Line()
        self.uart = Uart(self.serial, self.timers, self.irq)
        self.ports = PortBus()
        self.uart.attach(self.ports, BASE)
        self.out(IIR, fcr)
        self.out(MCR, 0x0B)
        self.out(IER, ier)

    def out(self, register: int, value: int) -> None:
        self.ports.write(BASE + register, 1, value)

    def read(self, register: int) -> int:
        return self.ports.read(BASE + register, 1)


def test_lines_are_handed_on_whole() -> None:
    port = Port()
    for value in b"hello\nwor":
        port.out(DATA, value)
    assert port.serial.data == b"hello\n"
    port.clock.now += FLUSH_NS
    port.timers.run_due()
    assert port.serial.data == b"hello\nwor"


def test_divisor_is_behind_dlab() -> None:
    port = Port()
    port.out(LCR, 0x83)
    port.out(DATA, 0x34)
    port.out(IER, 0x12)
    assert (port.read(DATA), port.read(IER)) == (0x34, 0x12)
    port.out(LCR, 0x03)
    assert port.read(IER) == 0
    assert port.serial.data == b""


def test_fifo_is_reported() -> None:
    port = Port()
    assert port.read(IIR) & 0xC0 == 0xC0
    port.out(IIR, 0)
    assert port.read(IIR) & 0xC0 == 0


def test_input_waits_and_none_is_lost() -> None:
    port = Port(ier=1)
    sent = bytes(range(256)) * 4
    port.uart.receive(sent)
    assert port.irq.level
    assert port.uart.backlog == len(sent)
    got = bytearray()
    while port.read(LSR) & 1:
        got.append(port.read(DATA))
    assert got == sent
    assert not port.irq.level
    assert not port.read(LSR) & 2  # no overrun


def test_drained_is_said_once_the_guest_has_all() -> None:
    port = Port(ier=1)
    said: list[int] = []
    port.uart.drained = lambda: said.append(1)
    port.uart.receive(b"ab")
    port.read(DATA)
    assert not said
    port.read(DATA)
    assert said


def test_interrupt_causes() -> None:
    port = Port(ier=3, fcr=0x81)  # trigger at 8
    assert port.read(IIR) & 15 == 2  # transmitter empty
    assert port.read(IIR) & 15 == 1  # reading cleared it
    port.uart.receive(b"123")
    assert port.read(IIR) & 15 == 12  # time-out: below the trigger level
    port.uart.receive(b"45678")
    assert port.read(IIR) & 15 == 4
    port.out(DATA, 0x41)
    assert port.read(IIR) & 15 == 4  # data go before the transmitter
    for _ in range(8):
        port.read(DATA)
    assert port.read(IIR) & 15 == 2


def test_every_byte_sent_is_an_edge() -> None:
    port = Port(ier=2)
    before = port.irq.edges
    for _ in range(5):
        port.out(DATA, 0x41)
    assert port.irq.edges - before == 5


def test_out2_gates_the_interrupt() -> None:
    port = Port(ier=1)
    port.out(MCR, 0)
    port.uart.receive(b"x")
    assert not port.irq.level
    port.out(MCR, 8)
    assert port.irq.level


def test_loop_back() -> None:
    port = Port()
    port.out(MCR, 0x1A)
    assert port.read(MSR) & 0xF0 == 0x90  # RTS at CTS, OUT2 at DCD
    port.out(DATA, 0x55)
    assert port.read(DATA) == 0x55
    assert port.serial.data == b""
    for i in range(FIFO + 1):
        port.out(DATA, i)
    assert port.read(LSR) & 2
    assert not port.read(LSR) & 2


def test_scratch_and_lines() -> None:
    port = Port()
    port.out(SCRATCH, 0xA5)
    assert port.read(SCRATCH) == 0xA5
    assert port.read(MSR) & 0xF0 == 0xB0
    assert port.read(LSR) == 0x60


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 7), st.integers(0, 255)),
            st.tuples(st.just(8), st.integers(0, 255)),
        ),
        max_size=60,
    )
)
def test_no_sequence_breaks_it(steps: list[tuple[int, int]]) -> None:
    port = Port()
    for register, value in steps:
        if register == 8:
            port.uart.receive(bytes([value]))
        else:
            port.out(register, value)
        for other in range(8):
            assert 0 <= port.read(other) <= 0xFF


def test_a_driver_that_probes_and_starts_loses_no_input() -> None:
    """As Linux does it: all of IER, RTS, both ways of clearing the FIFO, and then the interrupt."""
    port = Port()
    port.out(MCR, 0)
    port.uart.receive(b"typed")
    for _ in range(2):
        for value in (0x00, 0x0F, 0x00):
            port.out(IER, value)
        for value in (1, 7, 0):
            port.out(IIR, value)
        port.read(DATA)
    port.out(MCR, 0x0B)
    port.out(IER, 5)
    for value in (1, 0x81):
        port.out(IIR, value)
    got = bytearray()
    while port.read(LSR) & 1:
        got.append(port.read(DATA))
    assert got == b"typed"
