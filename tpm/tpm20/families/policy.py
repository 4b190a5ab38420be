"""Policy commands (part 3, 23; part 1, 19.7).

A policy command extends the session's policyDigest; one that is about the later command also leaves
its condition in `Session.policy`, where `authorization.authorize` looks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, pcrs
from tpm.tpm20.codec import encode
from tpm.tpm20.constants import CC, RC, SE, P, TpmError
from tpm.tpm20.sessions import Session
from tpm.tpm20.structures import PcrSelection, PcrSelections

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


def extend(session: Session, code: int, content: bytes = b"") -> None:
    """policyDigest := H(policyDigest || commandCode || content)."""
    policy = session.policy
    octets = policy.digest + code.to_bytes(4, "big") + content
    policy.digest = crypto.digest(session.hash_alg, octets)


def policy_pcr(tpm: Tpm, session: int, pcr_digest: bytes, selection: list[PcrSelection]) -> None:
    """Part 3, 23.7."""
    held = tpm.sessions[session]
    selection = pcrs.implemented(tpm, selection)
    current = pcrs.values_digest(tpm, held.hash_alg, selection)
    if held.kind != SE.TRIAL:
        if held.policy.pcr_counter not in (0, tpm.reset.pcr_counter):
            raise TpmError(RC.PCR_CHANGED)
        if pcr_digest and pcr_digest != current:
            raise TpmError(RC.VALUE + P(1))
        held.policy.pcr_counter = tpm.reset.pcr_counter
    wanted = pcr_digest or current
    extend(held, CC.PolicyPCR, encode(PcrSelections, selection) + wanted)


def policy_auth_value(tpm: Tpm, session: int) -> None:
    """Part 3, 23.17."""
    held = tpm.sessions[session]
    extend(held, CC.PolicyAuthValue)
    held.policy.auth_value, held.policy.password = True, False


def policy_password(tpm: Tpm, session: int) -> None:
    """Part 3, 23.18: the digest is PolicyAuthValue's, so that either can be used."""
    held = tpm.sessions[session]
    extend(held, CC.PolicyAuthValue)
    held.policy.auth_value, held.policy.password = False, True


def policy_command_code(tpm: Tpm, session: int, code: int) -> None:
    """Part 3, 23.11."""
    from tpm.tpm20.dispatcher import COMMANDS

    held = tpm.sessions[session]
    if held.policy.command_code not in (0, code):
        raise TpmError(RC.VALUE + P(1))
    if code not in COMMANDS:
        raise TpmError(RC.POLICY_CC + P(1))
    extend(held, CC.PolicyCommandCode, code.to_bytes(4, "big"))
    held.policy.command_code = code


def policy_get_digest(tpm: Tpm, session: int) -> tuple[bytes]:
    """Part 3, 23.19."""
    return (tpm.sessions[session].policy.digest,)
