"""Guest memory checks every address."""

from __future__ import annotations

import mmap
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import new_memory
from vmm.config import MIB
from vmm.memory import HIGH_START, HOLE_START, GuestAddressError, GuestMemory

SMALL = new_memory(MIB)
LARGE = new_memory(HOLE_START + 16 * MIB)


def test_read_and_write() -> None:
    memory = new_memory(MIB)
    memory.write(0x1234, b"hello")
    assert memory.read(0x1234, 5) == b"hello"
    assert memory.read_struct(struct.Struct("<H"), 0x1234) == (0x6568,)
    memory.write_struct(struct.Struct("<I"), MIB - 4, 7)
    assert memory.read(MIB - 4, 4) == b"\7\0\0\0"
    memory.clear()
    assert memory.read(0x1234, 5) == bytes(5)


def test_views_are_windows() -> None:
    memory = new_memory(MIB)
    window = memory.view(100, 10)
    window[:3] = b"abc"
    assert memory.read(100, 3) == b"abc"


@pytest.mark.parametrize(
    ("address", "length"),
    [(MIB, 1), (MIB - 1, 2), (-1, 1), (-10, 20), (0, MIB + 1), (1 << 64, 1), (0, -1)],
)
def test_outside(address: int, length: int) -> None:
    with pytest.raises(GuestAddressError):
        SMALL.view(address, length)
    with pytest.raises(GuestAddressError):
        SMALL.read_struct(struct.Struct("<Q"), MIB - 7)


def test_memory_goes_on_above_the_hole() -> None:
    assert [region.gpa for region in LARGE.regions] == [0, HIGH_START]
    LARGE.write(HIGH_START, b"high")
    assert bytes(LARGE.buffer[HOLE_START : HOLE_START + 4]) == b"high"
    for address, length in ((HOLE_START, 1), (HIGH_START - 1, 2), (HIGH_START + 16 * MIB, 1)):
        with pytest.raises(GuestAddressError):
            LARGE.view(address, length)


@given(st.integers(-(2**65), 2**65), st.integers(-10, 2**65))
def test_no_address_reaches_beyond(address: int, length: int) -> None:
    try:
        view = LARGE.view(address, length)
    except GuestAddressError:
        return
    assert len(view) == length


def test_the_buffer_must_fit() -> None:
    with pytest.raises(ValueError, match="writable"):
        GuestMemory(memoryview(bytes(4096)))
    with pytest.raises(ValueError, match="pages"):
        GuestMemory(memoryview(bytearray(5000)))
    assert GuestMemory(memoryview(mmap.mmap(-1, 8192))).size == 8192
