"""`Tpm`: one TPM. Bytes in, bytes out; what it knows of the outside are two functions.

    tpm = Tpm(None, random=os.urandom, clock=lambda: time.monotonic_ns() // 1_000_000)
    response = tpm.execute(command, locality=0)
    if tpm.state.changed:
        write_away(tpm.state.save())
        tpm.state.changed = False

A new `Tpm` has just had `_TPM_Init` and waits for TPM2_Startup. To power it off is to forget it;
`power_on` is a reset that keeps the object.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from tpm.tpm20 import dictionary_attack, dispatcher, drtm, plain
from tpm.tpm20.constants import (
    CLOCK_UPDATE_INTERVAL,
    HR,
    MAX_LOADED_OBJECTS,
    PRIMARY_SEED_SIZE,
    PROOF_SIZE,
    RC,
    RH,
    TpmError,
)
from tpm.tpm20.objects import Object, Sequence, Slot
from tpm.tpm20.sessions import Session
from tpm.tpm20.state import NOT_ORDERLY, VERSION, ClearData, ResetData, State
from tpm.tpm20.volatile import Volatile

_SEED_FIELDS = {
    RH.OWNER: "owner_seed",
    RH.ENDORSEMENT: "endorsement_seed",
    RH.PLATFORM: "platform_seed",
}
_PROOF_FIELDS = {
    RH.OWNER: "owner_proof",
    RH.ENDORSEMENT: "endorsement_proof",
    RH.PLATFORM: "platform_proof",
}


def manufacture(random: Callable[[int], bytes]) -> State:
    """The state of a TPM as it leaves the factory, with seeds of its own."""
    return State(
        version=VERSION,
        owner_seed=random(PRIMARY_SEED_SIZE),
        endorsement_seed=random(PRIMARY_SEED_SIZE),
        platform_seed=random(PRIMARY_SEED_SIZE),
        owner_proof=random(PROOF_SIZE),
        endorsement_proof=random(PROOF_SIZE),
        platform_proof=random(PROOF_SIZE),
    )


class Tpm:
    """A TPM 2.0. `random` gives octets that nobody can foretell, `clock` milliseconds that never
    go back; both may be deterministic where a run must be reproducible. Without `state` it is
    manufactured anew."""

    def __init__(
        self,
        state: State | None,
        random: Callable[[int], bytes],
        clock: Callable[[], int],
    ) -> None:
        self.random = random
        self._clock = clock
        self.state: State = manufacture(random) if state is None else state
        self.physical_presence: Callable[[], bool] = lambda: False
        """Whether physical presence is asserted right now."""
        self.fault: str | None = None
        """The traceback of the last defect in this program that a command ran into, if any."""
        self.power_on()

    def power_on(self) -> None:
        """_TPM_Init: everything volatile is gone (part 1, 12.2.3)."""
        self.started = False
        self.clear: ClearData = ClearData()
        self.reset = ResetData()
        self.platform_enabled = True
        self.objects: dict[int, Slot] = {}
        self.sessions: dict[int, Session] = {}
        self.pcrs: dict[int, list[bytes]] = {}
        self.pcr_allocation = dict(self.state.pcr_allocation)
        """What is in force; PCR_Allocate changes what will be in force after a reset."""
        self.exclusive_session = 0
        self.audit_alg_changed = False
        self.pcr_reconfigured = False
        self.startup_locality = 0
        self.was_orderly = False
        self.drtm: drtm.Measurement | None = None
        self.drtm_before_startup: dict[int, bytes] = {}
        self.locality = 0
        self.command_code = 0
        self.rate_adjust = 0
        self.time = 0
        """Milliseconds since power on, at the clock's adjusted rate."""
        self.epoch = int.from_bytes(self.random(4), "big")
        self._last_tick = self._clock()
        self.clock = self.state.clock
        """TPMS_CLOCK_INFO.clock in milliseconds."""

    def execute(self, command: bytes, locality: int = 0) -> bytes:
        """The response to a command at a locality; never raises, whatever the octets are."""
        self.locality = locality
        self.advance_time()
        self.drtm = None
        try:
            return dispatcher.run(self, command)
        except TpmError as error:
            return dispatcher.error_response(error.code)
        except Exception:
            self.fault = traceback.format_exc()
            return dispatcher.error_response(RC.FAILURE)

    # The indications that are not commands (part 3, 22.8 to 22.10).

    def hash_start(self) -> None:
        """_TPM_Hash_Start, at locality 4."""
        self.drtm = drtm.Measurement()

    def hash_data(self, octets: bytes) -> None:
        """_TPM_Hash_Data."""
        if self.drtm is not None:
            self.drtm.update(octets)

    def hash_end(self) -> None:
        """_TPM_Hash_End: PCR 17, or PCR 0 if TPM2_Startup has not come yet."""
        if self.drtm is not None:
            self.advance_time()
            drtm.finish(self, self.drtm)
            self.drtm = None

    # Time (part 1, 36).

    def advance_time(self) -> None:
        """Let time and clock go on, and let heal what heals with time."""
        now = self._clock()
        elapsed = now - self._last_tick
        if elapsed <= 0:
            return
        if self.rate_adjust:
            # Whole milliseconds alone are counted; the rest of a tick waits for the next.
            scaled = elapsed * (1000 + self.rate_adjust) // 1000
            if not scaled:
                return
            elapsed = scaled
        self._last_tick = now
        self.time += elapsed
        if self.started:
            self.set_clock(self.clock + elapsed)
            dictionary_attack.heal(self)

    def set_clock(self, clock: int) -> None:
        """A new value of the clock; non-volatile memory follows in steps."""
        self.clock = clock
        if clock // CLOCK_UPDATE_INTERVAL != self.state.clock // CLOCK_UPDATE_INTERVAL:
            self.state.clock = clock
            self.state.clock_safe = True
            self.state.changed = True

    def void_shutdown(self) -> None:
        """Something changed that Shutdown(STATE) keeps: the TPM is not shut down any more."""
        if self.state.orderly != NOT_ORDERLY:
            self.state.orderly = NOT_ORDERLY
            self.state.saved = None
            self.state.changed = True

    # Slots.

    def slot(self, handle: int) -> Slot:
        """The object or sequence of a handle that the handle area has vouched for."""
        if handle >= HR.PERSISTENT:
            return self.state.persistent[handle]
        return self.objects[handle]

    def object(self, handle: int) -> Object:
        """The object of a handle; `TPM_RC_SEQUENCE` if a sequence is there."""
        found = self.slot(handle)
        if isinstance(found, Sequence):
            raise TpmError(RC.SEQUENCE)
        return found

    def free_handle(self) -> int:
        """A handle for one more transient object; `TPM_RC_OBJECT_MEMORY` if there is no room."""
        for handle in range(HR.TRANSIENT, HR.TRANSIENT + MAX_LOADED_OBJECTS):
            if handle not in self.objects:
                return handle
        raise TpmError(RC.OBJECT_MEMORY)

    def flush_hierarchy(self, hierarchy: int) -> None:
        """Flush the transient objects of a hierarchy."""
        self.objects = {
            handle: held
            for handle, held in self.objects.items()
            if not isinstance(held, Object) or held.hierarchy != hierarchy
        }

    def flush_session(self, handle: int) -> None:
        """End a session, loaded or saved."""
        self.sessions.pop(handle, None)
        self.reset.saved_sessions.pop(handle, None)
        if self.exclusive_session == handle:
            self.exclusive_session = 0

    # Secrets of the hierarchies.

    def seed(self, hierarchy: int) -> bytes:
        """The primary seed of a hierarchy (part 1, 14.3)."""
        if hierarchy == RH.NULL:
            return self.reset.null_seed
        seed: bytes = getattr(self.state, _SEED_FIELDS[hierarchy])
        return seed

    def proof(self, hierarchy: int) -> bytes:
        """The proof value of a hierarchy (part 1, 14.4): the key of its tickets."""
        field = _PROOF_FIELDS.get(hierarchy)
        proof: bytes = self.reset.null_proof if field is None else getattr(self.state, field)
        return proof

    def require_physical_presence(self) -> None:
        """`TPM_RC_PP` unless it is asserted."""
        if not self.physical_presence():
            raise TpmError(RC.PP)

    # What a suspended TPM is besides `state`.

    def save_volatile(self) -> dict[str, Any]:
        """Everything that power off would lose, as plain data."""
        return plain.save(Volatile.of(self))

    def restore_volatile(self, blob: Any) -> None:
        """Go on where `save_volatile` was called; raises `StateError` and changes nothing if the
        blob does not hold that."""
        volatile: Volatile = plain.restore(Volatile, blob)
        volatile.check()
        volatile.put_into(self)

    def restart_clock(self) -> None:
        """Count time from now on, not from when the clock was last looked at."""
        self._last_tick = self._clock()


__all__ = ["Tpm", "manufacture"]
