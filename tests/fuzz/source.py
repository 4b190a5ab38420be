"""Decisions read from bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

INTERESTING: Final = (
    *(0, 1, 2, -1, 7, 8, 63, 64, 127, 128, 255, 256, 511, 512, 4095, 4096, 4097),
    *(0x7FFF, 0x8000, 0xFFFF, 0x1_0000, 0x1_0001, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1),
    *(1 << 32, (1 << 32) + 1, (1 << 52) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63)),
)
"""Numbers at which something changes."""


class Source:
    """Reads decisions from the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there is something left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next bytes; fewer than ``size`` at the end."""
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def number(self, size: int = 1) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def integer(self) -> int:
        """Any integer, often an interesting one."""
        kind = self.number()
        if kind < 200:
            return INTERESTING[kind % len(INTERESTING)]
        value = self.number(1 << kind % 4)
        return -value if kind & 4 else value

    def unsigned(self, bits: int) -> int:
        """A number of so many bits, often an interesting one."""
        return self.integer() & (1 << bits) - 1

    def pick(self, choices: Sequence[T]) -> T:
        """One of at most 256."""
        return choices[self.number() % len(choices)]

    def chance(self, of: int) -> bool:
        """True once in so many times."""
        return self.number() % of == of - 1

    def count(self, most: int) -> int:
        """0 to ``most``, at most 255."""
        return self.number() % (most + 1)

    def blob(self) -> bytes:
        """Some bytes, now and then many."""
        size = self.number()
        if size < 250:
            return self.take(size % 64)
        return self.take(2) * (1 << (size - 240))

    def text(self) -> str:
        return self.blob().decode(errors="ignore")

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def edited(self, data: bytes) -> bytes:
        """``data`` with some bytes changed, inserted, doubled or cut off."""
        found = bytearray(data)
        for _ in range(self.count(7)):
            at = self.number(2) % (len(found) + 1)
            kind = self.number() % 6
            if kind < 2:
                patch = self.take(1 + self.number() % 4)
                found[at : at + len(patch)] = patch
            elif kind == 2:
                size = self.pick((1, 2, 4, 8))
                found[at : at + size] = self.unsigned(8 * size).to_bytes(size, "little")
            elif kind == 3:
                found[at:at] = self.blob()
            elif kind == 4:
                del found[at : at + self.number()]
            else:
                found[at:at] = found[at : at + self.number()]
        return bytes(found)
