"""Capabilities (part 3, 30), with the properties of the PC Client profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tpm.tpm20 import entities, pcrs, properties
from tpm.tpm20.constants import (
    CAP,
    HT,
    PT,
    PT_PCR,
    RC,
    RH,
    P,
    TpmError,
)
from tpm.tpm20.structures import (
    CURVES,
    AlgProperty,
    CapabilityData,
    PcrSelection,
    PublicParms,
    TaggedPcrSelect,
    TaggedPolicy,
    TaggedProperty,
    capability_limit,
)

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_PERMANENT = (
    RH.OWNER,
    RH.NULL,
    RH.PW,
    RH.LOCKOUT,
    RH.ENDORSEMENT,
    RH.PLATFORM,
    RH.PLATFORM_NV,
)
_WITH_POLICY = (RH.OWNER, RH.LOCKOUT, RH.ENDORSEMENT, RH.PLATFORM)
_TIMERS = range(0x40000110, 0x40000120)
"""TPM_RH_ACT_0 to TPM_RH_ACT_F."""


def get_capability(tpm: Tpm, capability: int, first: int, count: int) -> tuple[int, CapabilityData]:
    """Part 3, 30.2: the items from `first` on, and whether there are more."""
    items_of = _CAPABILITIES.get(capability)
    if items_of is None:
        raise TpmError(RC.VALUE + P(1))
    items = items_of(tpm, first)
    limit = len(items) if capability == CAP.PCRS else capability_limit(capability)
    taken = items[: min(count, limit)]
    if capability == CAP.PCRS and count:
        taken = items
    return int(len(taken) < len(items)), CapabilityData(capability, taken)


def test_parms(tpm: Tpm, parameters: PublicParms) -> None:
    """Part 3, 30.3: what could be unmarshalled is supported."""


def _algorithms(tpm: Tpm, first: int) -> list[Any]:
    return [AlgProperty(*one) for one in properties.ALGORITHMS if one[0] >= first & 0xFFFF]


def _commands(tpm: Tpm, first: int) -> list[Any]:
    from tpm.tpm20.dispatcher import COMMANDS

    return [one.attributes for code, one in COMMANDS.items() if code >= first]


def _from(codes: Iterable[int], first: int) -> list[Any]:
    return sorted(code for code in codes if code >= first)


def _handles(tpm: Tpm, first: int) -> list[Any]:
    source = _HANDLES.get(first >> 24)
    if source is None:
        raise TpmError(RC.HANDLE + P(2))
    return source(tpm, first)


def _loaded_sessions(tpm: Tpm, first: int) -> list[Any]:
    loaded = sorted(tpm.sessions, key=lambda handle: handle & 0xFFFFFF)
    return [handle for handle in loaded if handle & 0xFFFFFF >= first & 0xFFFFFF]


def _saved_sessions(tpm: Tpm, first: int) -> list[Any]:
    """Saved sessions are reported as HMAC sessions, whatever they are (part 2, 10.10.3)."""
    numbers = sorted(handle & 0xFFFFFF for handle in tpm.reset.saved_sessions)
    return [HT.HMAC_SESSION << 24 | number for number in numbers if number >= first & 0xFFFFFF]


_HANDLES: dict[int, Callable[[Tpm, int], list[Any]]] = {
    HT.PCR: lambda tpm, first: _from(range(len(pcrs.ATTRIBUTES)), first),
    HT.NV_INDEX: lambda tpm, first: _from(tpm.state.nv, first),
    HT.HMAC_SESSION: _loaded_sessions,
    HT.POLICY_SESSION: _saved_sessions,
    HT.PERMANENT: lambda tpm, first: _from(_PERMANENT, first),
    HT.TRANSIENT: lambda tpm, first: _from(tpm.objects, first),
    HT.PERSISTENT: lambda tpm, first: _from(tpm.state.persistent, first),
}


def _pcr_allocation(tpm: Tpm, first: int) -> list[Any]:
    if first:
        raise TpmError(RC.VALUE + P(2))
    return [PcrSelection(*one) for one in tpm.pcr_allocation.items()]


def _tpm_properties(tpm: Tpm, first: int) -> list[Any]:
    """Of one group alone, as part 3, 30.2 has it: fixed or variable."""
    first = max(first, PT.FAMILY_INDICATOR)
    group = first & ~0xFF
    known = properties.values(tpm)
    return [
        TaggedProperty(name, known[name])
        for name in sorted(known)
        if name >= first and name & ~0xFF == group
    ]


def _pcr_properties(tpm: Tpm, first: int) -> list[Any]:
    return [
        TaggedPcrSelect(tag, pcrs.select_octets(members))
        for tag, members in _PCR_TAGS.items()
        if tag >= first
    ]


def _tags() -> dict[int, list[int]]:
    known = list(enumerate(pcrs.ATTRIBUTES))
    tags = {PT_PCR.SAVE: [pcr for pcr, one in known if one.saved]}
    for locality in range(5):
        tags[PT_PCR.EXTEND_L0 + 2 * locality] = [p for p, a in known if a.extend >> locality & 1]
        tags[PT_PCR.RESET_L0 + 2 * locality] = [p for p, a in known if a.reset >> locality & 1]
    tags[PT_PCR.NO_INCREMENT] = [pcr for pcr, one in known if not one.counted]
    tags[PT_PCR.DRTM_RESET] = [pcr for pcr, one in known if one.reset & 0x10]
    tags[PT_PCR.POLICY] = list(entities.AUTH_PCRS)
    tags[PT_PCR.AUTH] = list(entities.AUTH_PCRS)
    return tags


_PCR_TAGS = _tags()


def _policies(tpm: Tpm, first: int) -> list[Any]:
    if first >> 24 != HT.PERMANENT:
        raise TpmError(RC.VALUE + P(2))
    handles = [handle for handle in _WITH_POLICY if handle >= first]
    return [TaggedPolicy(handle, entities.auth_policy(tpm, handle)) for handle in handles]


def _countdown_timers(tpm: Tpm, first: int) -> list[Any]:
    """There are none."""
    if first not in _TIMERS:
        raise TpmError(RC.VALUE + P(2))
    return []


_CAPABILITIES: dict[int, Callable[[Tpm, int], list[Any]]] = {
    CAP.ALGS: _algorithms,
    CAP.HANDLES: _handles,
    CAP.COMMANDS: _commands,
    CAP.PP_COMMANDS: lambda tpm, first: _from(tpm.state.pp_commands, first),
    CAP.AUDIT_COMMANDS: lambda tpm, first: _from(tpm.state.audit_commands, first),
    CAP.PCRS: _pcr_allocation,
    CAP.TPM_PROPERTIES: _tpm_properties,
    CAP.PCR_PROPERTIES: _pcr_properties,
    CAP.ECC_CURVES: lambda tpm, first: _from(CURVES, first),
    CAP.AUTH_POLICIES: _policies,
    CAP.ACT: _countdown_timers,
}
