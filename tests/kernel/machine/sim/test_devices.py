"""Devices of the sim machine: memory, files and descriptors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kernel.machine.config import DeviceConfig
from kernel.machine.sim import SimDevice


def test_memory_at_offsets() -> None:
    device = SimDevice(DeviceConfig("disk", writable=True, size=16))
    device.open()
    assert device.write_from(4, [memoryview(b"abcd"), memoryview(b"ef")]) == 6
    assert device.read_at(3, 8) == b"\0abcdef\0"
    assert device.write_from(14, [memoryview(b"xyz")]) == 2  # it does not grow
    assert device.write_from(100, [memoryview(b"x")]) == 0
    assert device.read_at(14, 10) == b"xy" and device.read_at(100, 1) == b""
    buffers = [memoryview(bytearray(3)), memoryview(bytearray(20))]
    assert device.read_into(4, buffers) == 12
    assert bytes(buffers[0]) == b"abc" and bytes(buffers[1][:3]) == b"def"
    assert device.ready()
    device.sync()


def test_memory_stream() -> None:
    device = SimDevice(DeviceConfig("terminal", writable=True, stream=True))
    device.open()
    assert not device.ready()
    device.feed(b"abc")
    assert device.ready() and device.read(2) == b"ab" and device.read(9) == b"c"
    assert not device.ready()
    device.feed(b"")
    assert device.ready() and device.read(1) == b""
    assert device.write(b"out") == 3 and bytes(device.output) == b"out"


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    device = SimDevice(DeviceConfig("disk", str(path), writable=True, size=4096))
    device.open()
    device.open()  # once is enough
    assert device.size == path.stat().st_size == 4096
    device.write_from(10, [memoryview(b"data")])
    device.sync()
    assert path.read_bytes()[10:14] == device.read_at(10, 4) == b"data"
    assert device.ready()
    device.close()


def test_file_that_is_longer_or_shorter(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"x" * 100)
    longer = SimDevice(DeviceConfig("disk", str(path), writable=True, size=10))
    longer.open()
    assert longer.size == 100
    longer.close()
    shorter = SimDevice(DeviceConfig("disk", str(path), writable=True, size=200))
    shorter.open()
    assert shorter.size == path.stat().st_size == 200
    shorter.close()


def test_file_for_reading_alone(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"data")
    device = SimDevice(DeviceConfig("disk", str(path)))
    device.open()
    assert device.read_at(0, 4) == b"data"
    with pytest.raises(OSError):
        device.write_from(0, [memoryview(b"x")])
    device.close()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        SimDevice(DeviceConfig("disk", str(tmp_path / "none"))).open()


def test_descriptor() -> None:
    reading, writing = os.pipe()
    device = SimDevice(DeviceConfig("terminal", fd=reading, stream=True))
    device.open()
    assert not device.ready()
    os.write(writing, b"typed")
    assert device.ready() and device.read(100) == b"typed"
    device.close()
    os.close(reading)  # it was not the device's to close
    os.close(writing)
