"""Ports and device memory find their devices, or nothing."""

from __future__ import annotations

import pytest

from vmm.bus import MmioBus, PortBus


def test_unclaimed_ports_read_as_ones() -> None:
    ports = PortBus()
    assert [ports.read(0x1234, size) for size in (1, 2, 4)] == [0xFF, 0xFFFF, 0xFFFF_FFFF]
    ports.write(0x1234, 4, 1)


def test_wide_accesses_to_byte_devices() -> None:
    ports = PortBus()
    written: list[tuple[int, int]] = []
    ports.map_bytes(0x10, 2, lambda offset: 0xA0 + offset, lambda o, v: written.append((o, v)))
    assert ports.read(0x10, 4) == 0xFFFF_A1A0
    ports.write(0x10, 2, 0x1234)
    assert written == [(0, 0x34), (1, 0x12)]
    assert ports.read(0xFFFF, 4) == 0xFFFF_FFFF


def test_device_memory() -> None:
    mmio = MmioBus()
    seen: list[tuple[int, int, int]] = []
    mmio.map(0x1000, 0x100, lambda o, _n: o, lambda o, n, v: seen.append((o, n, v)))
    assert mmio.read(0x1004, 4) == 4
    mmio.write(0x10FF, 1, 9)
    assert seen == [(0xFF, 1, 9)]
    assert mmio.read(0x10FE, 4) == 0xFFFF_FFFF  # leaves the range
    assert mmio.read(0xFFF, 1) == 0xFF
    mmio.write(0x2000, 4, 1)
    mmio.unmap(0x1000)
    assert mmio.read(0x1004, 4) == 0xFFFF_FFFF


def test_ranges_may_not_overlap() -> None:
    mmio = MmioBus()
    mmio.map(0x1000, 0x100, lambda o, _n: o, lambda _o, _n, _v: None)
    for base in (0x0FFF, 0x10FF, 0x1000):
        assert not mmio.is_free(base, 2)
        with pytest.raises(ValueError, match="overlaps"):
            mmio.map(base, 2, lambda o, _n: o, lambda _o, _n, _v: None)
    assert mmio.is_free(0x1100, 1)
