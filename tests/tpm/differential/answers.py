"""What of an answer must be the same on both TPMs.

A field of an answer is compared through a projection: what is left of it when everything is gone
that each TPM draws, signs or counts for itself. Without a row in `PROJECTIONS` the octets
themselves are compared. Where the commands were not the same to begin with, because the entities
have different Names, `SIZES` of the fields are compared instead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.tpm.differential.sides import Outcome
from tests.tpm.differential.steps import ROWS, Step
from tpm.tpm20.codec import decode
from tpm.tpm20.constants import ALG, CAP, PT, ST, TpmError
from tpm.tpm20.structures import Attest, CapabilityData, Context, Public, Signature, Ticket

Projection = Callable[[bytes], Any]


class Mismatch(NamedTuple):
    """One thing that is not the same."""

    what: str
    """`code`, `handle`, `sessions`, `problem`, or the field's name."""
    ours: Any
    theirs: Any


def whole(octets: bytes) -> Any:
    return octets.hex()


def size(octets: bytes) -> Any:
    return len(octets)


def nothing(octets: bytes) -> Any:
    return None


def public(octets: bytes) -> Any:
    """A public area but for the key itself."""
    if len(octets) == 2:
        return None
    area: Public = decode(Public, octets[2:])
    return area._replace(unique=None)


def ticket(octets: bytes) -> Any:
    held: Ticket = decode(Ticket, octets)
    return held.tag, held.hierarchy, len(held.digest)


def context(octets: bytes) -> Any:
    """A context but for its content; how sessions are counted is each TPM's own affair."""
    held: Context = decode(Context, octets)
    is_object = held.saved_handle >> 24 == 0x80
    return held.sequence if is_object else None, held.saved_handle, held.hierarchy


_DETERMINISTIC = (ALG.RSASSA, ALG.HMAC, ALG.NULL)


def signature_form(octets: bytes) -> Any:
    """Scheme and hash algorithm of a signature that is not of known octets."""
    held: Signature = decode(Signature, octets)
    return held.sig_alg, None if held.signature is None else held.signature[0]


def signature(octets: bytes) -> Any:
    """A signature, if it is the only one that the key makes."""
    held: Signature = decode(Signature, octets)
    return octets.hex() if held.sig_alg in _DETERMINISTIC else signature_form(octets)


def attest(octets: bytes) -> Any:
    """An attestation but for the time, the firmware and the signer, which is below a seed."""
    held: Attest = decode(Attest, octets[2:])
    attested = held.attested
    if held.type == ST.ATTEST_TIME:
        attested = None
    elif held.type == ST.ATTEST_CERTIFY:
        attested = attested._replace(qualified_name=len(attested.qualified_name))
    elif held.type == ST.ATTEST_CREATION:
        attested = attested.object_name
    elif held.type == ST.ATTEST_COMMAND_AUDIT:
        attested = attested._replace(audit_digest=len(attested.audit_digest))
    return held.type, len(held.qualified_signer), held.extra_data, attested


def attest_form(octets: bytes) -> Any:
    held: Attest = decode(Attest, octets[2:])
    return held.type, len(held.qualified_signer), held.extra_data


def counters(octets: bytes) -> Any:
    """TPMS_TIME_INFO: how often the TPM was reset and restarted."""
    return struct.unpack_from(">II", octets, 16)


COMPARABLE = frozenset(
    (
        *(PT.FAMILY_INDICATOR, PT.LEVEL, PT.INPUT_BUFFER, PT.HR_TRANSIENT_MIN),
        *(PT.HR_PERSISTENT_MIN, PT.HR_LOADED_MIN, PT.ACTIVE_SESSIONS_MAX, PT.PCR_COUNT),
        *(PT.PCR_SELECT_MIN, PT.NV_INDEX_MAX, PT.CLOCK_UPDATE, PT.MAX_COMMAND_SIZE),
        *(PT.MAX_RESPONSE_SIZE, PT.MAX_DIGEST, PT.NV_BUFFER_MAX, PT.MODES, PT.MAX_CAP_BUFFER),
        *(PT.PERMANENT, PT.STARTUP_CLEAR, PT.HR_NV_INDEX, PT.HR_LOADED, PT.HR_LOADED_AVAIL),
        *(PT.HR_ACTIVE, PT.HR_ACTIVE_AVAIL, PT.HR_TRANSIENT_AVAIL, PT.HR_PERSISTENT),
        *(PT.NV_COUNTERS, PT.ALGORITHM_SET, PT.LOCKOUT_COUNTER, PT.MAX_AUTH_FAIL),
        *(PT.LOCKOUT_INTERVAL, PT.LOCKOUT_RECOVERY, PT.AUDIT_COUNTER_0, PT.AUDIT_COUNTER_1),
    )
)
"""The properties that say what happened to a TPM, not what it is made of."""
_DIFFERENT_LISTS = (CAP.ALGS, CAP.COMMANDS, CAP.ECC_CURVES)


