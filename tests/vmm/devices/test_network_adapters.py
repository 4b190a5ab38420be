"""The network adapters, with drivers that keep the rules and drivers that do not."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.net.frames import OFFLOAD, PLAIN, plain
from tests.vmm.rig import new_memory
from vmm.devices import e1000 as nic
from vmm.devices.e1000 import E1000
from vmm.devices.e1000_eeprom import CLOCK, DATA_IN, DATA_OUT, REQUEST, SELECT, SUM, WORDS
from vmm.devices.virtio.net import HEADER, VirtioNet
from vmm.devices.virtio.pci import COMMON, DEVICE, NOTIFY, VirtioPci
from vmm.memory import GuestMemory

OWN, OTHER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
RING, BUFFERS = 0x1000, 0x10000


class Cable:
    """A cable whose other end is the test."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.sent: list[tuple[bytes, bytes]] = []
        self.arriving: deque[tuple[bytes, bytes]] = deque()
        self.full = False

    def room(self) -> bool:
        return not self.full

    def send(self, parts: Iterable[bytes | memoryview], offload: bytes) -> None:
        self.sent.append((offload, b"".join(parts)))

    def flush(self) -> None: ...

    def peek(self, simple: bool = False) -> tuple[bytes, bytes] | None:
        if not self.arriving:
            return None
        offload, frame = self.arriving[0]
        if simple and offload != PLAIN:
            self.arriving.popleft()
            self.arriving.extendleft((PLAIN, each) for each in reversed(plain(offload, frame)))
        return self.arriving[0]

    def skip(self) -> None:
        self.arriving.popleft()

    def arrive(self, *frames: bytes) -> None:
        self.arriving.extend((PLAIN, each) for each in frames)
        self.changed()


def frame(target: bytes = OWN, text: bytes = b"hello") -> bytes:
    return target + OTHER + b"\x88\xb5" + text


def card() -> tuple[E1000, Cable, GuestMemory]:
    cable, memory = Cable(), new_memory(1 << 20)
    device = E1000(cable, OWN, memory, lambda _a, _n: None, lambda action: action())
    return device, cable, memory


def receiving(control: int = nic.RCTL_BROADCAST) -> tuple[E1000, Cable, GuestMemory]:
    """A card whose driver has given it 7 of 8 buffers."""
    device, cable, memory = card()
    for number in range(8):
        memory.write(RING + 16 * number, struct.pack("<QQ", BUFFERS + 4096 * number, 0))
    for register, value in ((nic.BASE_LOW, RING), (nic.LENGTH, 128), (nic.TAIL, 7)):
        device.write(nic.RECEIVE + register, 4, value)
    device.write(nic.IMS, 4, nic.RXT)
    device.write(nic.RCTL, 4, control | nic.RCTL_ON)
    return device, cable, memory


def received(memory: GuestMemory, number: int) -> bytes:
    length, _, status = struct.unpack("<HHB", memory.read(RING + 16 * number + 8, 5))
    return memory.read(BUFFERS + 4096 * number, length) if status & nic.DONE else b""


def test_the_eeprom_is_the_same_bit_by_bit_and_by_words() -> None:
    device, _, _ = card()

    def bit_by_bit(number: int) -> int:
        for bit in f"110{number:06b}":
            lines = REQUEST | SELECT | (DATA_IN if bit == "1" else 0)
            device.write(nic.EECD, 4, lines)
            device.write(nic.EECD, 4, lines | CLOCK)
            device.write(nic.EECD, 4, lines)
        value = 0
        for _ in range(16):
            device.write(nic.EECD, 4, REQUEST | SELECT | CLOCK)
            value = value << 1 | bool(device.read(nic.EECD, 4) & DATA_OUT)
            device.write(nic.EECD, 4, REQUEST | SELECT)
        device.write(nic.EECD, 4, REQUEST)
        return value

    def by_words(number: int) -> int:
        device.write(nic.EERD, 4, 1 | number << 8)
        return device.read(nic.EERD, 4) >> 16

    words = [by_words(number) for number in range(WORDS)]
    assert [bit_by_bit(number) for number in range(WORDS)] == words
    assert sum(words) & 0xFFFF == SUM and struct.pack("<3H", *words[:3]) == OWN


