"""The one TPM behind all channels, and what they share beside it."""

from __future__ import annotations

import struct
import sys
import traceback
from collections.abc import Callable
from typing import Final

from tpm.interface import BUFFER_SIZE, FAILURE, Tpm, TpmError

HEADER: Final = struct.Struct(">HII")
"""Tag, size of the whole, and command or response code."""
BAD_SIZE: Final = {"2.0": HEADER.pack(0x8001, 10, 0x142), "1.2": HEADER.pack(0x00C4, 10, 0x19)}
"""TPM_RC_COMMAND_SIZE; TPM_BAD_PARAM_SIZE."""
TAGS: Final = {"2.0": (0x8001, 0x8002), "1.2": (0x00C1, 0x00C2, 0x00C3)}
_SUCCESS: Final = {"2.0": HEADER.pack(0x8001, 10, 0), "1.2": HEADER.pack(0x00C4, 10, 0)}
_BAD_LOCALITY: Final = {
    "2.0": HEADER.pack(0x8001, 10, 0x107),
    "1.2": HEADER.pack(0x00C4, 10, 0x3D),
}
_SHUTDOWN: Final = 0x145
_SHUTDOWN_CLEAR: Final = bytes.fromhex("8001 0000000c 00000145 0000")
SET_LOCALITY: Final = {"2.0": 0x2000_1000, "1.2": 0x0000_1000}
"""The command of swtpm's own by which a client chooses its locality."""


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Port:
    """What clients plug into."""

    def __init__(
        self,
        tpm: Tpm,
        *,
        set_locality: bool = False,
        reject_locality_4: bool = False,
        auto_shutdown: bool = True,
        log: Callable[[str], None] = _print,
    ) -> None:
        """``set_locality``: obey the command of that name.  ``auto_shutdown``: send a 2.0
        TPM2_Shutdown before its power goes, if no client did: software that ends a machine has no
        other way to, and a TPM whose power fails too often locks out."""
        self.tpm = tpm
        self.locality = 0
        self.buffer_size = BUFFER_SIZE
        self.log = log
        self._set_locality = set_locality
        self._reject_4 = reject_locality_4
        self._auto_shutdown = auto_shutdown and tpm.version == "2.0"
        self._last = _SHUTDOWN  # the last command

    def execute(self, command: bytes, locality: int | None = None) -> bytes:
        """Answer a whole command, at the locality of the control channel unless one is given."""
        if locality is None:
            locality = self.locality
        tpm = self.tpm
        if not tpm.running:
            return FAILURE[tpm.version]
        if self._reject_4 and locality == 4:
            return _BAD_LOCALITY[tpm.version]
        self._last = int.from_bytes(command[6:10], "big")
        if self._set_locality and self._last == SET_LOCALITY[tpm.version]:
            return self._choose(command)
        try:
            return tpm.execute(command, locality)
        except Exception:  # a fault of the engine is answered, and the next command has its chance
            self.log(f"command {command[:64].hex()} failed:\n{traceback.format_exc()}")
            return FAILURE[tpm.version]

    def _choose(self, command: bytes) -> bytes:
        version = self.tpm.version
        if len(command) != HEADER.size + 1:
            return BAD_SIZE[version]
        return _SUCCESS[version] if self.choose_locality(command[10]) else _BAD_LOCALITY[version]

    def choose_locality(self, locality: int) -> bool:
        """Use this locality for commands from now on; whether that is possible."""
        if locality > 4 or (locality == 4 and self._reject_4):
            return False
        self.locality = locality
        return True

    def power_on(self, delete_volatile: bool = False) -> None:
        """Switch on or reset; raises ``TpmError``."""
        self.shut_down()
        self.tpm.power_on(delete_volatile)

    def power_off(self) -> None:
        self.shut_down()
        self.tpm.power_off()

    def shut_down(self) -> None:
        """Tell a running TPM that its power goes, if nobody did."""
        if self._auto_shutdown and self.tpm.running and self._last != _SHUTDOWN:
            self.execute(_SHUTDOWN_CLEAR, 0)

    def guarded(self, action: Callable[[], object]) -> bool:
        """Whether an action went well; if not, the log says why."""
        try:
            action()
        except (TpmError, OSError) as error:
            self.log(str(error))
            return False
        return True
