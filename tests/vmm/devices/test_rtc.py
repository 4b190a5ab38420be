"""The MC146818, by its data sheet."""

from __future__ import annotations

import calendar

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import FakeClock, Line
from vmm.bus import PortBus
from vmm.clock import SECOND, TimerQueue
from vmm.config import MIB
from vmm.devices.rtc import A, B, C, D, Rtc

NOW = calendar.timegm((2024, 2, 29, 13, 59, 58))


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock(NOW * SECOND)
        self.timers = TimerQueue(self.clock)
        self.irq = Line()
        self.rtc = Rtc(self.timers, self.clock, self.irq)
        self.ports = PortBus()
        self.rtc.attach(self.ports)

    def read(self, index: int) -> int:
        self.ports.write(0x70, 1, index)
        return self.ports.read(0x71, 1)

    def out(self, index: int, value: int) -> None:
        self.ports.write(0x70, 1, index)
        self.ports.write(0x71, 1, value)

    def advance(self, ns: int) -> None:
        end = self.clock.now + ns
        while (deadline := self.timers.next_deadline()) is not None and deadline <= end:
            self.clock.now = max(self.clock.now, deadline)
            self.timers.run_due()
        self.clock.now = end


def test_time_in_bcd() -> None:
    bench = Bench()
    fields = [bench.read(i) for i in (0x32, 9, 8, 7, 4, 2, 0, 6)]
    assert fields == [0x20, 0x24, 0x02, 0x29, 0x13, 0x59, 0x58, 5]


def test_time_in_binary_and_12_hours() -> None:
    bench = Bench()
    bench.out(B, 0x04)
    assert [bench.read(i) for i in (4, 2, 0)] == [0x81, 59, 58]
    bench.out(B, 0x06)
    assert bench.read(4) == 13


def test_time_passes() -> None:
    bench = Bench()
    bench.advance(2 * SECOND)
    assert [bench.read(i) for i in (4, 2, 0)] == [0x14, 0x00, 0x00]


def test_setting_the_time() -> None:
    bench = Bench()
    bench.out(B, 0x82)
    for index, value in ((0x32, 0x19), (9, 0x99), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59),
                         (0, 0x59)):  # fmt: skip
        bench.out(index, value)
    assert bench.read(0) == 0x59  # stands still
    bench.out(B, 0x02)
    bench.advance(SECOND)
    assert [bench.read(i) for i in (0x32, 9, 8, 7, 4, 2, 0)] == [0x20, 0, 1, 1, 0, 0, 0]


def test_impossible_times_are_ignored() -> None:
    bench = Bench()
    bench.out(B, 0x82)
    bench.out(8, 0xFF)
    bench.out(B, 0x02)
    assert bench.read(8) == 0x02


def test_update_in_progress_before_the_second_changes() -> None:
    bench = Bench()
    assert not bench.read(A) & 0x80
    bench.advance(SECOND - 100_000)
    assert bench.read(A) & 0x80


def test_update_interrupt() -> None:
    bench = Bench()
    bench.out(B, 0x12)
    bench.advance(SECOND)
    assert bench.irq.level
    assert bench.read(C) & 0x90 == 0x90
    assert not bench.irq.level
    assert bench.read(C) == 0


def test_alarm() -> None:
    bench = Bench()
    for index, value in ((5, 0xC0), (3, 0x00), (1, 0x01)):
        bench.out(index, value)
    bench.out(B, 0x22)
    bench.advance(2 * SECOND)
    assert not bench.irq.level
    bench.advance(SECOND)
    assert bench.irq.level
    assert bench.read(C) & 0xA0 == 0xA0


def test_periodic_interrupt() -> None:
    bench = Bench()
    bench.out(A, 0x26)  # 1024 Hz
    bench.out(B, 0x42)
    count = 0
    for _ in range(1000):
        bench.advance(SECOND // 1000)
        count += bool(bench.read(C) & 0x40)
    assert 990 <= count <= 1000


def test_memory_sizes() -> None:
    bench = Bench()
    bench.rtc.set_memory(256 * MIB)
    assert bench.read(0x34) | bench.read(0x35) << 8 == (256 - 16) * 16
    assert bench.read(0x15) | bench.read(0x16) << 8 == 640
    assert bench.read(0x30) | bench.read(0x31) << 8 == 0xFC00


def test_battery_and_memory() -> None:
    bench = Bench()
    assert bench.read(D) == 0x80
    bench.out(0x40, 0x77)
    assert bench.read(0x40) == 0x77


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=60))
def test_no_sequence_breaks_it(writes: list[tuple[int, int]]) -> None:
    bench = Bench()
    for index, value in writes:
        bench.out(index, value)
        bench.advance(SECOND // 3)
        assert 0 <= bench.read(index) <= 0xFF
        assert 0 <= bench.read(value) <= 0xFF
