"""The ISA bridge and the power management's function (290550, 290562)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import FakeClock, Line
from vmm.bus import PortBus
from vmm.devices.acpi_pm import AcpiPm
from vmm.devices.piix3 import ROUTES, Piix3
from vmm.devices.piix4_pm import PM_BASE, PM_ENABLE, SMB_BASE, SMB_ENABLE, Piix4Pm


class Inputs(dict[int, bool]):
    """The levels of interrupt inputs."""

    def set(self, number: int, level: bool) -> None:
        self[number] = level


def test_links_are_routed_and_shared() -> None:
    inputs = Inputs()
    isa = Piix3(inputs.set)
    isa.set_link(0, True)
    assert inputs == {}  # nothing is routed after power-on
    isa.write_config(ROUTES, 4, 0x0B0B_0A0A)
    assert inputs[10]
    isa.set_link(1, True)
    isa.set_link(0, False)
    assert inputs[10]  # PIRQ B holds it
    isa.write_config(ROUTES + 1, 1, 0x8A)
    assert not inputs[10]
    isa.write_config(ROUTES + 1, 1, 0x0B)
    assert inputs[11]


def test_interrupts_that_are_not_pcis_are_not_driven() -> None:
    inputs = Inputs()
    isa = Piix3(inputs.set)
    for reserved in (0, 1, 2, 8, 13):
        isa.write_config(ROUTES, 1, reserved)
        isa.set_link(0, True)
    assert inputs == {}


class Pm:
    """The function on ports."""

    def __init__(self) -> None:
        self.ports, self.irq = PortBus(), Line()
        self.off = 0
        self.pm = AcpiPm(FakeClock(), self.irq, self._off, lambda: None)
        self.function = Piix4Pm(self.ports, self.pm)

    def _off(self) -> None:
        self.off += 1


def test_registers_appear_where_firmware_puts_them() -> None:
    bench = Pm()
    assert bench.ports.read(0x604, 2) == 0xFFFF
    bench.function.write_config(PM_BASE, 4, 0x601)
    bench.function.write_config(PM_ENABLE, 1, 1)
    assert bench.ports.read(0x604, 2) == 1
    bench.function.write_config(PM_BASE, 4, 0xB001)
    assert bench.ports.read(0x604, 2) == 0xFFFF
    bench.ports.write(0xB004, 2, 5 << 10 | 1 << 13)
    assert bench.off == 1
    assert bench.ports.read(0xB008, 4) == bench.ports.read(0xB008, 4) > 0


def test_registers_do_not_cover_others() -> None:
    bench = Pm()
    bench.ports.map_bytes(0x3F8, 8, lambda _offset: 0x42, lambda _offset, _value: None)
    bench.function.write_config(PM_BASE, 4, 0x3C1)
    bench.function.write_config(PM_ENABLE, 1, 1)
    assert bench.ports.read(0x3F8, 1) == 0x42
    bench.function.write_config(PM_ENABLE, 1, 0)
    assert bench.ports.read(0x3F8, 1) == 0x42


def test_the_smbus_is_empty() -> None:
    bench = Pm()
    bench.function.write_config(SMB_BASE, 4, 0x701)
    bench.function.write_config(SMB_ENABLE, 1, 9)
    bench.ports.write(0x704, 1, 0xA1)
    bench.ports.write(0x702, 1, 0x48)
    assert bench.ports.read(0x700, 1) == 0x06
    bench.ports.write(0x700, 1, 0x06)
    assert bench.ports.read(0x700, 1) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 252), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFF_FFFF)),
        max_size=60,
    )
)
def test_no_configuration_breaks_them(writes: list[tuple[int, int, int]]) -> None:
    bench, inputs = Pm(), Inputs()
    isa = Piix3(inputs.set)
    for offset, size, value in writes:
        if offset + size <= 256:
            value &= (1 << 8 * size) - 1
            bench.function.write_config(offset, size, value)
            isa.write_config(offset, size, value)
            isa.set_link(value & 3, bool(value & 4))
        bench.ports.read(value & 0xFFFF, 1)
    assert inputs.keys() <= {3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15}
    assert bench.function.read_config(0, 4) == 0x7113_8086
