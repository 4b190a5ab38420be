"""Serves ``Hand``."""

from __future__ import annotations

from servers.runtime import Endpoint, Environment
from tests.fuzz.programs.hand import Hand


class Open(Hand):
    """The service."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def give(self, name: str) -> Endpoint:
        return Endpoint(self._env.system, self._env.slot(name))


def main(env: Environment) -> None:
    env.serve(Open(env), on="hand")
