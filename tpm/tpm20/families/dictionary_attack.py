"""Dictionary attack functions (part 3, 25)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


def dictionary_attack_lock_reset(tpm: Tpm, lock: int) -> None:
    """Part 3, 25.2."""
    tpm.state.failed_tries = 0
    tpm.state.changed = True


def dictionary_attack_parameters(
    tpm: Tpm, lock: int, new_max_tries: int, new_recovery_time: int, lockout_recovery: int
) -> None:
    """Part 3, 25.3."""
    state = tpm.state
    state.max_tries = new_max_tries
    state.recovery_time = new_recovery_time
    state.lockout_recovery = lockout_recovery
    state.self_heal_timer = tpm.time
    state.changed = True
