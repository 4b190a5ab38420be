"""The volatile state of a TPM as one value, for suspending it and for moving it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tpm.tpm20.constants import HR, MAX_ACTIVE_SESSIONS, MAX_LOADED_OBJECTS, PCR_COUNT
from tpm.tpm20.objects import Object, Sequence
from tpm.tpm20.plain import StateError
from tpm.tpm20.sessions import Session
from tpm.tpm20.state import ClearData, ResetData
from tpm.tpm20.structures import DIGEST_SIZE

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_PLAIN_FIELDS = (
    "started",
    "clear",
    "reset",
    "platform_enabled",
    "sessions",
    "pcrs",
    "pcr_allocation",
    "exclusive_session",
    "pcr_reconfigured",
    "startup_locality",
    "was_orderly",
    "drtm_before_startup",
    "rate_adjust",
    "time",
    "epoch",
    "clock",
)
"""What the engine and `Volatile` call by the same name."""


@dataclass(slots=True)
class Volatile:
    """Everything of a `Tpm` that is not in its `State`."""

    started: bool
    clear: ClearData
    reset: ResetData
    platform_enabled: bool
    objects: dict[int, Object]
    sequences: dict[int, Sequence]
    sessions: dict[int, Session]
    pcrs: dict[int, list[bytes]]
    pcr_allocation: dict[int, bytes]
    exclusive_session: int
    pcr_reconfigured: bool
    startup_locality: int
    was_orderly: bool
    drtm_before_startup: dict[int, bytes]
    rate_adjust: int
    time: int
    epoch: int
    clock: int

    @classmethod
    def of(cls, tpm: Tpm) -> Volatile:
        """What there is now. It shares with the engine; `plain.save` copies."""
        held = tpm.objects.items()
        return cls(
            objects={handle: one for handle, one in held if isinstance(one, Object)},
            sequences={handle: one for handle, one in held if isinstance(one, Sequence)},
            **{name: getattr(tpm, name) for name in _PLAIN_FIELDS},
        )

    def check(self) -> None:
        """Raise `StateError` for what no engine could have saved."""
        handles = (*self.objects, *self.sequences)
        room = range(HR.TRANSIENT, HR.TRANSIENT + MAX_LOADED_OBJECTS)
        if any(handle not in room for handle in handles):
            raise StateError("an object outside of the slots")
        for sequence in self.sequences.values():
            sequence.check()
        for handle, session in self.sessions.items():
            if handle != session.handle or handle & 0xFFFFFF >= MAX_ACTIVE_SESSIONS:
                raise StateError("a session outside of the slots")
        for bank, values in self.pcrs.items():
            size = DIGEST_SIZE.get(bank)
            if len(values) != PCR_COUNT or any(len(value) not in (0, size) for value in values):
                raise StateError("a PCR bank of another size")

    def put_into(self, tpm: Tpm) -> None:
        """Make an engine be in this state."""
        tpm.power_on()
        for name in _PLAIN_FIELDS:
            setattr(tpm, name, getattr(self, name))
        tpm.objects = {**self.objects, **self.sequences}
        tpm.restart_clock()
