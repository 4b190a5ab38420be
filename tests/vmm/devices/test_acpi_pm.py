"""ACPI's fixed registers (ACPI 6.4, 4.8.3)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import FakeClock, Line
from vmm.bus import PortBus
from vmm.clock import SECOND
from vmm.devices.acpi_pm import CONTROL, ENABLE, RESET_PORT, STATUS, TIMER, AcpiPm


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock(0)
        self.sci = Line()
        self.events: list[str] = []
        self.pm = AcpiPm(
            self.clock,
            self.sci,
            lambda: self.events.append("off"),
            lambda: self.events.append("reset"),
        )
        self.ports = PortBus()
        self.pm.attach(self.ports)
        self.pm.attach_reset(self.ports)


def test_soft_off_needs_type_and_enable() -> None:
    bench = Bench()
    bench.ports.write(CONTROL, 2, 5 << 10)
    bench.ports.write(CONTROL, 2, 1 << 10 | 1 << 13)
    assert not bench.events
    bench.ports.write(CONTROL, 2, 5 << 10 | 1 << 13)
    assert bench.events == ["off"]
    assert bench.ports.read(CONTROL, 2) & 0x2001 == 1  # SCI_EN, and SLP_EN reads as zero


def test_power_button_raises_the_sci_until_cleared() -> None:
    bench = Bench()
    bench.ports.write(ENABLE, 2, 1 << 8)
    bench.pm.press_power_button()
    assert bench.sci.level
    assert bench.ports.read(STATUS, 2) == 1 << 8
    bench.ports.write(STATUS, 2, 1 << 8)
    assert not bench.sci.level


def test_timer_runs_at_its_rate() -> None:
    bench = Bench()
    bench.clock.now = 2 * SECOND
    assert bench.ports.read(TIMER, 4) == 2 * 3_579_545


def test_reset_register_is_an_edge() -> None:
    bench = Bench()
    for value in (2, 6, 6, 2, 6):
        bench.ports.write(RESET_PORT, 1, value)
    assert bench.events == ["reset", "reset"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*range(STATUS, TIMER + 4), RESET_PORT]),
            st.sampled_from([1, 2, 4]),
            st.integers(0, 2**32 - 1),
        )
    )
)
def test_no_sequence_breaks_it(writes: list[tuple[int, int, int]]) -> None:
    bench = Bench()
    for port, size, value in writes:
        bench.ports.write(port, size, value & (1 << 8 * size) - 1)
        assert 0 <= bench.ports.read(port, size) < 1 << 8 * size