def capability(octets: bytes) -> Any:
    """A capability but for what the two implement."""
    held: CapabilityData = decode(CapabilityData, octets)
    if held.capability in _DIFFERENT_LISTS:
        return held.capability
    if held.capability == CAP.TPM_PROPERTIES:
        return {f"{one.property:#x}": one.value for one in held.data if one.property in COMPARABLE}
    return held


PROJECTIONS: dict[str | tuple[str, str], Projection] = {
    "random_bytes": size,
    "nonce_tpm": size,
    "to_do": nothing,
    "out_private": size,
    "out_public": public,
    "creation_data": size,
    "creation_hash": size,
    "creation_ticket": ticket,
    "validation": ticket,
    "policy_ticket": ticket,
    "timeout": size,
    "context": context,
    "qualified_name": size,
    ("Create", "name"): size,
    ("CreatePrimary", "name"): size,
    ("CreateLoaded", "name"): size,
    ("ReadPublic", "out_public"): whole,
    ("GetTestResult", "out_data"): nothing,
    ("GetCapability", "capability_data"): capability,
    ("GetCapability", "more_data"): nothing,
    "current_time": counters,
    "attest": attest,
    "signature": signature,
    ("RSA_Encrypt", "out_data"): size,
    ("ZGen_2Phase", "out_z2"): size,
    "z_point": size,
    "pub_point": size,
    ("EC_Ephemeral", "q"): size,
    ("Commit", "e"): size,
    ("Commit", "k"): size,
    ("Commit", "l"): size,
    "credential_blob": size,
    "secret": size,
    "encryption_key_out": size,
    "duplicate": size,
    "out_sym_seed": size,
    "out_duplicate": size,
    "added_to_certificate": nothing,
    "tbs_digest": size,
    "size_available": nothing,
    "size_needed": nothing,
    "max_pcr": nothing,
}
"""By the field's name, or by the command's and the field's."""
_FORMS: dict[Projection, Projection] = {
    whole: size,
    signature: signature_form,
    attest: attest_form,
}
"""What is left of a projection where the two commands were not the same."""


def projection(command: str, field: str) -> Projection:
    """How a field of a command's answer is compared."""
    if field == "signature" and len(ROWS[command].returns) > 1:
        return signature_form  # of what the TPM itself put together
    return PROJECTIONS.get((command, field)) or PROJECTIONS.get(field, whole)


def fields_compared() -> Iterator[tuple[str, str]]:
    """The names in `PROJECTIONS` that are of no command: none, unless a row is wrong."""
    names = {name: row.returns for name, row in ROWS.items()}
    everything = {field for returns in names.values() for field in returns}
    for key in PROJECTIONS:
        command, field = key if isinstance(key, tuple) else ("", key)
        if field not in (names[command] if command else everything):
            yield command, field


def compare_codes(ours: Outcome, theirs: Outcome) -> Iterator[Mismatch]:
    """Whether both are responses, and say the same."""
    if ours.problem or theirs.problem:
        yield Mismatch("problem", ours.problem, theirs.problem)
    elif ours.code != theirs.code:
        yield Mismatch("code", ours.code, theirs.code)


def compare(step: Step, ours: Outcome, theirs: Outcome, alike: bool) -> Iterator[Mismatch]:
    """Every mismatch; `alike` says that the same was asked about the same."""
    for mismatch in compare_codes(ours, theirs):
        yield mismatch
        return
    if ours.handle != theirs.handle:
        yield Mismatch("handle", ours.handle, theirs.handle)
    if ours.sessions != theirs.sessions:
        yield Mismatch("sessions", ours.sessions, theirs.sessions)
    for field in ours.fields.keys() & theirs.fields.keys():
        project = projection(step.name, field)
        if field == "out_public" and alike and getattr(step.info, "derived", False):
            project = whole
        if not alike:
            project = _FORMS.get(project, project)
        pair = [_projected(project, side.fields[field]) for side in (ours, theirs)]
        if pair[0] != pair[1]:
            yield Mismatch(field, *pair)


def _projected(project: Projection, octets: bytes) -> Any:
    try:
        return project(octets)
    except TpmError as error:
        return f"{octets.hex()} does not unmarshal: {error}"
