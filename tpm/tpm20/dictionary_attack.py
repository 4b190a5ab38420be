"""Dictionary attack protection (part 1, 19.8): the counter, its timers and the lockout.

Time is the TPM's time since power on, in milliseconds. `failed_tries` falls by one every
`recovery_time` seconds; lockoutAuth, once it has failed, is unusable for `lockout_recovery`
seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20.constants import RC, TpmError

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


def check(tpm: Tpm, is_lockout: bool) -> None:
    """`TPM_RC_LOCKOUT` if authValues that are protected, or lockoutAuth, cannot be tried now."""
    state = tpm.state
    locked = not state.lockout_auth_enabled if is_lockout else state.failed_tries >= state.max_tries
    if locked:
        raise TpmError(RC.LOCKOUT)
    if is_lockout:
        return
    # A shutdown before does not hold any more, or else a try after it would be free.
    tpm.void_shutdown()
    if not state.da_used:
        state.da_used = True
        state.changed = True


def register_failure(tpm: Tpm, is_lockout: bool) -> None:
    """An authorization failed whose entity is protected."""
    state = tpm.state
    if is_lockout:
        state.lockout_auth_enabled = False
        state.lockout_timer = tpm.time
    elif state.recovery_time:
        state.failed_tries += 1
        state.self_heal_timer = tpm.time
    state.changed = True


def heal(tpm: Tpm) -> None:
    """What has healed by itself since the last look; called as time advances."""
    state = tpm.state
    if state.failed_tries and state.recovery_time:
        step = state.recovery_time * 1000
        healed = (tpm.time - state.self_heal_timer) // step
        if healed > 0:
            state.failed_tries = max(0, state.failed_tries - healed)
            state.self_heal_timer += healed * step
            state.changed = True
    waited = tpm.time - state.lockout_timer
    recovery = state.lockout_recovery * 1000
    if not state.lockout_auth_enabled and recovery and waited >= recovery:
        state.lockout_auth_enabled = True
        state.changed = True


def startup(tpm: Tpm, orderly: bool) -> None:
    """At TPM2_Startup: a shutdown that was not orderly counts as a failed try (part 1, 19.8.6).

    Otherwise cutting the power between a wrong guess and its being counted would make guesses free.
    It counts only if a protected authValue was tried since the last startup. State is written away
    before an answer is given, so that the first such try needs no TPM_RC_RETRY.
    """
    state = tpm.state
    if state.da_used and not orderly and state.recovery_time:
        state.failed_tries += 1
    state.da_used = False
    if not state.lockout_recovery:
        state.lockout_auth_enabled = True
    state.self_heal_timer = state.lockout_timer = tpm.time
    state.changed = True


def clear(tpm: Tpm) -> None:
    """TPM2_Clear: the defaults, and no failures (part 3, 24.6)."""
    state = tpm.state
    state.failed_tries = 0
    state.max_tries = 3
    state.recovery_time = 1000
    state.lockout_recovery = 1000
    state.lockout_auth_enabled = True
    state.changed = True
