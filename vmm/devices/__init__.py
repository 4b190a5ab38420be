"""The devices of the board, one file each, with the register map at the top.

A device keeps its own state and nothing of the world: it raises interrupt lines through a callable,
plans work on the board's timer queue, and reaches outside through a backend.  All its methods run
on the vCPU thread.  Whatever a guest writes is answered within bounded time and never raises.
"""

from __future__ import annotations

from collections.abc import Callable

IrqLine = Callable[[bool], None]
"""Sets the level of one interrupt line."""
