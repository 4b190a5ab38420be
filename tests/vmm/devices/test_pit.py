"""The 8254, by its data sheet (231164-005)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import FakeClock, Line
from vmm.bus import PortBus
from vmm.clock import SECOND, TimerQueue
from vmm.devices.pit import HZ, MIN_GAP, Pit


class Bench:
    """A timer with ports and a clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.timers = TimerQueue(self.clock)
        self.irq = Line()
        self.pit = Pit(self.timers, self.irq)
        self.ports = PortBus()
        self.pit.attach(self.ports)

    def out(self, port: int, *values: int) -> None:
        for value in values:
            self.ports.write(port, 1, value)

    def read(self, port: int) -> int:
        return self.ports.read(port, 1)

    def count(self, counter: int) -> int:
        """Latch and read both bytes."""
        self.out(0x43, counter << 6)
        return self.read(0x40 + counter) | self.read(0x40 + counter) << 8

    def pass_ticks(self, ticks: int) -> None:
        self.clock.now += -(-ticks * SECOND // HZ)

    def run_until(self, end: int) -> int:
        """Let timers fire when they are due; returns how often the interrupt rose."""
        before = self.irq.edges
        while (deadline := self.timers.next_deadline()) is not None and deadline <= end:
            self.clock.now = max(self.clock.now, deadline)
            self.timers.run_due()
        self.clock.now = end
        return self.irq.edges - before


def test_rate_generator_interrupts_a_hundred_times_a_second() -> None:
    bench = Bench()
    bench.out(0x43, 0x34)
    bench.out(0x40, 11932 & 255, 11932 >> 8)
    assert 99 <= bench.run_until(bench.clock.now + SECOND) <= 100


def test_square_wave_has_the_same_rate() -> None:
    bench = Bench()
    bench.out(0x43, 0x36)
    bench.out(0x40, 0, 0)
    assert bench.run_until(bench.clock.now + 10 * SECOND) in (182, 183)


def test_terminal_count_interrupts_once() -> None:
    bench = Bench()
    bench.out(0x43, 0x30)
    bench.out(0x40, 1000 & 255, 1000 >> 8)
    assert not bench.irq.level
    assert bench.run_until(bench.clock.now + SECOND) == 1


def test_strobe_interrupts_once_for_each_load() -> None:
    bench = Bench()
    bench.out(0x43, 0x38)
    for _ in range(3):
        bench.out(0x40, 0, 4)
        assert bench.run_until(bench.clock.now + SECOND // 10) == 1


def test_a_new_mode_stops_the_series() -> None:
    bench = Bench()
    bench.out(0x43, 0x34)
    bench.out(0x40, 0, 16)
    bench.out(0x43, 0x34)
    assert bench.run_until(bench.clock.now + SECOND) == 0


def test_a_late_guest_gets_one_interrupt_and_the_series_stays_in_step() -> None:
    bench = Bench()
    bench.out(0x43, 0x34)
    bench.out(0x40, 11932 & 255, 11932 >> 8)
    first = bench.timers.next_deadline()
    assert first is not None
    bench.clock.now += SECOND + SECOND // 200
    bench.timers.run_due()
    assert bench.irq.edges == 1
    following = bench.timers.next_deadline()
    assert following is not None
    period = 11932 * SECOND / HZ
    assert abs((following - first) / period - round((following - first) / period)) < 0.001


def test_very_short_periods_are_slowed_down() -> None:
    bench = Bench()
    bench.out(0x43, 0x14)
    bench.out(0x40, 1)
    assert bench.run_until(bench.clock.now + SECOND // 100) <= SECOND // 100 // MIN_GAP + 1


def test_counting_down_and_latching() -> None:
    bench = Bench()
    bench.out(0x43, 0xB0)
    bench.out(0x42, 0x00, 0x80)
    bench.pass_ticks(1000)
    assert bench.count(2) == 0x8000 - 1000
    bench.out(0x43, 0x80)
    bench.pass_ticks(500)
    low = bench.read(0x42)
    assert low | bench.read(0x42) << 8 == 0x8000 - 1000


def test_the_low_byte_belongs_to_the_high_byte_without_latch() -> None:
    bench = Bench()
    bench.out(0x43, 0xB0)
    bench.out(0x42, 0x00, 0x80)
    bench.pass_ticks(1)
    low = bench.read(0x42)
    bench.pass_ticks(0x200)
    assert low | bench.read(0x42) << 8 == 0x7FFF


def test_bcd() -> None:
    bench = Bench()
    bench.out(0x43, 0xB1)
    bench.out(0x42, 0x00, 0x10)
    bench.pass_ticks(1)
    assert bench.count(2) == 0x0999


def test_read_back_of_status() -> None:
    bench = Bench()
    bench.out(0x43, 0xB6)
    bench.out(0x43, 0xE8)
    assert bench.read(0x42) == 0xF6  # OUT high, no count loaded, both bytes, mode 3
    bench.out(0x42, 0, 1)
    bench.out(0x43, 0xE8)
    assert bench.read(0x42) == 0xB6


def test_port_61_shows_counter_2() -> None:
    bench = Bench()
    bench.out(0x61, 1)
    bench.out(0x43, 0xB0)
    bench.out(0x42, 100, 0)
    assert not bench.read(0x61) & 0x20
    bench.pass_ticks(100)
    assert bench.read(0x61) & 0x21 == 0x21


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([0x40, 0x41, 0x42, 0x43, 0x61]), st.integers(0, 255)),
            st.tuples(st.just(0), st.integers(0, 10**9)),
        ),
        max_size=50,
    )
)
def test_no_sequence_breaks_it(steps: list[tuple[int, int]]) -> None:
    bench = Bench()
    for port, value in steps:
        if port:
            bench.out(port, value)
        else:
            bench.clock.now += value
            bench.timers.run_due()
        for counter in range(3):
            assert 0 <= bench.read(0x40 + counter) <= 0xFF
        assert 0 <= bench.read(0x61) <= 0xFF
        deadline = bench.timers.next_deadline()
        assert deadline is None or deadline < bench.clock.now + SECOND
