"""Answers calls: ``raw`` in a bare loop of system calls, ``typed`` as servers do."""

from __future__ import annotations

from kernel.abi import FOREVER, NULL
from servers.runtime import Environment
from tools.bench.programs.interface import Echo


class Server(Echo):
    """The service behind ``typed``."""

    def echo(self, data: bytes) -> bytes:
        return data


def _answer(env: Environment) -> None:
    """Give every message back as it is."""
    exchange, slot = env.system.reply_recv, env.slot("raw")
    label, data, reply = 0, b"", NULL
    while True:
        _, label, data, _, reply = exchange(reply, label, data, [], slot, FOREVER)


def main(env: Environment) -> None:
    if env.has("typed"):
        env.serve(Server(), on="typed", direct=lambda _: Server())
    else:
        _answer(env)
