"""Clocks and timers (part 3, 29; part 1, 36)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20.constants import RC, P, TpmError
from tpm.tpm20.properties import time_info
from tpm.tpm20.structures import TimeInfo

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_LATEST = 0xFFFF000000000000
_STEPS = {-3: -50, -2: -10, -1: -1, 0: 0, 1: 1, 2: 10, 3: 50}
"""What TPM_CLOCK_ADJUST adds to the rate, in thousandths."""
_MOST = 150


def read_clock(tpm: Tpm) -> tuple[TimeInfo]:
    """Part 3, 29.1."""
    return (time_info(tpm),)


def clock_set(tpm: Tpm, auth: int, new_time: int) -> None:
    """Part 3, 29.2: forward only."""
    if new_time > _LATEST or new_time < tpm.clock:
        raise TpmError(RC.VALUE + P(1))
    tpm.set_clock(new_time)
    tpm.state.clock = new_time
    tpm.state.changed = True


def clock_rate_adjust(tpm: Tpm, auth: int, rate_adjust: int) -> None:
    """Part 3, 29.3."""
    wanted = tpm.rate_adjust + _STEPS[rate_adjust]
    tpm.rate_adjust = max(-_MOST, min(_MOST, wanted))
