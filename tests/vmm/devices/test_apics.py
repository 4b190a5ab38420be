"""The local APIC and the I/O APIC (Intel SDM volume 3, chapter 11; 82093AA, 290566)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import FakeClock, Line
from vmm.bus import MmioBus, PortBus
from vmm.clock import TimerQueue
from vmm.devices import ioapic, lapic
from vmm.devices.apics import Apics
from vmm.engine.interface import NO_VECTOR


class Bench:
    """Both APICs and the 8259s, before a processor that only counts."""

    def __init__(self, enabled: bool = True) -> None:
        self.clock, self.cpu = FakeClock(0), Line()
        self.timers = TimerQueue(self.clock)
        self.ports, self.mmio = PortBus(), MmioBus()
        self.nmis = 0
        self.apics = Apics(self.timers, self.cpu, self._nmi)
        self.apics.attach(self.ports, self.mmio)
        if enabled:
            self.write(lapic.SPURIOUS, 0x1FF)

    def _nmi(self) -> None:
        self.nmis += 1

    def read(self, register: int) -> int:
        return self.mmio.read(lapic.BASE + register, 4)

    def write(self, register: int, value: int) -> None:
        self.mmio.write(lapic.BASE + register, 4, value)

    def take(self) -> int:
        return self.apics.acknowledge()

    def end(self) -> None:
        self.write(lapic.END, 0)

    def route(self, number: int, low: int, high: int = 0) -> None:
        for index, value in ((0x11 + 2 * number, high), (0x10 + 2 * number, low)):
            self.mmio.write(ioapic.BASE, 4, index)
            self.mmio.write(ioapic.BASE + ioapic.DATA, 4, value)

    def entry(self, number: int) -> int:
        self.mmio.write(ioapic.BASE, 4, 0x10 + 2 * number)
        return self.mmio.read(ioapic.BASE + ioapic.DATA, 4)

    def pass_ns(self, time: int) -> None:
        self.clock.now += time
        self.timers.run_due()


def start_8259(bench: Bench) -> None:
    """As Linux does: vectors 30h and 38h, nothing masked."""
    for base, vectors, cascade in ((0x20, 0x30, 4), (0xA0, 0x38, 2)):
        bench.ports.write(base, 1, 0x11)
        for word in (vectors, cascade, 1, 0):
            bench.ports.write(base + 1, 1, word)


def test_the_8259s_reach_a_processor_whose_apic_is_off() -> None:
    bench = Bench(enabled=False)
    start_8259(bench)
    bench.apics.set_irq(4, True)
    assert bench.cpu.level
    assert bench.take() == 0x34


def test_an_enabled_apic_passes_them_on_where_lint0_says_so() -> None:
    bench = Bench()
    start_8259(bench)
    bench.apics.set_irq(4, True)
    assert not bench.cpu.level
    assert bench.take() == NO_VECTOR
    bench.write(lapic.LINT0, 0x700)
    assert bench.cpu.level
    assert bench.take() == 0x34
    other = Bench(enabled=False)
    other.apics.lapic.let_external_through()
    start_8259(other)
    other.apics.set_irq(1, True)
    assert other.take() == 0x31


def test_higher_vectors_come_first_and_nest() -> None:
    bench = Bench()
    for vector in (0x41, 0x55, 0x52):
        bench.write(lapic.COMMAND, 1 << 18 | vector)
    assert bench.take() == 0x55
    assert not bench.cpu.level  # 52h is of the same class, 41h of a lower one
    assert bench.read(lapic.SERVICE + 0x20) == 1 << 0x15
    bench.write(lapic.COMMAND, 1 << 18 | 0x61)
    assert bench.take() == 0x61
    bench.end()
    bench.end()
    assert bench.take() == 0x52
    bench.end()
    assert bench.take() == 0x41
    bench.end()
    assert not bench.cpu.level


def test_the_task_priority_holds_back() -> None:
    bench = Bench()
    bench.write(lapic.TASK, 0x50)
    bench.write(lapic.COMMAND, 1 << 18 | 0x5F)
    assert not bench.cpu.level
    assert bench.read(lapic.PROCESSOR) == 0x50
    bench.write(lapic.TASK, 0x40)
    assert bench.cpu.level


def test_an_edge_arrives_once() -> None:
    bench = Bench()
    bench.route(4, 0x44)
    bench.apics.set_irq(4, True)
    bench.apics.set_irq(4, True)
    assert bench.take() == 0x44
    bench.end()
    assert not bench.cpu.level
    bench.apics.set_irq(4, False)
    bench.apics.set_irq(4, True)
    assert bench.take() == 0x44


def test_a_level_comes_again_until_it_is_gone() -> None:
    bench = Bench()
    bench.route(10, ioapic.LEVEL | 0x4A)
    bench.apics.set_irq(10, True)
    assert bench.take() == 0x4A
    assert bench.entry(10) & ioapic.ARRIVED
    assert bench.read(lapic.TRIGGER + 0x20) == 1 << 0x0A
    bench.end()
    assert bench.take() == 0x4A
    bench.apics.set_irq(10, False)
    bench.end()
    assert not bench.cpu.level
    assert not bench.entry(10) & ioapic.ARRIVED


def test_a_masked_level_waits() -> None:
    bench = Bench()
    bench.route(11, ioapic.MASKED | ioapic.LEVEL | 0x4B)
    bench.apics.set_irq(11, True)
    assert not bench.cpu.level
    bench.route(11, ioapic.LEVEL | 0x4B)
    assert bench.take() == 0x4B


def test_the_timer_interrupt_is_on_input_2() -> None:
    bench = Bench()
    bench.route(2, 0x30)
    bench.apics.set_irq(0, True)
    assert bench.take() == 0x30


def test_destinations() -> None:
    bench = Bench()
    bench.write(lapic.LOGICAL, 2 << 24)
    bench.route(4, 0x44, 1 << 24)
    bench.apics.set_irq(4, True)
    assert not bench.cpu.level  # physically, this is processor 0
    bench.apics.set_irq(4, False)
    bench.route(4, ioapic.LOGICAL | 0x45, 3 << 24)
    bench.apics.set_irq(4, True)
    assert bench.take() == 0x45
    bench.write(lapic.COMMAND, 3 << 18 | 0x46)  # all but itself
    assert not bench.cpu.level
    bench.write(lapic.COMMAND, 1 << 18 | lapic.NMI << 8)
    assert bench.nmis == 1


def test_one_shot() -> None:
    bench = Bench()
    bench.write(lapic.DIVIDE, 3)  # by 16
    bench.write(lapic.TIMER, 0xEC)
    bench.write(lapic.INITIAL, 1000)
    bench.pass_ns(8000)
    assert bench.read(lapic.CURRENT) == 500
    assert not bench.cpu.level
    bench.pass_ns(8000)
    assert bench.take() == 0xEC
    assert bench.read(lapic.CURRENT) == 0
    bench.end()
    bench.pass_ns(1_000_000)
    assert not bench.cpu.level


def test_periodic_until_it_is_stopped() -> None:
    bench = Bench()
    bench.write(lapic.DIVIDE, 0xB)  # by 1
    bench.write(lapic.TIMER, lapic.PERIODIC | 0xEC)
    bench.write(lapic.INITIAL, 1_000_000)
    for _ in range(3):
        bench.pass_ns(1_000_000)
        assert bench.take() == 0xEC
        bench.end()
    bench.pass_ns(250_000)
    assert bench.read(lapic.CURRENT) == 750_000
    bench.write(lapic.INITIAL, 0)
    bench.pass_ns(5_000_000)
    assert not bench.cpu.level


def test_a_short_period_does_not_keep_the_host_busy() -> None:
    bench = Bench()
    bench.write(lapic.DIVIDE, 0xB)
    bench.write(lapic.TIMER, lapic.PERIODIC | 0xEC)
    bench.write(lapic.INITIAL, 1)
    for _ in range(20):
        deadline = bench.timers.next_deadline()
        assert deadline is not None and deadline >= bench.clock.now + lapic.MIN_PERIOD
        bench.pass_ns(lapic.MIN_PERIOD)


def test_switching_off_masks_the_table() -> None:
    bench = Bench()
    bench.write(lapic.TIMER, 0xEC)
    bench.write(lapic.SPURIOUS, 0xFF)
    assert bench.read(lapic.TIMER) & lapic.MASKED
    bench.write(lapic.TIMER, 0xEC)
    assert bench.read(lapic.TIMER) & lapic.MASKED


def test_illegal_vectors_are_errors() -> None:
    bench = Bench()
    bench.write(lapic.COMMAND, 1 << 18 | 3)
    bench.write(lapic.ERRORS, 0)
    assert bench.read(lapic.ERRORS) == lapic.ILLEGAL_SENT
    bench.write(lapic.ERRORS, 0)
    assert bench.read(lapic.ERRORS) == 0


ACCESS = st.tuples(
    st.sampled_from([lapic.BASE, ioapic.BASE]),
    st.one_of(st.integers(0, 0x40).map(lambda i: 16 * i), st.integers(0, 0xFFF)),
    st.sampled_from([1, 2, 4, 8]),
    st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 0x3FFFF)),
)


@given(st.lists(ACCESS, max_size=60), st.lists(st.integers(0, 31), max_size=20))
def test_no_access_breaks_them(accesses: list[tuple[int, int, int, int]], irqs: list[int]) -> None:
    bench = Bench()
    start_8259(bench)
    for base, offset, size, value in accesses:
        bench.mmio.write(base + offset, size, value & (1 << 8 * size) - 1)
        assert 0 <= bench.mmio.read(base + offset, size) < 1 << 8 * size
        for irq in irqs:
            bench.apics.set_irq(irq & 15, bool(irq & 16))
        bench.pass_ns(40_000)
        if bench.cpu.level:
            assert NO_VECTOR <= bench.take() <= 255
    assert len(bench.timers.planned()) <= 1
