"""What controllers and devices say to each other: registers in, an action out.

  status   80 BSY  40 DRDY  20 DF  10 DSC  08 DRQ  01 ERR
  error    80 ICRC/BBK  40 UNC  10 IDNF  04 ABRT  (packet commands: 7:4 sense key, 04 ABRT)
  device   40 LBA  10 device 1  3:0 head, or LBA 27:24

The other registers are shift registers two bytes deep, as 48-bit commands want them (ATA8-ACS,
7.1.5.2): the last byte written is in bits 7:0, the one before in bits 15:8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from vmm.backends import SECTOR, Block, BlockOperation

BSY, DRDY, DF, DSC, DRQ, ERR = 0x80, 0x40, 0x20, 0x10, 0x08, 0x01
UNC, IDNF, ABRT = 0x40, 0x10, 0x04
READY = DRDY | DSC
DEVICE_LBA = 0x40
PACKET = 12
PASSED = 0x01
"""The error register after diagnostics without a fault."""


class Registers:
    """The command block of one device."""

    __slots__ = ("count", "device", "error", "features", "high", "low", "middle", "status")

    def __init__(self) -> None:
        self.features = self.count = self.low = self.middle = self.high = 0
        self.device = 0
        self.status = READY
        self.error = PASSED

    @property
    def lba28(self) -> int:
        low = self.low & 0xFF | (self.middle & 0xFF) << 8 | (self.high & 0xFF) << 16
        return low | (self.device & 0xF) << 24

    @property
    def lba48(self) -> int:
        low = self.low & 0xFF | (self.middle & 0xFF) << 8 | (self.high & 0xFF) << 16
        return low | (self.low >> 8) << 24 | (self.middle >> 8) << 32 | (self.high >> 8) << 40

    def set_lba48(self, lba: int) -> None:
        """Put an address where ``lba48`` finds it."""
        self.low = lba & 0xFF | (lba >> 24 & 0xFF) << 8
        self.middle = lba >> 8 & 0xFF | (lba >> 32 & 0xFF) << 8
        self.high = lba >> 16 & 0xFF | (lba >> 40 & 0xFF) << 8


class CommandError(Exception):
    """A command ends with ERR and this in the error register."""

    def __init__(self, error: int = ABRT) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Data of the device's own for the host."""

    data: bytes
    dma: bool = False
    block: int = SECTOR
    """Bytes that the host moves at a time without DMA, at most."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Data of the medium, to or from the host.  Places and sizes are in sectors of 512 bytes."""

    operation: BlockOperation
    sector: int
    sectors: int
    dma: bool = False
    block: int = SECTOR
    """Bytes that the host moves at a time without DMA, at most."""
    durable: bool = False
    """The command is complete when the data is on stable storage."""


@dataclass(frozen=True, slots=True)
class Flush:
    """Bring all that was written to stable storage."""


@dataclass(frozen=True, slots=True)
class AwaitPacket:
    """The host sends a command packet of ``PACKET`` bytes, for ``Device.packet``."""


Action = Done | Reply | Transfer | Flush | AwaitPacket


class Device(Protocol):
    """A drive."""

    registers: Registers
    backend: Block

    def reset(self, hard: bool) -> None:
        """Power-on or hardware reset, or the software's: signature and defaults (ATA8-ACS 9)."""

    def execute(self, command: int) -> Action:
        """Begin the command that the registers describe; raises ``CommandError``."""

    def packet(self, packet: bytes) -> Action:
        """Begin a packet command; raises ``CommandError``."""

    def failed(self, operation: BlockOperation) -> CommandError:
        """The medium could not be read or written: what the host is told."""


@dataclass(slots=True)
class Identity:
    """What a drive says it is."""

    model: str
    serial: str
    firmware: str = field(default="1.0")
