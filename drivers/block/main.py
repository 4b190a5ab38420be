"""The block driver: a raw disk, served to clients over packet streams."""

from __future__ import annotations

import msgspec

from drivers.block.interface import SECTOR, WRITE, Status
from drivers.block.service import BlockService
from servers.runtime import Device, Environment
from servers.runtime.errors import NoRight
from servers.runtime.stream import Packet


class BlockConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The driver's configuration in the system description."""

    read_only: bool = False
    """Refuse writes, and ask for the device without the right to write."""
    size: int = 0
    """Bytes to offer, if that is more than the device's: a file that grows when it is written
    beyond its end, and reads as zeros there."""


class Disk:
    """The device, with whole transfers."""

    def __init__(self, device: Device, writable: bool, size: int = 0) -> None:
        self.size = max(device.size, size) // SECTOR * SECTOR  # bytes
        self.writable = writable
        self._grows = size > device.size
        self._access = device.access

    def transfer(self, packet: Packet, part: memoryview) -> Status:
        """Carry out a READ or WRITE whose data is ``part``."""
        move = self._access.write_from if packet.operation == WRITE else self._access.read_into
        done = 0
        try:
            while done < packet.length:
                count = move(packet.argument + done, [part[done:]])
                if count <= 0:
                    if packet.operation == WRITE or not self._grows:
                        return Status.FAILED
                    part[done:] = bytes(packet.length - done)  # beyond the file's end
                    break
                done += count
        except OSError:
            return Status.FAILED
        return Status.OK

    def settle(self) -> Status:
        return Status.OK

    def sync(self) -> Status:
        """Bring all that was written to stable storage."""
        try:
            if self.writable:
                self._access.sync()
        except OSError:
            return Status.FAILED
        return Status.OK


def main(env: Environment) -> None:
    """Serve the disk behind the device ``disk``."""
    config = env.config(BlockConfig)
    writable = not config.read_only
    try:
        device = env.device("disk", writable)
    except NoRight:
        writable = False
        device = env.device("disk", writable)
    driver = BlockService(env, Disk(device, writable, config.size))
    env.serve(driver, on="block", notify=driver.notify)
