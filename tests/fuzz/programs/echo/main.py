"""Serves ``Echo``."""

from __future__ import annotations

from servers.runtime import Environment
from tests.support.echo import Parrot


class Modest(Parrot):
    """Does not make answers of gigabytes: they are the caller's wish, and take their time."""

    def huge(self, size: int) -> bytes:
        return super().huge(size & 0xF_FFFF)


def main(env: Environment) -> None:
    env.serve(Modest(env), on="echo", direct=Modest)
