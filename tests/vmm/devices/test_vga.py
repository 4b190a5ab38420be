"""The VGA: registers, planes, modes, and what a screen shows; guests that write anything."""

from __future__ import annotations

import mmap
import random

import pytest

from tests.vmm.rig import FakeClock
from tests.vmm.screens import Pixels
from vmm.bus import MmioBus, PortBus
from vmm.devices import vga
from vmm.devices.vga_memory import WINDOW
from vmm.devices.vga_vbe import LIMITS

TEXT_3 = {
    0x3C2: (0x67,),
    0x3C4: (3, 0, 3, 0, 2),
    0x3CE: (0, 0, 0, 0, 0, 0x10, 0x0E, 0, 0xFF),
    0x3D4: tuple(bytes.fromhex("5f4f50825581bf1f004f0d0e0000000a9c8e8f281f96b9a3ff")),
    0x3C0: (*range(8), *range(0x38, 0x40), 0x0C, 0, 0x0F, 8, 0),
}
PLANAR_12 = TEXT_3 | {
    0x3C2: (0xE3,),
    0x3C4: (3, 1, 15, 0, 6),
    0x3CE: (0, 0, 0, 0, 0, 0, 5, 15, 0xFF),
    0x3D4: tuple(
        bytes.fromhex("5f4f50825480 0b3e004000000000 00 00ea8cdf2800e704e3ff".replace(" ", ""))
    ),
    0x3C0: (*range(16), 1, 0, 0x0F, 0, 0),
}
LINEAR_13 = PLANAR_12 | {
    0x3C2: (0x63,),
    0x3C4: (3, 1, 15, 0, 14),
    0x3CE: (0, 0, 0, 0, 0, 0x40, 5, 15, 0xFF),
    0x3D4: tuple(bytes.fromhex("5f4f50825480bf1f00410000000000009c8e8f284096b9a3ff")),
    0x3C0: (*range(16), 0x41, 0, 0x0F, 0, 0),
}
XRES, YRES, BPP, ENABLE, BANK = 1, 2, 3, 4, 5


class Bench:
    def __init__(self, mapped: bool = False) -> None:
        self.clock = FakeClock()
        self.frame = memoryview(mmap.mmap(-1, vga.FRAME_SIZE))
        self.window = (0, 0, 0)
        self.vga = vga.Vga(self.frame, self.clock, self._map if mapped else None)
        self.ports, self.mmio = PortBus(), MmioBus()
        self.vga.attach(self.ports, self.mmio)

    def _map(self, address: int, offset: int, length: int) -> None:
        self.window = address, offset, length

    def out(self, port: int, value: int, size: int = 1) -> None:
        self.ports.write(port, size, value)

    def read(self, port: int, index: int | None = None) -> int:
        if index is not None:
            self.out(port, index)
        return self.ports.read(port + (index is not None), 1)

    def set(self, port: int, index: int, value: int) -> None:
        self.out(port, index | value << 8, 2)

    def mode(self, registers: dict[int, tuple[int, ...]]) -> None:
        for port, values in registers.items():
            for index, value in enumerate(values):
                if port == 0x3C2:
                    self.out(port, value)
                elif port == 0x3C0:
                    self.ports.read(0x3DA, 1)
                    self.out(port, index)
                    self.out(port, value)
                else:
                    self.set(port, index, value)
        self.ports.read(0x3DA, 1)
        self.out(0x3C0, 0x20)
        self.out(0x3C8, 0)
        for entry in range(256):  # an entry's colour is its number, four times, twice, once
            for shift in (0, 1, 2):
                self.out(0x3C9, entry << shift & 0x3F)

    def vbe(self, width: int, height: int, depth: int) -> None:
        for index, value in (
            (ENABLE, 0),
            (XRES, width),
            (YRES, height),
            (BPP, depth),
            (ENABLE, 0x41),
        ):
            self.out(0x1CE, index, 2)
            self.out(0x1CF, value, 2)

    def poke(self, offset: int, *values: int) -> None:
        """Write to the window, through memory if it is mapped there."""
        for at, value in enumerate(values, WINDOW + offset):
            start, source, length = self.window
            if start <= at < start + length:
                self.frame[source + at - start] = value
            else:
                self.mmio.write(at, 1, value)

    def peek(self, offset: int) -> int:
        start, source, length = self.window
        if start <= WINDOW + offset < start + length:
            return self.frame[source + WINDOW + offset - start]
        return self.mmio.read(WINDOW + offset, 1)

    def pixels(self) -> Pixels:
        return Pixels(self.frame, self.vga.refresh())


