"""The state of a TPM, by how long it lives (TPM 2.0 part 1, 12.2 and part 4, 5.10).

`State` is what non-volatile memory holds. A TPM that loses power has exactly that; whoever runs
the engine writes `State.save()` away whenever `changed` is set, before it passes the answer on,
and clears the flag. `ClearData` and `ResetData` are lost with power unless Shutdown(STATE) put them
into `State.saved`: the first is renewed by any Startup(CLEAR), the second by a TPM Reset alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tpm.tpm20 import plain
from tpm.tpm20.constants import ALG, NT, PCR_SELECT_SIZE, PRIMARY_SEED_SIZE, PROOF_SIZE, RH, TPMA_NV
from tpm.tpm20.constants import CC as _CC
from tpm.tpm20.objects import Object
from tpm.tpm20.plain import StateError
from tpm.tpm20.structures import HASHES, NvPublic

__all__ = ["ClearData", "NvIndex", "ResetData", "Saved", "State", "StateError"]

Policy = tuple[int, bytes]
"""Hash algorithm and digest of an authPolicy."""

NO_POLICY: Policy = (ALG.NULL, b"")

NOT_ORDERLY, ORDERLY_CLEAR, ORDERLY_STATE = 0, 1, 2
"""How the TPM was last shut down."""

VERSION = 1


@dataclass(slots=True)
class NvIndex:
    """A defined NV Index (part 1, 37). `data` is as long as the public area says."""

    public: NvPublic
    auth: bytes
    data: bytes
    _name: bytes = b""

    @property
    def kind(self) -> int:
        """TPM_NT."""
        return (self.public.attributes & TPMA_NV.TYPE_MASK) >> TPMA_NV.TYPE_SHIFT

    @property
    def is_pin(self) -> bool:
        return self.kind in (NT.PIN_FAIL, NT.PIN_PASS)


@dataclass(slots=True)
class ClearData:
    """Renewed by every Startup(CLEAR)."""

    storage_enabled: bool = True
    endorsement_enabled: bool = True
    platform_nv_enabled: bool = True
    platform_auth: bytes = b""
    platform_policy: Policy = NO_POLICY
    pcr_auth: bytes = b""
    """The authValue of the group of PCRs 20 to 22."""


@dataclass(slots=True)
class ResetData:
    """Renewed by a TPM Reset."""

    null_proof: bytes = b""
    null_seed: bytes = b""
    clear_count: int = 0
    restart_count: int = 0
    object_context_id: int = 0
    session_context_id: int = 0
    saved_sessions: dict[int, int] = field(default_factory=dict)
    """Context identifiers of saved sessions, by the session's handle."""
    command_audit_digest: bytes = b""
    pcr_counter: int = 0
    commit_counter: int = 0
    commit_nonce: bytes = b""
    commit_array: bytes = b""


@dataclass(slots=True)
class Saved:
    """What Shutdown(STATE) keeps."""

    clear: ClearData
    reset: ResetData
    pcrs: dict[int, bytes]
    """For each bank the values of PCR 0 to 15, one behind the other."""
    startup_locality: int
    drtm_before_startup: bool


def _all_pcrs() -> dict[int, bytes]:
    return dict.fromkeys(HASHES, b"\xff" * PCR_SELECT_SIZE)


