"""Virtqueues (Virtio 1.1, 2.6), good ones and those of drivers that mean harm."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmm.backends import CountingEntropy
from tests.vmm.devices.virtio.driver import (
    AVAILABLE,
    BUFFERS,
    DESCRIPTORS,
    EVENT_INDEX,
    USED,
    VERSION_1,
    Driver,
)
from vmm.devices.virtio.rng import VirtioRng

NEEDS_RESET = 0x40
NEXT, WRITE, INDIRECT = 1, 2, 4


def new_driver(features: int = VERSION_1) -> Driver:
    driver = Driver(VirtioRng(CountingEntropy(), lambda action: action()), features)
    driver.start()
    return driver


def test_a_request_comes_back_filled() -> None:
    driver = new_driver()
    head = driver.send([(BUFFERS, 10, True), (BUFFERS + 100, 6, True)])
    assert driver.used() == [(head, 16)]
    assert driver.memory.read(BUFFERS, 10) == bytes(range(10))
    assert driver.memory.read(BUFFERS + 100, 6) == bytes(range(10, 16))
    assert driver.invalidated == [(BUFFERS, 10), (BUFFERS + 100, 6)]
    assert driver.line
    assert driver.isr() == 1
    assert not driver.line


def test_rings_wrap() -> None:
    driver = new_driver()
    for i in range(3 * driver.SIZE + 1):
        driver.send([(BUFFERS, 1, True)])
        assert driver.used() == [(i % driver.SIZE, 1)]
    (index,) = struct.unpack("<H", driver.memory.read(USED + 2, 2))
    assert index == 3 * driver.SIZE + 1


def test_indirect_descriptors() -> None:
    driver = new_driver()
    table = b"".join(
        struct.pack("<QIHH", BUFFERS + 64 * i, 4, WRITE | (NEXT if i < 2 else 0), i + 1)
        for i in range(3)
    )
    driver.memory.write(0x9000, table)
    driver.describe(0, 0x9000, len(table), INDIRECT)
    driver.offer(0)
    driver.notify()
    assert driver.used() == [(0, 12)]
    assert driver.memory.read(BUFFERS + 128, 4) == bytes(range(8, 12))


def test_interrupts_can_be_declined() -> None:
    driver = new_driver()
    driver.memory.write(AVAILABLE, struct.pack("<H", 1))
    driver.send([(BUFFERS, 1, True)])
    assert driver.used()
    assert not driver.interrupts


def test_event_index_asks_for_one_interrupt_and_one_notification() -> None:
    driver = new_driver(VERSION_1 | EVENT_INDEX)
    event = AVAILABLE + 4 + 2 * driver.SIZE
    driver.memory.write(event, struct.pack("<H", 2))  # after the third request
    for expected in (0, 0, 1, 1):
        driver.send([(BUFFERS, 1, True)])
        assert driver.interrupts == expected
        (wanted,) = struct.unpack("<H", driver.memory.read(USED + 4 + 8 * driver.SIZE, 2))
        assert wanted == driver.available


HOSTILE: dict[str, tuple[int, list[tuple[int, int, int, int, int]]]] = {
    "a head beyond the table": (300, []),
    "a next beyond the table": (0, [(0, BUFFERS, 4, WRITE | NEXT, 99)]),
    "a loop": (0, [(0, BUFFERS, 4, WRITE | NEXT, 0)]),
    "a buffer outside memory": (0, [(0, 1 << 40, 4, WRITE, 0)]),
    "a buffer that leaves memory": (0, [(0, 0x3F_FFFE, 4, WRITE, 0)]),
    "an address that overflows": (0, [(0, (1 << 64) - 2, 4, WRITE, 0)]),
    "a huge buffer": (0, [(0, BUFFERS, 0xFFFF_FFFF, WRITE, 0)]),
    "an empty buffer": (0, [(0, BUFFERS, 0, WRITE, 0)]),
    "an indirect table that goes on": (0, [(0, BUFFERS, 16, INDIRECT | NEXT, 1)]),
    "an indirect table of odd length": (0, [(0, BUFFERS, 17, INDIRECT, 0)]),
    "an indirect table outside memory": (0, [(0, 1 << 40, 16, INDIRECT, 0)]),
    "an indirect table that is too long": (0, [(0, BUFFERS, 16 * 17, INDIRECT, 0)]),
    "a buffer the device may not write": (0, [(0, BUFFERS, 4, 0, 0)]),
}


@pytest.mark.parametrize("story", HOSTILE)
def test_a_driver_that_breaks_the_rules_has_to_reset_the_device(story: str) -> None:
    driver = new_driver()
    head, descriptors = HOSTILE[story]
    for descriptor in descriptors:
        driver.describe(*descriptor)
    slot = AVAILABLE + 4
    driver.memory.write(slot, struct.pack("<H", head))
    driver.memory.write(AVAILABLE + 2, struct.pack("<H", 1))
    driver.notify()
    assert driver.status & NEEDS_RESET
    assert driver.isr() & 2
    assert not driver.used()
    driver.available = 1
    driver.send([(BUFFERS, 1, True)])  # it stays silent
    assert not driver.used()
    driver.put(0x14, 1, 0)
    assert driver.status == 0
    driver.available = 0
    driver.memory.write(AVAILABLE, bytes(4))
    driver.start()
    driver.send([(BUFFERS, 1, True)])
    assert driver.used()


def test_an_indirect_table_in_an_indirect_table() -> None:
    driver = new_driver()
    driver.memory.write(0x9000, struct.pack("<QIHH", 0x9000, 16, INDIRECT, 0))
    driver.describe(0, 0x9000, 16, INDIRECT)
    driver.offer(0)
    driver.notify()
    assert driver.status & NEEDS_RESET


def test_too_many_requests_at_once() -> None:
    driver = new_driver()
    driver.memory.write(AVAILABLE + 2, struct.pack("<H", 17))
    driver.notify()
    assert driver.status & NEEDS_RESET


@pytest.mark.parametrize("offset", [0x20, 0x28, 0x30])
def test_rings_outside_memory(offset: int) -> None:
    driver = new_driver()
    driver.put(0x14, 1, 0)
    driver.start()
    queue = driver.pci.queues[0]
    setattr(queue, {0x20: "descriptors", 0x28: "available", 0x30: "used"}[offset], 1 << 50)
    driver.describe(0, BUFFERS, 4, WRITE)
    driver.available = 0
    driver.memory.write(AVAILABLE, struct.pack("<HHH", 0, 1, 0))
    driver.notify()
    assert driver.status & NEEDS_RESET


@settings(deadline=None)
@given(
    table=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 0x41_0000)),
            st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 600)),
            st.integers(0, 7),
            st.integers(0, 20),
        ),
        min_size=1,
        max_size=16,
    ),
    heads=st.lists(st.integers(0, 18), max_size=20),
    index=st.integers(0, 0xFFFF),
)
def test_no_contents_of_a_queue_break_the_device(
    table: list[tuple[int, int, int, int]], heads: list[int], index: int
) -> None:
    driver = new_driver()
    for i, (address, length, flags, following) in enumerate(table):
        driver.memory.write(
            DESCRIPTORS + 16 * i, struct.pack("<QIHH", address, length, flags, following)
        )
    driver.memory.write(AVAILABLE + 4, struct.pack(f"<{len(heads)}H", *heads))
    driver.memory.write(AVAILABLE + 2, struct.pack("<H", index % (len(heads) + 1)))
    driver.notify()
    driver.memory.write(AVAILABLE + 2, struct.pack("<H", index))
    driver.notify()
    driver.used()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 0x3FFF),
            st.sampled_from([1, 2, 4]),
            st.integers(0, 2**32 - 1),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_no_register_access_breaks_the_transport(
    accesses: list[tuple[int, int, int, bool]],
) -> None:
    driver = new_driver()
    for offset, size, value, low in accesses:
        offset = offset & 0x3F if low else offset
        driver.pci.write(offset, size, value & (1 << 8 * size) - 1)
        assert 0 <= driver.pci.read(offset, size) < 1 << 8 * size
        driver.notify()
