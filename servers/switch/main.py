"""The switch: its ports are clients, by packet streams, and drivers of links to the outside."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Final

import msgspec

from drivers.net.client import LinkClient
from drivers.net.interface import Link
from drivers.net.service import Forward, Station
from servers.runtime import Environment, Notification, NotPermitted, ProcessFailed
from servers.runtime.attachments import CLIENTS, Attachments
from servers.runtime.stream import StreamOffer
from servers.switch.forward import ADDRESS, Bridge, Rules

MOST_UPLINKS: Final = 8


class PortConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A port."""

    segments: list[str]
    """Its segments; ports that share none do not hear each other."""
    addresses: list[str] = []
    """The Ethernet addresses, as ``02:00:00:00:00:01``, from which it may send; empty for any."""

    def rules(self) -> Rules:
        """Raises ``ValueError`` for what is no address."""
        return Rules(frozenset(self.segments), frozenset(map(address, self.addresses)))


class SwitchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The switch's configuration in the system description."""

    ports: dict[str, list[PortConfig]] = {}
    """The ports of each client, by the client's name; nobody else may attach."""
    uplinks: dict[str, PortConfig] = {}
    """The links that the switch itself holds, by their names, and what is plugged into them."""


def address(text: str) -> bytes:
    """An Ethernet address from its usual form; raises ``ValueError``."""
    parts = text.split(":")
    if len(parts) != ADDRESS or any(len(part) != 2 for part in parts):
        raise ValueError(f"{text!r} is not an address such as 02:00:00:00:00:01")
    found = bytes.fromhex("".join(parts))
    if found[0] & 1:
        raise ValueError(f"{text!r} is an address of a group, not of one station")
    return found


class Switch(Link):
    """The service."""

    def __init__(self, env: Environment, config: SwitchConfig) -> None:
        self._env = env
        self._ports = {client: len(ports) for client, ports in config.ports.items()}
        self._clients: Attachments[Station] = Attachments(env, "switch")
        self._bridge = Bridge()
        for client, ports in config.ports.items():
            for number, port in enumerate(ports):
                self._bridge.add((client, number), port.rules())
        for name, port in config.uplinks.items():
            self._bridge.add(name, port.rules())
        self._uplinks = {
            name: LinkClient(env, name, self._clients.signal, 1 << (CLIENTS + number))
            for number, name in enumerate(config.uplinks)
        }
        self._dirty: set[int] = set()

    def attach(self, port: int, offer: StreamOffer) -> Notification:
        client = self._env.caller
        if not 0 <= port < self._ports.get(client, 0):
            for capability in (offer.frame, offer.to_client):
                capability.drop()
            raise NotPermitted(f"the switch has no port {port} for {client!r}")
        place = (client, port)
        forward: Forward = partial(self._forward, place)
        return self._clients.attach(place, offer, lambda given: Station(given, forward))

    def attend(self, port: int) -> None:
        return self._clients.attend((self._env.caller, port))

    def _forward(self, sender: Hashable, offload: bytes, frame: bytes | memoryview) -> None:
        """Hand a frame to the ports that it is for."""
        for port in self._bridge.receive(sender, bytes(frame[: 2 * ADDRESS])):
            uplink = self._uplinks.get(port) if isinstance(port, str) else None
            if uplink is not None:
                uplink.send([frame], offload)
                continue
            number = self._clients.number(port)
            station = None if number is None else self._clients.attached.get(number)
            if station is not None and number is not None:
                station.deliver(offload, frame)
                self._dirty.add(number)

    def notify(self, bits: int) -> None:
        """Clients sent frames, or gave room; or an uplink did."""
        self._clients.notify(bits & ((1 << CLIENTS) - 1))
        for number, (name, uplink) in enumerate(self._uplinks.items()):
            if bits >> (CLIENTS + number) & 1:
                uplink.poll()
                while (found := uplink.peek()) is not None:
                    self._forward(name, found[0], bytes(found[1]))
                    uplink.skip()
        while self._dirty:
            self._clients.serve(self._dirty.pop())
        for uplink in self._uplinks.values():
            uplink.flush()


def main(env: Environment) -> None:
    """Serve the ports of the configuration."""
    config = env.config(SwitchConfig)
    if len(config.uplinks) > MOST_UPLINKS:
        raise ProcessFailed(f"a switch has at most {MOST_UPLINKS} uplinks")
    try:
        switch = Switch(env, config)
    except ValueError as error:
        raise ProcessFailed(f"the switch's configuration: {error}") from None
    env.serve(switch, on="port", notify=switch.notify)
