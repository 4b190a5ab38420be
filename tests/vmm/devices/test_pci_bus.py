"""PCI configuration (PCI Local Bus Specification 3.0)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import new_memory
from vmm.bus import MmioBus, PortBus
from vmm.config import MIB
from vmm.devices.pci import PciBus, PciDevice


class Register(PciDevice):
    """A device with one register."""

    bar_size = 0x1000

    def __init__(self) -> None:
        super().__init__(0x1234, 0x5678, 0xFF_0000)
        self.value = 0

    def read(self, offset: int, size: int) -> int:
        return self.value

    def write(self, offset: int, size: int, value: int) -> None:
        self.value = value


class Bench:
    def __init__(self) -> None:
        self.ports = PortBus()
        self.mmio = MmioBus()
        self.levels: dict[int, bool] = {}
        memory = new_memory(4 * MIB)
        self.bus = PciBus(self.mmio, memory, self.levels.__setitem__, (10, 11, 5, 7))
        self.bus.attach(self.ports)

    def read(self, slot: int, offset: int, size: int = 4) -> int:
        self.ports.write(0xCF8, 4, 1 << 31 | slot << 11 | offset & 0xFC)
        return self.ports.read(0xCFC + (offset & 3), size)

    def write(self, slot: int, offset: int, value: int, size: int = 4) -> None:
        self.ports.write(0xCF8, 4, 1 << 31 | slot << 11 | offset & 0xFC)
        self.ports.write(0xCFC + (offset & 3), size, value)


def test_host_bridge_and_empty_slots() -> None:
    bench = Bench()
    assert bench.read(0, 0) == 0x1237_8086
    assert bench.read(0, 8) >> 8 == 0x06_0000
    assert bench.read(1, 0) == 0xFFFF_FFFF
    bench.ports.write(0xCF8, 4, 0)  # not enabled
    assert bench.ports.read(0xCFC, 4) == 0xFFFF_FFFF


def test_identifiers_cannot_be_written() -> None:
    bench = Bench()
    bench.bus.add(Register())
    bench.write(1, 0, 0)
    assert bench.read(1, 0) == 0x5678_1234
    assert bench.read(1, 2, 2) == 0x5678


def test_base_address_is_assigned_sized_and_moved() -> None:
    bench = Bench()
    device = Register()
    bench.bus.add(device)
    base = bench.read(1, 0x10)
    bench.mmio.write(base, 4, 77)
    assert device.value == 77
    bench.write(1, 0x10, 0xFFFF_FFFF)
    assert bench.read(1, 0x10) == 0xFFFF_F000
    bench.write(1, 0x10, 0xD000_0000)
    assert bench.mmio.read(0xD000_0000, 4) == 77
    assert bench.mmio.read(base, 4) == 0xFFFF_FFFF
    bench.write(1, 4, 0, 2)
    assert bench.mmio.read(0xD000_0000, 4) == 0xFFFF_FFFF


def test_base_addresses_cover_neither_ram_nor_each_other() -> None:
    bench = Bench()
    first, second = Register(), Register()
    bench.bus.add(first)
    bench.bus.add(second)
    taken = bench.read(1, 0x10)
    bench.write(2, 0x10, taken)
    bench.mmio.write(taken, 4, 5)
    assert (first.value, second.value) == (5, 0)
    bench.write(1, 0x10, 0x10_0000)
    assert bench.mmio.read(0x10_0000, 4) == 0xFFFF_FFFF


def test_devices_share_a_line() -> None:
    bench = Bench()
    devices = [Register() for _ in range(5)]
    slots = [bench.bus.add(device) for device in devices]
    assert slots == [1, 2, 3, 4, 5]
    first, fifth = devices[0], devices[4]
    number = bench.read(1, 0x3C, 1)
    assert bench.read(5, 0x3C, 1) == number
    first.set_irq(True)
    fifth.set_irq(True)
    first.set_irq(False)
    assert bench.levels[number]
    fifth.set_irq(False)
    assert not bench.levels[number]


def test_interrupt_can_be_disabled() -> None:
    bench = Bench()
    device = Register()
    bench.bus.add(device)
    number = bench.read(1, 0x3C, 1)
    bench.write(1, 4, 1 << 10, 2)
    device.set_irq(True)
    assert not bench.levels.get(number)
    assert bench.read(1, 6, 2) & 8
    bench.write(1, 4, 0, 2)
    assert bench.levels[number]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0xCF8, 0xCF9, 0xCFA, 0xCFC, 0xCFD, 0xCFE, 0xCFF]),
            st.sampled_from([1, 2, 4]),
            st.one_of(
                st.integers(0, 2**32 - 1),
                st.integers(0, 0x3FFF).map(lambda value: 1 << 31 | value),
            ),
        ),
        max_size=60,
    )
)
def test_no_sequence_breaks_it(writes: list[tuple[int, int, int]]) -> None:
    bench = Bench()
    bench.bus.add(Register())
    bench.bus.add(Register())
    for port, size, value in writes:
        bench.ports.write(port, size, value & (1 << 8 * size) - 1)
        assert 0 <= bench.ports.read(port, size) < 1 << 8 * size


class Firmware(Bench):
    """A bus whose addresses are left to firmware."""

    def __init__(self) -> None:
        super().__init__()
        memory = new_memory(4 * MIB)
        irqs = (10, 11, 5, 7)
        self.bus = PciBus(self.mmio, memory, self.levels.__setitem__, irqs, assigned=False)
        self.bus.attach(self.ports)


def test_what_firmware_assigns_is_not_assigned_before() -> None:
    bench = Firmware()
    bench.bus.add(Register())
    assert bench.read(1, 0x10) == 0
    assert bench.read(1, 4, 2) == 0
    assert bench.read(1, 0x3C, 2) == 0x0100  # it has a pin, and no line yet


def test_an_expansion_rom_is_read_where_firmware_puts_it() -> None:
    bench = Firmware()
    rom = bytes(range(256)) * 10  # in a range of 4096 bytes
    bench.bus.add(PciDevice(0x1234, 0x5678, 0x03_0000, rom=rom))
    bench.write(1, 0x30, 0xFFFF_FFFE)
    assert bench.read(1, 0x30) == 0xFFFF_F000
    bench.write(1, 0x30, 0xE000_0001)
    assert bench.mmio.read(0xE000_0000, 4) == 0xFFFF_FFFF  # memory is not enabled
    bench.write(1, 4, 2, 2)
    assert bench.mmio.read(0xE000_0001, 4) == 0x0403_0201
    assert bench.mmio.read(0xE000_0A00, 2) == 0xFFFF
    bench.mmio.write(0xE000_0001, 4, 0)
    assert bench.mmio.read(0xE000_0001, 1) == 1
    bench.write(1, 0x30, 0xE000_0000)
    assert bench.mmio.read(0xE000_0001, 4) == 0xFFFF_FFFF
    bench.write(1, 0x30, 0x10_0001)  # RAM
    assert bench.mmio.read(0x10_0001, 4) == 0xFFFF_FFFF
