"""Port and MMIO dispatch.

Ports are 65,536 and a guest touches them tens of thousands of times during a boot, so that a port
is an index into two flat lists of handlers.  MMIO ranges are few: they are searched by bisection.
What nobody claims reads as all ones and ignores writes, as on a PC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

PORTS = 0x10000

ReadPort = Callable[[int, int], int]
"""(port, size in bytes) -> value"""
WritePort = Callable[[int, int, int], None]
"""(port, size in bytes, value)"""


def _read_open(_port: int, size: int) -> int:
    return (1 << (8 * size)) - 1


def _write_open(_port: int, _size: int, _value: int) -> None:
    return


class PortBus:
    """The 64 KiB I/O space."""

    def __init__(self) -> None:
        self.readers: list[ReadPort] = [_read_open] * PORTS
        self.writers: list[WritePort] = [_write_open] * PORTS

    def map(self, base: int, count: int, read: ReadPort, write: WritePort) -> None:
        """Give ``count`` ports to a device that understands every size."""
        for port in range(base, base + count):
            self.readers[port] = read
            self.writers[port] = write

    def unmap(self, base: int, count: int) -> None:
        """Release ports."""
        self.map(base, count, _read_open, _write_open)

    def is_free(self, base: int, count: int) -> bool:
        """Whether no device claims a part of this range."""
        return all(reader is _read_open for reader in self.readers[base : base + count])

    def map_bytes(
        self,
        base: int,
        count: int,
        read: Callable[[int], int],
        write: Callable[[int, int], None],
    ) -> None:
        """Give ports to a device with byte registers: (offset) -> value, (offset, value).

        A wider access becomes accesses to consecutive ports, as the ISA bus makes it.
        """

        def read_port(port: int, size: int) -> int:
            if size == 1:
                return read(port - base) & 0xFF
            value = 0
            for i in range(size):
                value |= self.read((port + i) & 0xFFFF, 1) << (8 * i)
            return value

        def write_port(port: int, size: int, value: int) -> None:
            if size == 1:
                write(port - base, value & 0xFF)
                return
            for i in range(size):
                self.write((port + i) & 0xFFFF, 1, value >> (8 * i) & 0xFF)

        self.map(base, count, read_port, write_port)

    def read(self, port: int, size: int) -> int:
        return self.readers[port & 0xFFFF](port, size)

    def write(self, port: int, size: int, value: int) -> None:
        self.writers[port & 0xFFFF](port, size, value)


class MmioBus:
    """Device memory.  Handlers get offsets from the start of their range."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ranges: list[tuple[int, int, ReadPort, WritePort]] = []

    def map(self, base: int, length: int, read: ReadPort, write: WritePort) -> None:
        """Claim ``length`` bytes.  Ranges may not overlap."""
        i = bisect_right(self._starts, base)
        if (i and self._ranges[i - 1][1] > base) or (
            i < len(self._starts) and self._starts[i] < base + length
        ):
            raise ValueError(f"MMIO at {base:#x} overlaps another device")
        self._starts.insert(i, base)
        self._ranges.insert(i, (base, base + length, read, write))

    def unmap(self, base: int) -> None:
        """Release the range that starts at ``base``, if there is one."""
        if base in self._starts:
            i = self._starts.index(base)
            del self._starts[i], self._ranges[i]

    def is_free(self, base: int, length: int) -> bool:
        """Whether no device claims a part of this range."""
        return all(end <= base or base + length <= start for start, end, _, _ in self._ranges)

    def read(self, address: int, size: int) -> int:
        i = bisect_right(self._starts, address) - 1
        if i >= 0:
            base, end, read, _ = self._ranges[i]
            if address + size <= end:
                return read(address - base, size)
        return (1 << (8 * size)) - 1

    def write(self, address: int, size: int, value: int) -> None:
        i = bisect_right(self._starts, address) - 1
        if i >= 0:
            base, end, _, write = self._ranges[i]
            if address + size <= end:
                write(address - base, size, value)
