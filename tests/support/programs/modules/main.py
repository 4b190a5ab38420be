"""The server that tells of its process."""

from __future__ import annotations

import sys

from servers.runtime import Environment
from tests.support.programs.modules import Teller


class Telling(Teller):
    """The service."""

    def modules(self) -> list[str]:
        return sorted(sys.modules)


def main(env: Environment) -> None:
    env.serve(Telling(), on="teller")
