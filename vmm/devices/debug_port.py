"""Ports to which firmware and small systems write what they do.

402h  Bochs's and SeaBIOS's debug output    E9h  the same, of Bochs's "port E9 hack"
Reading either gives E9h, which says that somebody listens.
"""

from __future__ import annotations

from vmm.backends import Serial
from vmm.bus import PortBus

PORTS = (0x402, 0xE9)
LISTENS = 0xE9
MOST = 4096
"""Octets that wait for the end of their line at most."""


class DebugPort:
    """Hands on whole lines."""

    def __init__(self, backend: Serial) -> None:
        self._backend = backend
        self._line = bytearray()

    def attach(self, ports: PortBus) -> None:
        for port in PORTS:
            ports.map_bytes(port, 1, lambda _offset: LISTENS, self.write)

    def write(self, _offset: int, value: int) -> None:
        self._line.append(value)
        if value == 0x0A or len(self._line) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Hand on what there is."""
        if self._line:
            self._backend.write(bytes(self._line))
            self._line.clear()
