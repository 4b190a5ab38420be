"""The packet stream with an evil peer, which writes what it likes whenever it likes.

A script is a list of steps of the honest side, and of what is in the shared frame: the peer changes
it before a step, and each word of the ring's header between two looks at it.  Promised is that the
honest side sees at most as many packets as the ring has slots, or ``Failed``; that it never has
more packets on their way than the ring has slots; and that a part is within the data area.
"""

from __future__ import annotations

from typing import Any, Final, cast

from servers.runtime import Failed, Mapping
from servers.runtime.stream import Packet, _layout, _Side
from tests.fuzz.source import Source

MOST: Final = 32
"""Steps of one script at most."""
DATA: Final = 8192
HEADERS: Final = slice(128, 4096)
"""What is left of the page of the rings' headers: nobody's."""


class Memory:
    """Stands for a mapping."""

    def __init__(self, size: int) -> None:
        self.view = memoryview(bytearray(size))


class Words:
    """The words of a ring's header, which the peer changes between two looks."""

    def __init__(self, words: memoryview, source: Source) -> None:
        self._words, self._source = words, source

    def __getitem__(self, index: int) -> int:
        if self._source.chance(4):
            self._words[index] = self._source.unsigned(32)
        found: int = self._words[index]
        return found

    def __setitem__(self, index: int, word: int) -> None:
        self._words[index] = word


class Wake:
    """Stands for a notification."""

    def __init__(self) -> None:
        self.signals = 0

    def signal(self) -> None:
        self.signals += 1


def _side(source: Source) -> tuple[Any, Memory]:
    """One side of a stream, whose counters begin anywhere."""
    slots = source.pick((1, 2, 4, 64))
    memory = Memory(_layout(slots) + DATA)
    side = _Side(cast(Mapping, memory), slots, source.number() % 2, cast(Any, Wake()))
    for ring in (side._out, side._in):
        ring._own = source.unsigned(32)
        ring._words = cast(memoryview, Words(ring._words, source))
    return side, memory


def target(data: bytes) -> None:
    """Do a script of steps."""
    source = Source(data)
    side, memory = _side(source)
    for _ in range(MOST):
        if not source:
            return
        kind = source.number() % 4
        if kind == 0:
            at, found = source.number(2) % len(memory.view), source.blob()
            found = found[: len(memory.view) - at]
            memory.view[at : at + len(found)] = found
        elif kind == 1:
            try:
                assert len(side.take_all()) <= side.slots
            except Failed:
                pass
        elif kind == 2:
            _put(side, source)
        else:
            _look(side, Packet(*(source.unsigned(bits) for bits in (64, 32, 32, 64, 64))))


def _put(side: Any, source: Source) -> None:
    """Fill the ring as far as the peer lets us."""
    ring = side._out
    before, own, signals = bytes(ring._view[HEADERS]), ring._own, side._wake.signals
    for _ in range(1 + source.count(2 * side.slots)):
        head = ring._words._words[0]
        if not side.put(Packet(1, 2, 3, 4, 5)):
            break
        if ring._words._words[0] == head:  # the peer kept still
            assert 0 < (ring._own - head) & 0xFFFFFFFF <= side.slots, "over what was not taken"
    put = (ring._own - own) & 0xFFFFFFFF
    assert side._wake.signals - signals <= put
    assert bytes(ring._view[HEADERS]) == before, "it wrote outside its slots"


def _look(side: Any, packet: Packet) -> None:
    """A part of the data area that a packet names."""
    try:
        part = side.part(packet)
    except Failed:
        assert packet.offset + packet.length > len(side.data)
        return
    assert len(part) == packet.length
