"""The DMA controllers (231466), and the port that firmware talks to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import Recorder, new_memory
from vmm.bus import PortBus
from vmm.devices.debug_port import MOST, DebugPort
from vmm.devices.dma8237 import FROM_MEMORY, TO_MEMORY, Dma8237


class Bench:
    def __init__(self) -> None:
        self.memory, self.ports = new_memory(), PortBus()
        self.dma = Dma8237(self.memory)
        self.dma.attach(self.ports)

    def out(self, *pairs: tuple[int, int]) -> None:
        for port, value in pairs:
            self.ports.write(port, 1, value)

    def prepare(self, address: int, length: int, mode: int) -> None:
        """Channel 2, as a floppy disk's driver does it."""
        self.out((0x0A, 6), (0x0C, 0), (0x0B, mode))
        self.out((4, address & 0xFF), (4, address >> 8 & 0xFF), (0x81, address >> 16))
        self.out((0x0C, 0), (5, length - 1 & 0xFF), (5, length - 1 >> 8), (0x0A, 2))


def test_a_transfer_ends_with_its_terminal_count() -> None:
    bench = Bench()
    bench.prepare(0x2_3450, 512, 0x46)
    window = bench.dma.window(2, TO_MEMORY, 300)
    assert window is not None
    window[:] = b"\xaa" * 300
    assert not bench.dma.moved(2, 300)
    window = bench.dma.window(2, TO_MEMORY, 300)
    assert window is not None and len(window) == 212
    window[:] = b"\xbb" * 212
    assert bench.ports.read(8, 1) == 0
    assert bench.dma.moved(2, 212)
    assert bench.memory.read(0x2_3450, 512) == b"\xaa" * 300 + b"\xbb" * 212
    assert bench.ports.read(8, 1) == 4
    assert bench.ports.read(8, 1) == 0
    assert bench.dma.window(2, TO_MEMORY, 1) is None  # masked


def test_a_transfer_stays_in_its_64_kib_and_in_memory() -> None:
    bench = Bench()
    bench.prepare(0x2_FF00, 512, 0x4A)
    window = bench.dma.window(2, FROM_MEMORY, 512)
    assert window is not None and len(window) == 256
    bench.prepare(0xFF_0000, 512, 0x4A)
    assert bench.dma.window(2, FROM_MEMORY, 512) is None
    assert bench.dma.window(2, TO_MEMORY, 512) is None  # the other direction


def test_registers_read_what_was_written_low_byte_first() -> None:
    bench = Bench()
    bench.prepare(0x1_1234, 0x5679, 0x46)
    bench.out((0x0C, 0))
    assert [bench.ports.read(port, 1) for port in (4, 4, 5, 5)] == [0x34, 0x12, 0x78, 0x56]
    bench.out((0xD8, 0), (0xC0, 0x21), (0xC0, 0x43), (0xD8, 0))
    assert [bench.ports.read(0xC0, 1) for _ in range(2)] == [0x21, 0x43]
    bench.out((0x80, 0x42))
    assert bench.ports.read(0x80, 1) == 0x42


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 15), st.integers(0xC0, 0xDF), st.integers(0x80, 0x8F)),
            st.integers(0, 255),
        ),
        max_size=80,
    ),
    st.integers(0, 3),
    st.integers(1, 70_000),
)
def test_no_access_breaks_it(accesses: list[tuple[int, int]], channel: int, most: int) -> None:
    bench = Bench()
    for port, value in accesses:
        bench.ports.write(port, 1, value)
        assert 0 <= bench.ports.read(port, 1) <= 0xFF
        for direction in (TO_MEMORY, FROM_MEMORY):
            window = bench.dma.window(channel, direction, most)
            if window is not None:
                bench.dma.moved(channel, len(window))


def test_the_debug_port_hands_on_lines() -> None:
    said, ports = Recorder(), PortBus()
    DebugPort(said).attach(ports)
    assert ports.read(0x402, 1) == ports.read(0xE9, 1) == 0xE9
    for octet in b"first\nsec":
        ports.write(0x402, 1, octet)
    assert said.text == "first\n"
    ports.write(0xE9, 2, int.from_bytes(b"!\0", "little"))
    for _ in range(MOST):
        ports.write(0xE9, 1, 0x41)
    assert len(said.data) >= MOST
