"""mssim's platform port: what a machine's hardware does to its TPM.

Each signal is a number, big-endian, and is answered with u32 0::

    1 power on   2 power off   3 4 physical presence on, off   9 10 cancel on, off
    11 12 NV on, off   13 14 key cache on, off   17 reset   18 restart
    20 the client ends the session   21 the server is to stop
    15 u32 client's version -> u32 server's version, u32 what it is, u32 0

Power on while the power is on does nothing: clients send it whenever they connect.  NV and keys are
always there: those signals are answered and change nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from tpm.frontends.data import DONE, ENDPOINT, HANDSHAKE, SERVER_VERSION, SESSION_END, STOP
from tpm.frontends.loop import Hangup
from tpm.frontends.port import Port

_U32: Final = struct.Struct(">I")


class PlatformChannel:
    """One connection."""

    takes_descriptors = False
    impatient = False

    def __init__(self, port: Port, stop: Callable[[], None] | None = None) -> None:
        self._port, self._stop = port, stop
        self._data = b""
        tpm = port.tpm
        self._signals: dict[int, Callable[[], object]] = {
            1: self._power_on,
            2: port.tpm.power_off,
            3: lambda: tpm.set_physical_presence(True),
            4: lambda: tpm.set_physical_presence(False),
            9: lambda: tpm.cancel(True),
            10: lambda: tpm.cancel(False),
            **dict.fromkeys((11, 12, 13, 14), lambda: None),
            17: self._reset,
            18: self._reset,
        }

    @property
    def buffered(self) -> bool:
        return bool(self._data)

    def receive(self, data: bytes) -> bytes | None:
        self._data += data
        return self.more()

    def more(self) -> bytes | None:
        if len(self._data) < 4:
            return None
        signal = _U32.unpack_from(self._data)[0]
        if signal == HANDSHAKE:
            if len(self._data) < 8:
                return None
            self._data = self._data[8:]
            return _U32.pack(SERVER_VERSION) + _U32.pack(ENDPOINT) + DONE
        self._data = self._data[4:]
        if signal in self._signals:
            self._port.guarded(self._signals[signal])
            return DONE
        if signal == STOP and self._stop is not None:
            self._stop()
        raise Hangup(b"" if signal == SESSION_END else DONE)

    def expire(self) -> bytes:
        return b""

    def take_descriptor(self, fd: int) -> None:
        raise NotImplementedError

    def closed(self) -> None:
        """Nothing is kept."""

    def _power_on(self) -> None:
        if not self._port.tpm.running:
            self._port.tpm.power_on()

    def _reset(self) -> None:
        if self._port.tpm.running:
            self._port.tpm.power_on()
