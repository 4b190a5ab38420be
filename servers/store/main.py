"""The store: an image's disk, offered as a block driver offers its own.

It is a client of the driver of the image's file, and of whatever has the backing disk: a driver or
another store, so that chains of overlays are chains of processes.
"""

from __future__ import annotations

from typing import NoReturn

import msgspec

from drivers.block.interface import WRITE, Block, DiskInfo, Status
from drivers.block.service import BlockService
from servers.runtime import Environment, Failed, Notification
from servers.runtime.stream import Packet, StreamOffer
from servers.store.file import BlockFile, FileError
from servers.store.header import ImageError
from servers.store.qcow2 import Qcow2


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The store's configuration in the system description."""

    read_only: bool = False
    """Refuse writes."""


class Disk:
    """An image behind the block service."""

    def __init__(self, image: Qcow2) -> None:
        self._image = image
        self.size = image.size
        self.writable = image.writable

    def transfer(self, packet: Packet, part: memoryview) -> Status:
        move = self._image.write if packet.operation == WRITE else self._image.read
        try:
            move(packet.argument, part)
        except (FileError, ImageError):
            return Status.FAILED
        return Status.OK

    def settle(self) -> Status:
        try:
            self._image.settle()
        except (FileError, ImageError):
            return Status.FAILED
        return Status.OK

    def sync(self) -> Status:
        try:
            self._image.flush()
        except (FileError, ImageError):
            return Status.FAILED
        return Status.OK


class Refused(Block):
    """In place of an image that cannot be used: every client is told why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def _refuse(self) -> NoReturn:
        raise Failed(self._why)

    def info(self) -> DiskInfo:
        self._refuse()

    def attach(self, offer: StreamOffer) -> Notification:
        for capability in (offer.frame, offer.to_client):
            capability.drop()
        self._refuse()

    def attend(self) -> None:
        self._refuse()


def main(env: Environment) -> None:
    """Serve the disk of the image behind ``image``, over the one behind ``backing``."""
    file = BlockFile(env, "image")
    backing = BlockFile(env, "backing") if env.has("backing") else None
    writable = file.writable and not env.config(StoreConfig).read_only
    try:
        image = Qcow2(file, writable, backing)
    except (ImageError, FileError) as error:
        env.serve(Refused(f"the image of {env.name} cannot be used: {error}"), on="block")
        return
    service = BlockService(env, Disk(image))
    env.serve(service, on="block", notify=service.notify)
