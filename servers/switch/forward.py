"""Where a frame goes: a learning bridge (IEEE 802.1D) whose ports do not believe each other.

A port is in one or more *segments*, and frames go only to ports that share one with the sender.  A
port that has addresses of its own sends from these alone, gets nothing that is sent to others, and
nobody else can take its addresses over.  Each other port may have as many learned addresses as
``MOST_LEARNED``; a newer one drives out its own oldest, and nobody else's.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

ADDRESS: Final = 6
"""Bytes of an Ethernet address."""
GROUP: Final = 1
"""Bit of an address's first byte: it is of many."""
MOST_LEARNED: Final = 256


@dataclass(frozen=True)
class Rules:
    """What a port may do."""

    segments: frozenset[str]
    addresses: frozenset[bytes] = frozenset()
    """From which it sends; empty for any."""


@dataclass
class _Port:
    rules: Rules
    learned: dict[bytes, None] = field(default_factory=dict)  # the oldest first


class Bridge:
    """All ports, by what the caller knows them as, and the addresses behind them."""

    def __init__(self) -> None:
        self._ports: dict[Hashable, _Port] = {}
        self._fixed: dict[tuple[str, bytes], Hashable] = {}
        self._places: dict[tuple[str, bytes], Hashable] = {}
        self.refused = 0
        """Frames that their sender may not send."""

    def add(self, port: Hashable, rules: Rules) -> None:
        """A new port; raises ``ValueError`` if an address of its own is another's."""
        keys = [(s, a) for s in rules.segments for a in rules.addresses]
        if any(key in self._fixed for key in keys):
            raise ValueError("the address of one port is another's")
        self._ports[port] = _Port(rules)
        for key in keys:
            self._fixed[key] = self._places[key] = port

    def receive(self, sender: Hashable, header: bytes) -> list[Hashable]:
        """The ports that get a frame which begins with ``header``, at least two addresses."""
        port = self._ports[sender]
        target, source = header[:ADDRESS], header[ADDRESS : 2 * ADDRESS]
        if not self._allowed(sender, port, source):
            self.refused += 1
            return []
        if target[0] & GROUP:
            return [name for name, _ in self._others(sender)]
        found = {self._places.get((segment, target)) for segment in port.rules.segments} - {None}
        if not found:
            return [name for name, other in self._others(sender) if not other.rules.addresses]
        return [name for name in found if name != sender]

    def _others(self, sender: Hashable) -> list[tuple[Hashable, _Port]]:
        segments = self._ports[sender].rules.segments
        return [
            (name, other)
            for name, other in self._ports.items()
            if name != sender and segments & other.rules.segments
        ]

    def _allowed(self, sender: Hashable, port: _Port, source: bytes) -> bool:
        """Whether a port may send from an address, which is its place from then on."""
        if port.rules.addresses:
            return source in port.rules.addresses
        if source[0] & GROUP:
            return False
        keys = [(segment, source) for segment in port.rules.segments]
        if any(key in self._fixed for key in keys):
            return False
        if source not in port.learned:
            self._learn(sender, port, source)
        for key in keys:
            self._places[key] = sender
        return True

    def _learn(self, sender: Hashable, port: _Port, source: bytes) -> None:
        if len(port.learned) >= MOST_LEARNED:
            oldest = next(iter(port.learned))
            del port.learned[oldest]
            for segment in port.rules.segments:
                if self._places.get((segment, oldest)) == sender:
                    del self._places[segment, oldest]
        port.learned[source] = None
