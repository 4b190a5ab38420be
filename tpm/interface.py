"""What is around a TPM asks of it, and what a TPM's process offers to others.

``Tpm`` is one TPM with its state, as front ends and the process's server see it; engines of both
versions fit behind it (``tpm/instance.py``).  ``TpmDevice`` and ``TpmPlatform`` are the same over
the kernel's IPC, divided by what their holders may do:

* ``TpmDevice`` is the wire to the TPM from a machine's software: commands at localities 0 to 3, as
  a board's interface passes them on.
* ``TpmPlatform`` is the wires from a machine's hardware: power, locality 4, the hash interface.

The offer that a call comes through is in its badge, which the kernel attaches, so nobody reaches
the platform's methods, or another machine's TPM, by what is in a message.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, Protocol

import msgspec

from servers.runtime import Interface

Version = Literal["1.2", "2.0"]
BUFFER_SIZE: Final = 4096
"""Bytes of a command and of a response at most."""
FAILURE: Final[dict[str, bytes]] = {
    "2.0": bytes.fromhex("8001 0000000a 00000101"),
    "1.2": bytes.fromhex("00c4 0000000a 00000009"),
}
"""What a TPM answers that has no power, or is broken, by version."""
LOCALITIES: Final = 5
HARDWARE_LOCALITY: Final = 4
"""Where the hash interface works, which only a machine's hardware reaches."""


class Blob(enum.IntEnum):
    """The parts of a TPM's state, with the numbers that the swtpm control channel gives them."""

    PERMANENT = 1
    """What survives power-off: seeds, persistent objects, NV."""
    VOLATILE = 2
    """All the rest, to suspend a TPM and resume it elsewhere."""
    SAVESTATE = 3
    """What TPM_SaveState or Shutdown(STATE) kept for the next Startup(STATE)."""


class TpmError(Exception):
    """The TPM cannot do that; the text is one sentence."""


class Tpm(Protocol):
    """One TPM and its state.  Not for use by two threads at a time."""

    @property
    def version(self) -> Version: ...

    @property
    def running(self) -> bool:
        """Whether it has power."""

    def lock(self) -> None:
        """Open the storage of its state and hold it from now on; raises ``TpmError``."""

    def power_on(self, delete_volatile: bool = False) -> None:
        """_TPM_Init: power on, or reset if it is on.

        If volatile state was stored, the TPM resumes from it, and with ``delete_volatile`` that is
        forgotten then.  Raises ``TpmError``.
        """

    def power_off(self) -> None: ...

    def execute(self, command: bytes, locality: int = 0) -> bytes:
        """Answer a command.  Whatever is in it, the answer is well formed; what the answer says
        is persistent has been stored."""

    def cancel(self, on: bool) -> None:
        """Raise or drop the cancel signal, which makes long commands give up."""

    def set_physical_presence(self, on: bool) -> None:
        """The operator is at the machine, or has gone."""

    def set_buffer_size(self, size: int) -> int:
        """The longest command and response from now on, as near to ``size`` as possible; 0 asks."""

    # The hash interface (_TPM_Hash_Start and so on), and the flag that it sets

    def hash_start(self) -> None: ...

    def hash_data(self, data: bytes) -> None: ...

    def hash_end(self) -> None: ...

    @property
    def established(self) -> bool: ...

    def reset_established(self, locality: int) -> bool:
        """Whether the locality, 3 or 4, may do that."""

    # State from outside

    def get_state(self, blob: Blob) -> bytes:
        """Empty if there is none; raises ``TpmError``."""

    def set_state(self, blob: Blob, data: bytes) -> None:
        """Replace a part while the power is off; raises ``TpmError`` if it is no such state."""

    def store_volatile(self) -> None:
        """Keep the volatile state, so that the next ``power_on`` resumes from it."""

    def info(self) -> dict[str, object]:
        """Facts about this implementation, by the names that swtpm's GET_INFO gives them."""


class TpmFacts(msgspec.Struct, array_like=True, frozen=True):
    """What a TPM is."""

    version: str
    established: bool
    running: bool


class TpmDevice(Interface):
    """The wire from a machine's software."""

    def execute(self, command: bytes, locality: int) -> bytes:
        """Answer a command at locality 0 to 3."""

    def facts(self) -> TpmFacts: ...

    def reset_established(self, locality: int) -> bool:
        """Clear the establishment flag; whether the locality may."""


class TpmPlatform(Interface):
    """The wires from a machine's hardware."""

    def reset(self) -> None:
        """_TPM_Init: the machine was switched on or reset."""

    def execute(self, command: bytes, locality: int) -> bytes:
        """Answer a command at any locality."""

    def facts(self) -> TpmFacts: ...

    def cancel(self, on: bool) -> None: ...

    def hash(self, pieces: list[bytes]) -> None:
        """_TPM_Hash_Start, _TPM_Hash_Data for each piece, _TPM_Hash_End."""