def test_frames_arrive_with_their_check_sequence_and_an_interrupt() -> None:
    device, cable, memory = receiving()
    cable.arrive(frame())
    found = received(memory, 0)
    assert found[:-4] == frame().ljust(60, b"\0")
    assert found[-4:] == zlib.crc32(found[:-4]).to_bytes(4, "little")
    assert device.read(nic.ICR, 4) == nic.RXT and device.read(nic.ICR, 4) == 0


def test_what_is_for_others_is_not_received_unless_asked_for() -> None:
    for control, wanted in ((0, False), (nic.RCTL_UNICAST, True)):
        _, cable, memory = receiving(control)
        cable.arrive(frame(b"\2\0\0\0\0\7"))
        assert bool(received(memory, 0)) is wanted
    _, cable, memory = receiving()
    cable.arrive(frame(b"\1\0\0\0\0\7"), frame(b"\xff" * 6))
    assert received(memory, 0)[:6] == b"\xff" * 6 and not received(memory, 1)


def test_frames_wait_for_buffers() -> None:
    device, cable, memory = receiving()
    cable.arrive(*(frame(text=bytes([n])) for n in range(10)))
    assert len(cable.arriving) == 3
    device.write(nic.RECEIVE + nic.TAIL, 4, 2)
    assert not cable.arriving and received(memory, 1)[14] == 9


def test_a_frame_is_sent_from_several_pieces_and_its_sum_left_to_others() -> None:
    device, cable, memory = card()
    data = frame(text=bytes(40))
    memory.write(BUFFERS, data)
    context = struct.pack("<BBHBBHII", 14, 24, 33, 34, 50, 0, (0x20 | 1) << 24, 0)
    first = struct.pack("<QII", BUFFERS, 20 | 1 << 20 | 0x20 << 24, 2 << 8)
    last = struct.pack("<QII", BUFFERS + 20, len(data) - 20 | 1 << 20 | 0x29 << 24, 0)
    memory.write(RING, context + first + last)
    for register, value in ((nic.BASE_LOW, RING), (nic.LENGTH, 128), (nic.TAIL, 3)):
        device.write(nic.TRANSMIT + register, 4, value)
    device.write(nic.TCTL, 4, nic.TCTL_ON)
    assert cable.sent == [(OFFLOAD.pack(1, 0, 0, 0, 34, 16), data)]
    assert memory.read(RING + 44, 1) == b"\1" and device.read(nic.TRANSMIT + nic.HEAD, 4) == 3


def test_a_driver_waits_while_the_cable_is_full() -> None:
    device, cable, memory = card()
    memory.write(BUFFERS, frame())
    memory.write(RING, struct.pack("<QII", BUFFERS, len(frame()) | 0x09 << 24, 0))
    for register, value in ((nic.BASE_LOW, RING), (nic.LENGTH, 128), (nic.TAIL, 1)):
        device.write(nic.TRANSMIT + register, 4, value)
    cable.full = True
    device.write(nic.TCTL, 4, nic.TCTL_ON)
    assert not cable.sent
    cable.full = False
    cable.changed()
    assert cable.sent == [(PLAIN, frame())]


REGISTERS = [
    *(nic.CTRL, nic.EECD, nic.EERD, nic.MDIC, nic.ICR, nic.ICS, nic.IMS, nic.IMC),
    *(nic.RCTL, nic.TCTL, nic.MTA, nic.RAL, nic.RAL + 4),
    *(ring + each for ring in (nic.RECEIVE, nic.TRANSMIT) for each in (0, 4, 8, 16, 24)),
]
VALUES = st.one_of(
    st.integers(0, 0xFFFF_FFFF), st.integers(0, 64), st.sampled_from([RING, 0x80, 0xF_FF80])
)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(min_size=256, max_size=256),
    st.lists(
        st.tuples(st.sampled_from(REGISTERS), st.sampled_from([1, 2, 4]), VALUES), max_size=60
    ),
)
def test_no_driver_breaks_an_e1000(ring: bytes, accesses: list[tuple[int, int, int]]) -> None:
    device, cable, memory = receiving()
    memory.write(RING, ring)
    for offset, size, value in accesses:
        device.write(offset, size, value)
        assert 0 <= device.read(offset, size) < 1 << 8 * size
        cable.arrive(frame(), frame(text=bytes(3000)))
        cable.arriving.clear()
        cable.sent.clear()


