"""How a run of a machine ended."""

from __future__ import annotations

import enum
from typing import NamedTuple


class End(enum.Enum):
    """The kinds of end."""

    POWER_OFF = "power off"
    """The guest switched itself off; its disks are quiet."""
    RESET = "reset"
    """The guest asked for a restart, and the configuration does not grant one."""
    TRIPLE_FAULT = "triple fault"
    ENGINE_ERROR = "engine error"
    """The engine cannot go on; the report says why."""
    STOPPED = "stopped"
    """``Board.stop`` was called."""


class Outcome(NamedTuple):
    """An end, and what a person should read about it (empty where there is nothing to say)."""

    end: End
    report: str = ""
