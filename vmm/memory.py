"""Guest memory: one writable buffer, seen at guest-physical addresses.

A PC's RAM begins at zero and leaves a hole below 4 GiB for devices; what does not fit below the
hole continues at 4 GiB.  Every access from a device is checked here: an address that the guest
made up is answered with ``GuestAddressError`` and never reaches the host's memory.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

PAGE = 4096
HOLE_START = 0xC000_0000
"""Where RAM below 4 GiB ends at the latest."""
HIGH_START = 0x1_0000_0000


class GuestAddressError(Exception):
    """A guest-physical range that is not wholly RAM."""


class Region(NamedTuple):
    """A run of RAM: ``length`` bytes at ``gpa`` are the buffer's from ``offset``."""

    gpa: int
    offset: int
    length: int


class GuestMemory:
    """The RAM of one machine."""

    def __init__(self, buffer: memoryview) -> None:
        """``buffer`` is writable, page-aligned, and a whole number of pages long."""
        view = buffer.cast("B") if buffer.format != "B" else buffer
        if view.readonly:
            raise ValueError("guest memory must be writable")
        if view.nbytes % PAGE or not view.nbytes:
            raise ValueError("guest memory must be a whole number of pages")
        self.buffer = view
        self.size = view.nbytes
        low = min(self.size, HOLE_START)
        self.regions = [Region(0, 0, low)]
        if self.size > low:
            self.regions.append(Region(HIGH_START, low, self.size - low))
        self._low = low

    def offset(self, gpa: int, length: int) -> int:
        """The buffer's offset of a range that lies in one region."""
        if gpa >= 0 and length >= 0:
            if gpa + length <= self._low:
                return gpa
            for start, offset, size in self.regions[1:]:
                if start <= gpa and gpa + length <= start + size:
                    return offset + gpa - start
        raise GuestAddressError(f"no guest memory at {gpa:#x} for {length:#x} bytes")

    def view(self, gpa: int, length: int) -> memoryview:
        """A window on guest memory: what is written to it, the guest sees."""
        offset = self.offset(gpa, length)
        return self.buffer[offset : offset + length]

    def read(self, gpa: int, length: int) -> bytes:
        return bytes(self.view(gpa, length))

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        self.view(gpa, len(data))[:] = data

    def read_struct(self, layout: struct.Struct, gpa: int) -> tuple[int, ...]:
        """Unpack integers at ``gpa``."""
        return layout.unpack_from(self.buffer, self.offset(gpa, layout.size))

    def write_struct(self, layout: struct.Struct, gpa: int, *values: int) -> None:
        layout.pack_into(self.buffer, self.offset(gpa, layout.size), *values)

    def clear(self) -> None:
        """Make all of it zero."""
        chunk = bytes(1 << 20)
        for start in range(0, self.size, len(chunk)):
            end = min(start + len(chunk), self.size)
            self.buffer[start:end] = chunk[: end - start]