class Driver:
    """A virtio driver with both queues, whose rings are one after the other in memory."""

    def __init__(self, features: int) -> None:
        self.cable, self.memory = Cable(), new_memory(1 << 20)
        device = VirtioNet(self.cable, OWN, lambda action: action())
        self.pci = VirtioPci(device, self.memory, lambda _a, _n: None)
        write = self.pci.write
        for select, value in ((0, features), (1, 1)):
            write(COMMON + 8, 4, select)
            write(COMMON + 0x0C, 4, value)
        write(COMMON + 0x14, 1, 11)
        for number in (0, 1):
            write(COMMON + 0x16, 2, number)
            write(COMMON + 0x18, 2, 8)
            for offset, place in ((0x20, 0), (0x28, 0x100), (0x30, 0x200)):
                write(COMMON + offset, 4, RING + 0x400 * number + place)
            write(COMMON + 0x1C, 2, 1)
        write(COMMON + 0x14, 1, 15)

    def offer(self, queue: int, index: int, *descriptors: tuple[int, int, int, int]) -> None:
        """Make the descriptors of a chain available, as the ``index``th request."""
        base, first = RING + 0x400 * queue, descriptors[0][3] - 1 if len(descriptors) > 1 else index
        for number, each in enumerate(descriptors):
            self.memory.write(base + 16 * (first + number), struct.pack("<QIHH", *each))
        self.memory.write(base + 0x104 + 2 * (index % 8), struct.pack("<H", first))
        self.memory.write(base + 0x102, struct.pack("<H", index + 1))
        self.pci.write(NOTIFY + 4 * queue, 2, queue)

    def used(self, queue: int) -> list[tuple[int, int]]:
        base = RING + 0x400 * queue + 0x200
        (count,) = struct.unpack("<H", self.memory.read(base + 2, 2))
        return [struct.unpack("<II", self.memory.read(base + 4 + 8 * n, 8)) for n in range(count)]


MERGE = 1 << 15


def test_a_virtio_driver_finds_address_and_link() -> None:
    driver = Driver(0)
    assert bytes(driver.pci.read(DEVICE + n, 1) for n in range(6)) == OWN
    assert driver.pci.read(DEVICE + 6, 2) == 1


def test_a_large_frame_is_spread_over_buffers_once_there_are_enough() -> None:
    driver = Driver(MERGE)
    large = frame(text=bytes(range(256)) * 2)
    driver.offer(0, 0, (BUFFERS, 256, 2, 0))
    driver.cable.arrive(large)
    assert not driver.used(0) and driver.cable.arriving
    driver.offer(0, 1, (BUFFERS + 256, 256, 2, 0))
    driver.offer(0, 2, (BUFFERS + 512, 256, 2, 0))
    needed = HEADER + len(large)
    assert driver.used(0) == [(0, 256), (1, 256), (2, needed - 512)]
    whole = driver.memory.read(BUFFERS, needed)
    assert whole[:HEADER] == PLAIN + b"\3\0" and whole[HEADER:] == large


def test_a_frame_that_no_buffer_holds_is_dropped() -> None:
    driver = Driver(0)
    driver.offer(0, 0, (BUFFERS, 64, 2, 0))
    driver.cable.arrive(frame(text=bytes(300)), frame())
    assert driver.used(0) == [(0, HEADER + len(frame()))] and not driver.cable.arriving


@pytest.mark.parametrize("flags", [0, 2])
def test_a_packet_to_send_is_read_alone(flags: int) -> None:
    driver = Driver(0)
    driver.memory.write(BUFFERS, PLAIN + b"\0\0" + frame())
    driver.offer(1, 0, (BUFFERS, HEADER + len(frame()), flags, 0))
    assert bool(driver.cable.sent) is not bool(flags)
    assert bool(driver.pci.read(COMMON + 0x14, 1) & 0x40) is bool(flags)  # needs a reset
    if not flags:
        assert driver.cable.sent == [(PLAIN, frame())]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([0, MERGE, MERGE | 0x182 | 1 << 28]),
    st.binary(min_size=0x800, max_size=0x800),
    st.lists(st.integers(0, 0x7FF), max_size=20),
)
def test_no_driver_breaks_a_virtio_adapter(features: int, rings: bytes, cuts: list[int]) -> None:
    driver = Driver(features)
    for start, end in pairwise(sorted({*cuts, 0, 0x7FF})):
        driver.memory.write(RING + start, rings[start:end])
        for queue in (0, 1):
            driver.pci.write(NOTIFY + 4 * queue, 2, queue)
        driver.cable.arrive(frame(), frame(text=bytes(2000)))
        driver.cable.arriving.clear()