def colour(entry: int) -> tuple[int, int, int]:
    """What ``Bench.mode`` makes of an entry."""
    parts = [entry << shift & 0x3F for shift in (0, 1, 2)]
    return (*(part << 2 | part >> 4 for part in parts),)  # type: ignore[return-value]


def test_registers_keep_the_bits_that_they_have() -> None:
    bench = Bench()
    bench.out(0x3C2, 1)
    for port, index, kept in (
        (0x3C4, 1, 0x3D),
        (0x3CE, 5, 0x7B),
        (0x3D4, 0x18, 0xFF),
        (0x3C4, 7, 0),
    ):
        bench.set(port, index, 0xFF)
        assert bench.read(port, index) == kept
    assert bench.read(0x3CC) == 1
    assert bench.ports.read(0x3B5, 1) == 0xFF  # colour modes have no monochrome registers


def test_the_first_crtc_registers_can_be_protected() -> None:
    bench = Bench()
    bench.out(0x3C2, 1)
    bench.set(0x3D4, 1, 0x4F)
    bench.set(0x3D4, 0x11, 0x80)
    bench.set(0x3D4, 1, 0x27)
    bench.set(0x3D4, 7, 0xFF)
    assert (bench.read(0x3D4, 1), bench.read(0x3D4, 7)) == (0x4F, 0x10)


def test_attribute_index_and_data_take_turns() -> None:
    bench = Bench()
    bench.out(0x3C2, 1)
    bench.ports.read(0x3DA, 1)
    for value in (0x10, 0x41, 0x11, 0x2A):
        bench.out(0x3C0, value)
    bench.ports.read(0x3DA, 1)
    bench.out(0x3C0, 0x10)
    assert (bench.read(0x3C0), bench.read(0x3C1)) == (0x10, 0x41)


def test_the_palette_is_read_as_it_was_written() -> None:
    bench = Bench()
    bench.out(0x3C8, 5)
    for value in (1, 2, 0xFF):
        bench.out(0x3C9, value)
    bench.out(0x3C7, 5)
    assert [bench.read(0x3C9) for _ in range(3)] == [1, 2, 0x3F]
    assert bench.read(0x3C7) == 3


def test_retrace_comes_and_goes_with_the_clock() -> None:
    bench = Bench()
    bench.out(0x3C2, 1)
    seen = []
    for _ in range(1000):
        seen.append(bench.read(0x3DA) & 9)
        bench.clock.now += vga.FRAME_NS // 500
    assert {0, 9} <= set(seen)
    assert 0.05 < seen.count(9) / len(seen) < 0.2


@pytest.mark.parametrize("mapped", [False, True])
def test_text(mapped: bool) -> None:
    bench = Bench(mapped)
    # The font, as a BIOS loads it: planes one by one at A0000h.
    for port, index, value in ((0x3C4, 2, 4), (0x3C4, 4, 7), (0x3CE, 5, 0), (0x3CE, 6, 4)):
        bench.set(port, index, value)
    bench.set(0x3CE, 8, 0xFF)
    bench.out(0x3C2, 3)
    for line in range(16):
        bench.poke(32 * 0x41 + line, 0x80 | line)
        bench.poke(32 * 0xC4 + line, 0xFF if line == 7 else 0)
    bench.mode(TEXT_3)
    assert (bench.window[2] != 0) == mapped
    bench.poke(0x18000 + 2 * 81, 0x41, 0x1E, 0xC4, 0x07)
    bench.set(0x3D4, 0x0E, 0)
    bench.set(0x3D4, 0x0F, 1)
    shown = bench.pixels()
    assert shown.size == (720, 400)
    yellow, blue, grey = colour(0x3E), colour(1), colour(7)
    assert [shown[9 + x, 16 + 5] for x in range(9)] == [
        *(yellow, blue, blue, blue, blue, yellow, blue, yellow, blue),
    ]
    assert [shown[18 + x, 16 + 7] for x in range(9)] == [grey] * 9  # the ninth column goes on
    assert shown[18, 16 + 6] == colour(0)
    assert [shown[9, line] for line in (12, 13, 14, 15)] == [colour(0), *[colour(0)] * 3]
    assert bench.peek(0x18000 + 2 * 81) == 0x41
    bench.poke(0x18000 + 2 * 160, 0x41, 0x1E)
    assert bench.vga.refresh().changed == [(32, 16)]  # one row of characters, and no more


