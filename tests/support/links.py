"""A switch or an uplink without processes around it, and frames to send through it."""

from __future__ import annotations

from drivers.net.client import LinkClient
from drivers.net.frames import PLAIN
from servers.runtime import Environment, Notification

ALICE, BOB, MALLORY = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))
EVERYBODY = b"\xff" * 6
LONG = 10**9


def frame(target: bytes, source: bytes, text: bytes = b"hello") -> bytes:
    """An Ethernet frame of a type for experiments."""
    return target + source + b"\x88\xb5" + text


def dotted(address: bytes) -> str:
    return address.hex(":")


class Station:
    """A client of a link, and the notification on which it hears of it."""

    def __init__(self, env: Environment, name: str = "net", port: int = 0) -> None:
        self.word: Notification = env.notification()
        self.link = LinkClient(env, name, self.word, port=port)

    def send(self, *frames: bytes, offload: bytes = PLAIN) -> None:
        for data in frames:
            self.link.send([data], offload)
        self.link.flush()

    def receive(self, simple: bool = False) -> bytes:
        """The next frame; raises ``TimedOut`` if none comes."""
        while True:
            found = self.link.peek(simple)
            if found is not None:
                data = bytes(found[1])
                self.link.skip()
                return data
            self.word.wait(LONG)
            self.link.poll()
