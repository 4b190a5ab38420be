"""The command audit (part 1, 30.2): a digest over every command of a list and its response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto
from tpm.tpm20.structures import DIGEST_SIZE

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm
    from tpm.tpm20.sessions import Hashes


def prepare(tpm: Tpm, hashes: Hashes) -> None:
    """Before a command runs: its cpHash, if it will be audited."""
    if hashes.code in tpm.state.audit_commands:
        hashes.cp(tpm.state.audit_alg)


def record(tpm: Tpm, hashes: Hashes, parameters: bytes) -> None:
    """After a command has succeeded: extend the digest, if the command is audited.

    The first audited command after the digest was read, or its algorithm changed, starts a new
    digest and increments the audit counter. A digest that goes on after Shutdown(STATE) saved it
    ends that shutdown: a resume must not take the entry back.
    """
    state = tpm.state
    if hashes.code not in state.audit_commands or tpm.audit_alg_changed:
        tpm.audit_alg_changed = False
        return
    tpm.void_shutdown()
    alg = state.audit_alg
    hashes.answer(parameters)
    if not tpm.reset.command_audit_digest:
        tpm.reset.command_audit_digest = bytes(DIGEST_SIZE[alg])
        state.audit_counter += 1
        state.changed = True
    content = tpm.reset.command_audit_digest + hashes.cp(alg) + hashes.rp(alg)
    tpm.reset.command_audit_digest = crypto.digest(alg, content)