def test_planar_writes_and_reads() -> None:
    bench = Bench()
    bench.mode(PLANAR_12)
    bench.set(0x3C4, 2, 0b0101)
    bench.poke(80, 0b1010_0000)
    bench.set(0x3C4, 2, 15)
    shown = bench.pixels()
    assert shown.size == (640, 480)
    assert [shown[x, 1] for x in range(4)] == [colour(5), colour(0), colour(5), colour(0)]
    bench.set(0x3CE, 4, 2)
    assert bench.peek(80) == 0b1010_0000
    bench.set(0x3CE, 5, 8)  # which pixels are of colour 5?
    bench.set(0x3CE, 2, 5)
    assert bench.peek(80) == 0b1010_0000
    bench.set(0x3CE, 5, 2)  # write mode 2: the colour of the pixels that the mask lets through
    bench.set(0x3CE, 8, 0b0100_0000)
    bench.peek(80)
    bench.poke(80, 0x0C)
    assert [bench.pixels()[x, 1] for x in range(3)] == [colour(5), colour(12), colour(5)]
    bench.set(0x3CE, 5, 1)  # write mode 1: what was read last
    bench.peek(80)
    bench.poke(160, 0)
    assert [bench.pixels()[x, 2] for x in range(3)] == [colour(5), colour(12), colour(5)]
    bench.set(0x3CE, 5, 3)  # write mode 3: set/reset through data and mask
    bench.set(0x3CE, 0, 9)
    bench.set(0x3CE, 8, 0xF0)
    bench.peek(240)
    bench.poke(240, 0x3C)
    assert [bench.pixels()[x, 3] for x in range(5)] == [colour(c) for c in (0, 0, 9, 9, 0)]


@pytest.mark.parametrize("operation", range(4))
def test_write_mode_0_rotates_and_combines(operation: int) -> None:
    bench = Bench()
    bench.mode(PLANAR_12)
    bench.poke(0, 0b0011_0011)
    bench.set(0x3CE, 3, operation << 3 | 4)
    bench.peek(0)
    bench.poke(0, 0b1010_0101)
    turned, before = 0b0101_1010, 0b0011_0011
    wanted = (turned, turned & before, turned | before, turned ^ before)[operation]
    assert bench.peek(0) == wanted


