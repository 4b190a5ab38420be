"""Serves ``Vm``."""

from __future__ import annotations

from typing import cast

from servers.runtime import Environment
from vmm.board import Board
from vmm.main import Control


class Dark:
    """What the service asks of a board."""

    def __init__(self) -> None:
        self.exits = {"halted": 0, "stopped": 0}

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def main(env: Environment) -> None:
    env.serve(Control(cast(Board, Dark())), on="vm")
