"""Answers calls: ``raw`` in a bare loop of system calls, ``typed`` as servers do."""

from __future__ import annotations

from kernel.abi import FOREVER, NULL
from servers.runtime import Environment
from servers.runtime.stream import StreamOffer, StreamServer
from tools.bench.programs.interface import Echo


class Server(Echo):
    """The service behind ``typed``; there is another for each link, with the same streams."""

    def __init__(self, streams: list[StreamServer]) -> None:
        self._streams = streams

    def echo(self, data: bytes) -> bytes:
        return data

    def look(self, data: bytes) -> int:
        return data[0] + data[-1]

    def attach(self, offer: StreamOffer) -> None:
        self._streams.append(StreamServer(offer))

    def ring(self) -> None:
        for stream in self._streams:
            for packet in stream.take_all():
                data = stream.part(packet)
                stream.post(packet._replace(argument=data[0] + data[-1]))


def _answer(env: Environment) -> None:
    """Give every message back as it is."""
    exchange, slot = env.system.reply_recv, env.slot("raw")
    label, data, reply = 0, b"", NULL
    while True:
        _, label, data, _, reply = exchange(reply, label, data, [], slot, FOREVER)


def main(env: Environment) -> None:
    if env.has("typed"):
        streams: list[StreamServer] = []
        env.serve(Server(streams), on="typed", direct=lambda _: Server(streams))
    else:
        _answer(env)