@pytest.mark.parametrize("mapped", [False, True])
def test_256_colours(mapped: bool) -> None:
    bench = Bench(mapped)
    bench.mode(LINEAR_13)
    assert (bench.window[2] != 0) == mapped
    bench.poke(320 * 3, 7, 9, 200)
    shown = bench.pixels()
    assert shown.size == (640, 400)
    for line in (6, 7):
        assert [shown[x, line] for x in range(6)] == [
            colour(entry) for entry in (7, 7, 9, 9, 200, 200)
        ]
    bench.set(0x3C4, 4, 6)  # the same memory as planes
    bench.set(0x3CE, 4, 1)
    assert bench.peek(320 * 3 // 4) == 9


@pytest.mark.parametrize(
    ("depth", "pixel", "shown"),
    [
        (8, b"\x05", colour(5)),
        (15, (0b0_11111_00001_10000).to_bytes(2, "little"), (255, 8, 132)),
        (16, (0b10000_000001_11111).to_bytes(2, "little"), (132, 4, 255)),
        (24, b"\x01\x02\x03", (3, 2, 1)),
        (32, b"\x01\x02\x03\xff", (3, 2, 1)),
    ],
)
def test_linear_modes(depth: int, pixel: bytes, shown: tuple[int, int, int]) -> None:
    bench = Bench()
    bench.mode(TEXT_3)
    bench.vbe(800, 600, depth)
    at = (800 * 2 + 3) * len(pixel)
    bench.frame[at : at + len(pixel)] = pixel
    picture = bench.pixels()
    assert picture.size == (800, 600)
    assert picture[3, 2] == shown
    assert picture[4, 2] == (0, 0, 0)
    assert bench.vga.refresh().changed == []


def test_32_bit_pixels_are_shown_where_they_are() -> None:
    bench = Bench()
    bench.vbe(1024, 768, 32)
    assert bench.vga.refresh().mode == (0, 4096, 1024, 768)
    bench.frame[4096 * 20] = 1
    assert bench.vga.refresh().changed == [(16, 16)]
    for index, value in ((6, 2048), (8, 16), (9, 100)):
        bench.out(0x1CE, index, 2)
        bench.out(0x1CF, value, 2)
    assert bench.vga.refresh().mode == (100 * 8192 + 64, 8192, 1024, 768)


def test_vbe_banks_are_windows_on_the_memory() -> None:
    bench = Bench(mapped=True)
    bench.out(0x3C2, 3)
    bench.vbe(1024, 768, 8)
    bench.out(0x1CE, BANK, 2)
    bench.out(0x1CF, 3, 2)
    bench.poke(5, 77)
    assert bench.frame[3 * 65536 + 5] == 77


def test_vbe_says_what_it_can() -> None:
    bench = Bench()
    bench.out(0x1CE, 0, 2)
    assert bench.ports.read(0x1CF, 2) == 0xB0C5
    for index, value in LIMITS.items():
        bench.out(0x1CE, ENABLE, 2)
        bench.out(0x1CF, 2, 2)
        bench.out(0x1CE, index, 2)
        assert bench.ports.read(0x1CF, 2) == value
    assert bench.vga.read_mmio(0x500, 2) == 0xB0C5
    bench.vbe(10_000, 10_000, 99)
    assert not bench.vga.vbe.enabled


def test_a_screen_that_is_off_is_black() -> None:
    bench = Bench()
    bench.mode(LINEAR_13)
    bench.poke(0, 7)
    assert bench.pixels()[0, 0] == colour(7)
    bench.set(0x3C4, 1, 0x21)
    assert bench.pixels()[0, 0] == (0, 0, 0)


def test_text_survives_the_loading_of_a_font() -> None:
    bench = Bench(mapped=True)
    bench.mode(TEXT_3)
    bench.poke(0x18000, *range(1, 9))
    bench.set(0x3C4, 2, 4)
    bench.set(0x3C4, 4, 6)
    bench.set(0x3CE, 5, 0)
    bench.set(0x3CE, 6, 4)
    assert bench.window[2] == 0
    bench.poke(0, 99)
    bench.mode(TEXT_3)
    assert [bench.peek(0x18000 + at) for at in range(8)] == list(range(1, 9))
    assert bench.frame[2] == 99


def test_memory_survives_in_a_snapshot() -> None:
    bench, other = Bench(mapped=True), Bench(mapped=True)
    bench.mode(TEXT_3)
    bench.poke(0x18000, 1, 2, 3, 4)
    bench.frame[5_000_000] = 5
    other.mode(TEXT_3)
    other.vga.contents = bench.vga.contents
    other.vga.restored()
    assert [other.peek(0x18000 + at) for at in range(4)] == [1, 2, 3, 4]
    assert other.frame[5_000_000] == 5
    with pytest.raises(ValueError, match="another size"):
        other.vga.contents = __import__("zlib").compress(bytes(100))


@pytest.mark.parametrize("seed", range(6))
def test_a_guest_may_write_anything(seed: int) -> None:
    dice = random.Random(seed)
    bench = Bench(mapped=bool(seed & 1))
    bench.mode(dice.choice([TEXT_3, PLANAR_12, LINEAR_13]))
    ports = [*range(0x3B0, 0x3E0), 0x1CE, 0x1CF, 0x1D0]
    for step in range(6000):
        size = dice.choice((1, 1, 2, 4))
        value = dice.getrandbits(8 * size) if dice.random() < 0.7 else dice.randrange(64)
        kind = dice.randrange(8)
        if kind < 4:
            port = dice.choice(ports)
            bench.ports.write(port, size, value)
            assert 0 <= bench.ports.read(port, size) < 1 << 8 * size
        elif kind == 4:
            bench.out(0x1CE, dice.randrange(12), 2)
            bench.out(
                0x1CF, dice.choice((0, 1, 4, 8, 15, 16, 24, 32, 0x41, 640, 480, 1920, value)), 2
            )
        elif kind == 5:
            at = dice.randrange(0x1FFFC)
            bench.mmio.write(WINDOW + at, size, value)
            assert 0 <= bench.mmio.read(WINDOW + at, size) < 1 << 8 * size
        else:
            at = dice.randrange(vga.MMIO_SIZE - 4)
            bench.vga.write_mmio(at, size, value)
            assert 0 <= bench.vga.read_mmio(at, size) < 1 << 8 * size
        if step % 150 == 0:
            mode, changed = bench.vga.refresh()
            assert mode.offset + (mode.height - 1) * mode.pitch + mode.width * 4 <= len(bench.frame)
            assert all(top >= 0 and top + count <= mode.height for top, count in changed)
            assert 0 < mode.width <= 2048
            assert 0 < mode.height <= 2048
