"""What a handle stands for: existence, Name, authValue, policy, hierarchy (part 1, 15 to 19).

`KINDS` has a row for each type of handle; every question about an entity is a column. A new kind of
entity is a new row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tpm.tpm20 import crypto
from tpm.tpm20.codec import encode
from tpm.tpm20.constants import (
    ALG,
    CC,
    HR,
    HT,
    NT,
    RC,
    RH,
    ROLE,
    TPMA_NV,
    TPMA_OBJECT,
    H,
    TpmError,
)
from tpm.tpm20.objects import Object
from tpm.tpm20.state import NO_POLICY, NvIndex
from tpm.tpm20.structures import NvPublic

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

Policy = tuple[int, bytes]

AUTH_PCRS = range(20, 23)
"""The PCRs that have the authValue and the policy of their group."""


class Kind(NamedTuple):
    """How the questions about the entities of one type of handle are answered."""

    error: Callable[[Tpm, int, int], int]
    """The response code for the handle at a place (from 1) of the handle area; 0 if it exists."""
    name: Callable[[Tpm, int], bytes]
    auth_value: Callable[[Tpm, int], bytes]
    auth_policy: Callable[[Tpm, int], Policy]
    da_exempt: Callable[[Tpm, int], bool]
    auth_available: Callable[[Tpm, int, int, int], bool]
    """For handle, command code and role: the authValue can authorize."""
    policy_available: Callable[[Tpm, int, int, int], bool]
    requires_policy: Callable[[Tpm, int, int], bool]
    """For handle and role: only a policy can authorize."""
    hierarchy: Callable[[Tpm, int], int]


def _handle_name(tpm: Tpm, handle: int) -> bytes:
    return handle.to_bytes(4, "big")


def _no_auth(tpm: Tpm, handle: int) -> bytes:
    return b""


def _no_policy(tpm: Tpm, handle: int) -> Policy:
    return NO_POLICY


def _admin_needs_policy(tpm: Tpm, handle: int, role: int) -> bool:
    return role in (ROLE.ADMIN, ROLE.DUP)


# Permanent handles.


def _permanent_error(tpm: Tpm, handle: int, place: int) -> int:
    return 0 if hierarchy_enabled(tpm, handle) else RC.HIERARCHY + H(place)


def _permanent_auth(tpm: Tpm, handle: int) -> bytes:
    if handle == RH.OWNER:
        return tpm.state.owner_auth
    if handle == RH.ENDORSEMENT:
        return tpm.state.endorsement_auth
    if handle == RH.PLATFORM:
        return tpm.clear.platform_auth
    return tpm.state.lockout_auth if handle == RH.LOCKOUT else b""


def _permanent_policy(tpm: Tpm, handle: int) -> Policy:
    if handle == RH.OWNER:
        return tpm.state.owner_policy
    if handle == RH.ENDORSEMENT:
        return tpm.state.endorsement_policy
    if handle == RH.PLATFORM:
        return tpm.clear.platform_policy
    return tpm.state.lockout_policy if handle == RH.LOCKOUT else NO_POLICY


_PERMANENT = Kind(
    error=_permanent_error,
    name=_handle_name,
    auth_value=_permanent_auth,
    auth_policy=_permanent_policy,
    da_exempt=lambda tpm, handle: handle != RH.LOCKOUT,
    auth_available=lambda tpm, handle, code, role: True,
    policy_available=lambda tpm, handle, code, role: bool(_permanent_policy(tpm, handle)[1]),
    requires_policy=_admin_needs_policy,
    hierarchy=lambda tpm, handle: RH.OWNER if handle == RH.LOCKOUT else handle,
)


# PCRs.


def _pcr_policy(tpm: Tpm, handle: int) -> Policy:
    return tpm.state.pcr_policy if handle in AUTH_PCRS else NO_POLICY


_PCR = Kind(
    error=lambda tpm, handle, place: 0,
    name=_handle_name,
    auth_value=lambda tpm, handle: tpm.clear.pcr_auth if handle in AUTH_PCRS else b"",
    auth_policy=_pcr_policy,
    da_exempt=lambda tpm, handle: True,
    auth_available=lambda tpm, handle, code, role: True,
    policy_available=lambda tpm, handle, code, role: handle in AUTH_PCRS,
    requires_policy=lambda tpm, handle, role: _pcr_policy(tpm, handle)[0] != ALG.NULL,
    hierarchy=lambda tpm, handle: RH.OWNER,
)


# Objects and sequences.


def _transient_error(tpm: Tpm, handle: int, place: int) -> int:
    return 0 if handle in tpm.objects else RC.REFERENCE_H0 + place - 1


def _persistent_error(tpm: Tpm, handle: int, place: int) -> int:
    found = tpm.state.persistent.get(handle)
    if found is None or not _persistent_visible(tpm, handle, found):
        return RC.HANDLE + H(place)
    return 0


def _persistent_visible(tpm: Tpm, handle: int, found: Object) -> bool:
    if handle >= HR.PLATFORM_PERSISTENT:
        return tpm.platform_enabled
    if not tpm.clear.storage_enabled:
        return False
    hidden = found.hierarchy == RH.ENDORSEMENT and not tpm.clear.endorsement_enabled
    return not hidden or tpm.command_code == CC.EvictControl


def _object_policy(tpm: Tpm, handle: int) -> Policy:
    found = tpm.slot(handle)
    if not isinstance(found, Object):
        return NO_POLICY
    return found.public.name_alg, found.public.auth_policy


def _object_exempt(tpm: Tpm, handle: int) -> bool:
    found = tpm.slot(handle)
    return not isinstance(found, Object) or found.has(TPMA_OBJECT.NO_DA)


def _object_auth_available(tpm: Tpm, handle: int, code: int, role: int) -> bool:
    found = tpm.slot(handle)
    if not isinstance(found, Object):
        return True
    if found.sensitive is None:
        return False
    admin = role == ROLE.ADMIN and not found.has(TPMA_OBJECT.ADMIN_WITH_POLICY)
    return admin or found.has(TPMA_OBJECT.USER_WITH_AUTH)


def _object_policy_available(tpm: Tpm, handle: int, code: int, role: int) -> bool:
    found = tpm.slot(handle)
    return isinstance(found, Object) and found.sensitive is not None


def _object_requires_policy(tpm: Tpm, handle: int, role: int) -> bool:
    if role != ROLE.ADMIN:
        return role == ROLE.DUP
    found = tpm.slot(handle)
    return isinstance(found, Object) and found.has(TPMA_OBJECT.ADMIN_WITH_POLICY)


def _object_name(tpm: Tpm, handle: int) -> bytes:
    found = tpm.slot(handle)
    return found.name if isinstance(found, Object) else b""


def _object_hierarchy(tpm: Tpm, handle: int) -> int:
    found = tpm.slot(handle)
    return found.hierarchy if isinstance(found, Object) else RH.NULL


_TRANSIENT = Kind(
    error=_transient_error,
    name=_object_name,
    auth_value=lambda tpm, handle: tpm.slot(handle).auth,
    auth_policy=_object_policy,
    da_exempt=_object_exempt,
    auth_available=_object_auth_available,
    policy_available=_object_policy_available,
    requires_policy=_object_requires_policy,
    hierarchy=_object_hierarchy,
)
_PERSISTENT = _TRANSIENT._replace(error=_persistent_error)


# NV Indices.

NV_WRITES = frozenset(
    (
        CC.NV_Write,
        CC.NV_Increment,
        CC.NV_SetBits,
        CC.NV_Extend,
        CC.NV_WriteLock,
        CC.NV_GlobalWriteLock,
    )
)
"""The commands that need write authorization; every other one on an Index needs read."""


def _nv_error(tpm: Tpm, handle: int, place: int) -> int:
    index = tpm.state.nv.get(handle)
    if index is None:
        return RC.HANDLE + H(place)
    if index.public.attributes & TPMA_NV.PLATFORMCREATE:
        visible = tpm.clear.platform_nv_enabled
    else:
        visible = tpm.clear.storage_enabled
    return 0 if visible else RC.HANDLE + H(place)


def nv_name(index: NvIndex) -> bytes:
    """The Name of an NV Index; computed again whenever its public area has changed."""
    if not index._name:
        alg = index.public.name_alg
        public = encode(NvPublic, index.public)
        index._name = alg.to_bytes(2, "big") + crypto.digest(alg, public)
    return index._name


def _nv_policy(tpm: Tpm, handle: int) -> Policy:
    public = tpm.state.nv[handle].public
    return public.name_alg, public.auth_policy


def _nv_auth_available(tpm: Tpm, handle: int, code: int, role: int) -> bool:
    index = tpm.state.nv[handle]
    attributes = index.public.attributes
    if code in NV_WRITES:
        return bool(attributes & TPMA_NV.AUTHWRITE)
    if index.kind in (NT.PIN_FAIL, NT.PIN_PASS):
        if not attributes & TPMA_NV.WRITTEN:
            return False
        count, limit = index.data[:4], index.data[4:8]
        return count < limit
    return bool(attributes & TPMA_NV.AUTHREAD)


def _nv_policy_available(tpm: Tpm, handle: int, code: int, role: int) -> bool:
    public = tpm.state.nv[handle].public
    if not public.auth_policy:
        return False
    if role in (ROLE.ADMIN, ROLE.DUP):
        return True
    wanted = TPMA_NV.POLICYWRITE if code in NV_WRITES else TPMA_NV.POLICYREAD
    return bool(public.attributes & wanted)


_NV = Kind(
    error=_nv_error,
    name=lambda tpm, handle: nv_name(tpm.state.nv[handle]),
    auth_value=lambda tpm, handle: tpm.state.nv[handle].auth,
    auth_policy=_nv_policy,
    da_exempt=lambda tpm, handle: bool(tpm.state.nv[handle].public.attributes & TPMA_NV.NO_DA),
    auth_available=_nv_auth_available,
    policy_available=_nv_policy_available,
    requires_policy=_admin_needs_policy,
    hierarchy=lambda tpm, handle: (
        RH.PLATFORM if tpm.state.nv[handle].public.attributes & TPMA_NV.PLATFORMCREATE else RH.OWNER
    ),
)


# Sessions.


OTHER_KIND = HR.HMAC_SESSION ^ HR.POLICY_SESSION
"""HMAC and policy sessions share their numbers: from a handle to the other with its number."""


def _session_error(tpm: Tpm, handle: int, place: int) -> int:
    if handle ^ OTHER_KIND in tpm.sessions:
        return RC.HANDLE + H(place)
    return 0 if handle in tpm.sessions else RC.REFERENCE_H0 + place - 1


_SESSION = Kind(
    error=_session_error,
    name=_handle_name,
    auth_value=_no_auth,
    auth_policy=_no_policy,
    da_exempt=lambda tpm, handle: True,
    auth_available=lambda tpm, handle, code, role: False,
    policy_available=lambda tpm, handle, code, role: False,
    requires_policy=_admin_needs_policy,
    hierarchy=lambda tpm, handle: RH.NULL,
)

KINDS: dict[int, Kind] = {
    HT.PERMANENT: _PERMANENT,
    HT.PCR: _PCR,
    HT.TRANSIENT: _TRANSIENT,
    HT.PERSISTENT: _PERSISTENT,
    HT.NV_INDEX: _NV,
    HT.HMAC_SESSION: _SESSION,
    HT.POLICY_SESSION: _SESSION,
}


def check(tpm: Tpm, handle: int, place: int) -> None:
    """Raise unless the handle at `place` (from 1) of the handle area stands for something."""
    error = KINDS[handle >> 24].error(tpm, handle, place)
    if error:
        raise TpmError(error)


def exists(tpm: Tpm, handle: int) -> bool:
    """The handle stands for something."""
    return not KINDS[handle >> 24].error(tpm, handle, 1)


def name(tpm: Tpm, handle: int) -> bytes:
    """The entity's Name (part 1, 16)."""
    return KINDS[handle >> 24].name(tpm, handle)


