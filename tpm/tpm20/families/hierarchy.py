"""Hierarchy commands (part 3, 24)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import creation, dictionary_attack, entities, templates
from tpm.tpm20.constants import (
    PRIMARY_SEED_SIZE,
    PROOF_SIZE,
    RC,
    RH,
    P,
    TpmError,
    about,
)
from tpm.tpm20.families.objects import make_primary
from tpm.tpm20.state import NO_POLICY
from tpm.tpm20.structures import (
    DIGEST_SIZE,
    CreationData,
    PcrSelection,
    Public,
    SensitiveCreate,
    Ticket,
)

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


def create_primary(
    tpm: Tpm,
    primary: int,
    in_sensitive: SensitiveCreate,
    in_public: Public,
    outside_info: bytes,
    creation_pcr: list[PcrSelection],
) -> tuple[int, Public, CreationData, bytes, Ticket, bytes]:
    """Part 3, 24.1."""
    handle = tpm.free_handle()
    try:
        templates.check_creation(None, in_public, len(in_sensitive.data))
    except TpmError as error:
        raise TpmError(about(error.code, P(2))) from None
    auth = creation.padded_auth(in_sensitive, in_public.name_alg, 1)
    public, sensitive = make_primary(tpm, primary, in_public, auth, in_sensitive)
    held = creation.loaded(tpm, public, sensitive, primary)
    info, info_hash = creation.creation_data(
        tpm, primary, public.name_alg, creation_pcr, outside_info
    )
    ticket = creation.creation_ticket(tpm, primary, held.name, info_hash)
    tpm.objects[handle] = held
    return handle, public, info, info_hash, ticket, held.name


_MAY_CONTROL = {
    RH.PLATFORM: (RH.PLATFORM,),
    RH.PLATFORM_NV: (RH.PLATFORM,),
    RH.OWNER: (RH.PLATFORM, RH.OWNER),
    RH.ENDORSEMENT: (RH.PLATFORM, RH.ENDORSEMENT),
}
"""For each hierarchy the authorizations that may switch it off; platform's may switch it on."""


def _is_enabled(tpm: Tpm, enable: int) -> bool:
    if enable == RH.PLATFORM_NV:
        return tpm.clear.platform_nv_enabled
    return entities.hierarchy_enabled(tpm, enable)


def hierarchy_control(tpm: Tpm, auth: int, enable: int, state: int) -> None:
    """Part 3, 24.2."""
    on = bool(state)
    enabled = _is_enabled(tpm, enable)
    switches_on = on and not enabled
    if auth not in _MAY_CONTROL[enable] or (switches_on and auth != RH.PLATFORM):
        raise TpmError(RC.AUTH_TYPE)
    if on == enabled:
        return
    tpm.void_shutdown()
    if enable == RH.PLATFORM:
        tpm.platform_enabled = on
    elif enable == RH.PLATFORM_NV:
        tpm.clear.platform_nv_enabled = on
    elif enable == RH.OWNER:
        tpm.clear.storage_enabled = on
    else:
        tpm.clear.endorsement_enabled = on
    if not on and enable != RH.PLATFORM_NV:
        tpm.flush_hierarchy(enable)


def set_primary_policy(tpm: Tpm, auth: int, auth_policy: bytes, hash_alg: int) -> None:
    """Part 3, 24.3."""
    if len(auth_policy) != DIGEST_SIZE.get(hash_alg, 0):
        raise TpmError(RC.SIZE + P(1))
    policy = (hash_alg, auth_policy)
    state = tpm.state
    if auth == RH.PLATFORM:
        tpm.void_shutdown()
        tpm.clear.platform_policy = policy
        return
    if auth == RH.OWNER:
        state.owner_policy = policy
    elif auth == RH.ENDORSEMENT:
        state.endorsement_policy = policy
    else:
        state.lockout_policy = policy
    state.changed = True


def change_pps(tpm: Tpm, auth: int) -> None:
    """Part 3, 24.4."""
    tpm.void_shutdown()
    state = tpm.state
    state.platform_seed = tpm.random(PRIMARY_SEED_SIZE)
    state.platform_proof = tpm.random(PROOF_SIZE)
    state.pcr_policy = NO_POLICY
    tpm.clear.platform_policy = NO_POLICY
    tpm.flush_hierarchy(RH.PLATFORM)
    state.delete_hierarchy(RH.PLATFORM)


def change_eps(tpm: Tpm, auth: int) -> None:
    """Part 3, 24.5."""
    tpm.void_shutdown()
    state = tpm.state
    state.endorsement_seed = tpm.random(PRIMARY_SEED_SIZE)
    state.endorsement_proof = tpm.random(PROOF_SIZE)
    state.endorsement_auth = b""
    state.endorsement_policy = NO_POLICY
    tpm.clear.endorsement_enabled = True
    tpm.flush_hierarchy(RH.ENDORSEMENT)
    state.delete_hierarchy(RH.ENDORSEMENT)


def clear(tpm: Tpm, auth: int) -> None:
    """Part 3, 24.6."""
    state = tpm.state
    if state.disable_clear:
        raise TpmError(RC.DISABLED)
    tpm.void_shutdown()
    state.owner_seed = tpm.random(PRIMARY_SEED_SIZE)
    state.owner_proof = tpm.random(PROOF_SIZE)
    state.endorsement_proof = tpm.random(PROOF_SIZE)
    tpm.clear.storage_enabled = tpm.clear.endorsement_enabled = True
    state.owner_auth = state.endorsement_auth = state.lockout_auth = b""
    state.owner_policy = state.endorsement_policy = state.lockout_policy = NO_POLICY
    for hierarchy in (RH.OWNER, RH.ENDORSEMENT):
        tpm.flush_hierarchy(hierarchy)
        state.delete_hierarchy(hierarchy)
    dictionary_attack.clear(tpm)
    tpm.clock = state.clock = 0
    state.clock_safe = True
    state.reset_count = tpm.reset.restart_count = tpm.reset.clear_count = 0
    state.audit_counter = 0
    tpm.clear.pcr_auth = b""
    tpm.reset.pcr_counter += 1
    state.changed = True


def clear_control(tpm: Tpm, auth: int, disable: int) -> None:
    """Part 3, 24.7."""
    if auth == RH.LOCKOUT and not disable:
        raise TpmError(RC.AUTH_FAIL)
    tpm.state.disable_clear = bool(disable)
    tpm.state.changed = True


def hierarchy_change_auth(tpm: Tpm, auth: int, new_auth: bytes) -> None:
    """Part 3, 24.8."""
    new_auth = new_auth.rstrip(b"\0")
    state = tpm.state
    if auth == RH.PLATFORM:
        tpm.void_shutdown()
        tpm.clear.platform_auth = new_auth
        return
    if auth == RH.OWNER:
        state.owner_auth = new_auth
    elif auth == RH.ENDORSEMENT:
        state.endorsement_auth = new_auth
    else:
        state.lockout_auth = new_auth
    state.changed = True
