"""Tables that point to each other, in one piece of memory whose address need not be known yet."""

from __future__ import annotations

from typing import NamedTuple

ALIGNMENT = 64
CHECKSUM_AT = 9
"""Where a table's checksum is, which makes the sum of its octets zero (ACPI 6.4, 5.2.6)."""


class Pointer(NamedTuple):
    """``size`` octets at ``at`` hold the address of what is at ``target``."""

    at: int
    size: int
    target: int


class Image:
    """The tables; addresses in ``data`` are offsets until ``located``."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.pointers: list[Pointer] = []
        self.tables: list[tuple[int, int]] = []
        """Offset and length of those that have a checksum."""

    def place(self, raw: bytes, checked: bool = True) -> int:
        """Append a table; returns its offset."""
        self.data.extend(bytes(-len(self.data) % ALIGNMENT))
        at = len(self.data)
        self.data.extend(raw)
        if checked:
            self.tables.append((at, len(raw)))
        return at

    def point(self, at: int, size: int, target: int) -> None:
        """Let ``size`` octets at offset ``at`` be the address of what is at offset ``target``."""
        self.data[at : at + size] = target.to_bytes(size, "little")
        self.pointers.append(Pointer(at, size, target))

    def located(self, base: int) -> bytes:
        """The contents of memory at ``base``."""
        data = bytearray(self.data)
        for at, size, target in self.pointers:
            data[at : at + size] = (base + target).to_bytes(size, "little")
        for start, length in self.tables:
            data[start + CHECKSUM_AT] = 0
            data[start + CHECKSUM_AT] = -sum(data[start : start + length]) & 0xFF
        return bytes(data)