@dataclass(slots=True)
class State:
    """Non-volatile memory."""

    version: int
    owner_seed: bytes
    endorsement_seed: bytes
    platform_seed: bytes
    owner_proof: bytes
    endorsement_proof: bytes
    platform_proof: bytes
    owner_auth: bytes = b""
    endorsement_auth: bytes = b""
    lockout_auth: bytes = b""
    owner_policy: Policy = NO_POLICY
    endorsement_policy: Policy = NO_POLICY
    lockout_policy: Policy = NO_POLICY
    disable_clear: bool = False
    failed_tries: int = 0
    max_tries: int = 3
    recovery_time: int = 1000
    """Seconds until `failed_tries` is one less; 0 switches the protection off."""
    lockout_recovery: int = 1000
    """Seconds until lockoutAuth can be used again after a failure; 0 means after a restart."""
    lockout_auth_enabled: bool = True
    da_used: bool = False
    """An authValue under dictionary attack protection was tried since the last Startup."""
    self_heal_timer: int = 0
    """Time in milliseconds of TPM time of the last change of `failed_tries`."""
    lockout_timer: int = 0
    """Time in milliseconds of TPM time when lockoutAuth was disabled."""
    clock: int = 0
    """Milliseconds; what is here is never less than what was reported before the last change."""
    clock_safe: bool = True
    reset_count: int = 0
    total_reset_count: int = 0
    orderly: int = ORDERLY_CLEAR
    saved: Saved | None = None
    audit_alg: int = ALG.SHA256
    audit_counter: int = 0
    audit_commands: list[int] = field(default_factory=lambda: [_CC.SetCommandCodeAuditStatus])
    pp_commands: list[int] = field(default_factory=lambda: [_CC.PP_Commands])
    algorithm_set: int = 0
    pcr_allocation: dict[int, bytes] = field(default_factory=_all_pcrs)
    """For each bank the TPMS_PCR_SELECT of its PCRs; takes effect at the next _TPM_Init."""
    pcr_policy: Policy = NO_POLICY
    """The authPolicy of the group of PCRs 20 to 22."""
    persistent: dict[int, Object] = field(default_factory=dict)
    nv: dict[int, NvIndex] = field(default_factory=dict)
    nv_max_counter: int = 0
    """The largest value that any deleted NV counter had (part 1, 37.2.4)."""
    _changed: bool = True

    @property
    def changed(self) -> bool:
        """Set by the engine on any change, cleared by whoever has written the state away."""
        return self._changed

    @changed.setter
    def changed(self, value: bool) -> None:
        self._changed = value

    def delete_nv(self, handle: int) -> None:
        """Forget an NV Index. A counter that takes its place will start above its value."""
        index = self.nv.pop(handle)
        if index.kind == NT.COUNTER and index.public.attributes & TPMA_NV.WRITTEN:
            value = int.from_bytes(index.data, "big")
            self.nv_max_counter = max(self.nv_max_counter, value)
        self.changed = True

    def delete_hierarchy(self, hierarchy: int) -> None:
        """Forget the persistent objects of a hierarchy, and the owner's NV Indices with theirs."""
        held = self.persistent.items()
        self.persistent = {handle: one for handle, one in held if one.hierarchy != hierarchy}
        if hierarchy == RH.OWNER:
            for handle, index in list(self.nv.items()):
                if not index.public.attributes & TPMA_NV.PLATFORMCREATE:
                    self.delete_nv(handle)
        self.changed = True

    def save(self) -> dict[str, Any]:
        """The state as plain data; it shares nothing with this object."""
        return plain.save(self)

    @staticmethod
    def restore(blob: Any) -> State:
        """The state that `save` gave; raises `StateError` for anything else."""
        state: State = plain.restore(State, blob)
        if state.version != VERSION:
            raise StateError(f"version {state.version}, this program reads version {VERSION}")
        _check_lengths(state)
        state.changed = False
        return state


def _check_lengths(state: State) -> None:
    seeds = (state.owner_seed, state.endorsement_seed, state.platform_seed)
    proofs = (state.owner_proof, state.endorsement_proof, state.platform_proof)
    if any(len(seed) != PRIMARY_SEED_SIZE for seed in seeds):
        raise StateError("a primary seed of another size")
    if any(len(proof) != PROOF_SIZE for proof in proofs):
        raise StateError("a proof of another size")
    for bank, select in state.pcr_allocation.items():
        if bank not in HASHES or len(select) != PCR_SELECT_SIZE:
            raise StateError("a PCR bank that does not exist")
    for handle, index in state.nv.items():
        if handle != index.public.nv_index or len(index.data) != index.public.data_size:
            raise StateError("an NV Index whose content does not fit its public area")
