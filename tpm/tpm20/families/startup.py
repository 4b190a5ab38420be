"""Startup and Shutdown (part 3, 9; part 1, 12.2)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from tpm.tpm20 import dictionary_attack, drtm, pcrs
from tpm.tpm20.constants import (
    NT,
    PRIMARY_SEED_SIZE,
    PROOF_SIZE,
    RC,
    SU,
    TPMA_NV,
    P,
    TpmError,
)
from tpm.tpm20.state import NOT_ORDERLY, ORDERLY_CLEAR, ORDERLY_STATE, ClearData, ResetData, Saved

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_STARTUP_LOCALITIES = (0, 3)


def startup(tpm: Tpm, startup_type: int) -> None:
    """Part 3, 9.3: TPM Reset, TPM Restart or TPM Resume, by this type and the last shutdown's.

    A Startup(STATE) without a Shutdown(STATE) that still holds is refused and changes nothing: it
    must never leave PCRs reset under software that takes the TPM for resumed.
    """
    if tpm.locality not in _STARTUP_LOCALITIES:
        raise TpmError(RC.LOCALITY)
    state = tpm.state
    measured_before = bool(tpm.drtm_before_startup)
    locality = 0 if measured_before else tpm.locality
    saved = state.saved if state.orderly == ORDERLY_STATE else None
    if startup_type == SU.STATE:
        if saved is None or saved.drtm_before_startup != measured_before:
            raise TpmError(RC.VALUE + P(1))
        if saved.startup_locality != locality:
            raise TpmError(RC.LOCALITY)
    tpm.startup_locality = locality
    tpm.was_orderly = state.orderly != NOT_ORDERLY
    resume = startup_type == SU.STATE
    _restore(tpm, saved, resume)
    _initialize_pcrs(tpm, saved, resume)
    dictionary_attack.startup(tpm, tpm.was_orderly)
    _initialize_nv(tpm, saved, resume)
    if not tpm.was_orderly:
        state.clock_safe = False
    state.orderly = NOT_ORDERLY
    state.saved = None
    state.changed = True
    tpm.platform_enabled = True
    tpm.started = True


def _restore(tpm: Tpm, saved: Saved | None, resume: bool) -> None:
    if saved is None:
        tpm.reset = ResetData(
            null_proof=tpm.random(PROOF_SIZE),
            null_seed=tpm.random(PRIMARY_SEED_SIZE),
            commit_nonce=tpm.random(PROOF_SIZE),
        )
        tpm.clear = ClearData()
        tpm.state.reset_count += 1
        tpm.state.total_reset_count += 1
        return
    tpm.reset = saved.reset
    tpm.reset.restart_count += 1
    if resume:
        tpm.clear = saved.clear
    else:
        tpm.reset.clear_count += 1
        tpm.clear = ClearData()


def _initialize_pcrs(tpm: Tpm, saved: Saved | None, resume: bool) -> None:
    measured = tpm.drtm_before_startup
    first = {alg: drtm.hcrtm_value(alg, value) for alg, value in measured.items()} or None
    kept = saved.pcrs if resume and saved is not None else {}
    pcrs.initialize(tpm, first, kept)
    renewed = [one for one in pcrs.ATTRIBUTES if one.counted and not (resume and one.saved)]
    tpm.reset.pcr_counter += len(renewed)


def _initialize_nv(tpm: Tpm, saved: Saved | None, resume: bool) -> None:
    """Locks and values of NV Indices that end with a startup (part 1, 37.2.9 and 37.7).

    The value of an orderly Index ends with every TPM Reset, orderly or not (part 2, 13.4).
    """
    if resume:
        return
    ends = TPMA_NV.CLEAR_STCLEAR
    if saved is None:
        ends |= TPMA_NV.ORDERLY
    for index in tpm.state.nv.values():
        bits = index.public.attributes & ~TPMA_NV.READLOCKED
        if bits & ends and index.kind != NT.COUNTER:
            bits &= ~TPMA_NV.WRITTEN
        if not bits & TPMA_NV.WRITEDEFINE or not bits & TPMA_NV.WRITTEN:
            bits &= ~TPMA_NV.WRITELOCKED
        if bits != index.public.attributes:
            index.public = index.public._replace(attributes=bits)
            index._name = b""


def shutdown(tpm: Tpm, shutdown_type: int) -> None:
    """Part 3, 9.4."""
    if tpm.pcr_reconfigured and shutdown_type == SU.STATE:
        raise TpmError(RC.TYPE + P(1))
    state = tpm.state
    state.clock = tpm.clock
    state.saved = None
    if shutdown_type == SU.STATE:
        state.saved = Saved(
            clear=copy.deepcopy(tpm.clear),
            reset=copy.deepcopy(tpm.reset),
            pcrs=pcrs.save_static(tpm),
            startup_locality=tpm.startup_locality,
            drtm_before_startup=bool(tpm.drtm_before_startup),
        )
    state.orderly = ORDERLY_STATE if shutdown_type == SU.STATE else ORDERLY_CLEAR
    state.changed = True