def auth_value(tpm: Tpm, handle: int) -> bytes:
    """The entity's authValue without trailing zeros."""
    return KINDS[handle >> 24].auth_value(tpm, handle)


def auth_policy(tpm: Tpm, handle: int) -> Policy:
    """Hash algorithm and digest of the entity's authPolicy."""
    return KINDS[handle >> 24].auth_policy(tpm, handle)


def da_exempt(tpm: Tpm, handle: int) -> bool:
    """Failures to authorize with the entity's authValue are not counted (part 1, 19.8)."""
    return KINDS[handle >> 24].da_exempt(tpm, handle)


def auth_available(tpm: Tpm, handle: int, code: int, role: int) -> bool:
    """The entity's authValue can authorize the command in that role."""
    return KINDS[handle >> 24].auth_available(tpm, handle, code, role)


def policy_available(tpm: Tpm, handle: int, code: int, role: int) -> bool:
    """The entity's policy can authorize the command in that role."""
    return KINDS[handle >> 24].policy_available(tpm, handle, code, role)


def requires_policy(tpm: Tpm, handle: int, role: int) -> bool:
    """Nothing but the entity's policy can authorize in that role."""
    return KINDS[handle >> 24].requires_policy(tpm, handle, role)


def hierarchy(tpm: Tpm, handle: int) -> int:
    """The hierarchy that the entity belongs to: lockout and PCRs to the owner's."""
    return KINDS[handle >> 24].hierarchy(tpm, handle)


def hierarchy_enabled(tpm: Tpm, handle: int) -> bool:
    """A hierarchy is on; lockout and the NULL hierarchy always are."""
    if handle == RH.OWNER:
        return tpm.clear.storage_enabled
    if handle == RH.ENDORSEMENT:
        return tpm.clear.endorsement_enabled
    return tpm.platform_enabled if handle == RH.PLATFORM else True
