"""What a board needs from the world, as protocols.

The board calls these from its vCPU thread and never waits: what takes time is answered later, by
a call of ``complete`` or ``deliver``.  An answer that comes on another thread is handed to the
vCPU thread with ``Board.post``; the board sees to that itself, so that backends may answer from
anywhere.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from vmm.devices.vga_picture import Update

SECTOR = 512
"""Bytes in a sector, the unit of ``BlockRequest.sector``."""


class Serial(Protocol):
    """Where a serial port's output goes.  Input comes by ``Board.receive``."""

    def write(self, data: bytes) -> None: ...


class BlockOperation(enum.Enum):
    READ = "read"
    WRITE = "write"
    FLUSH = "flush"


class BlockStatus(enum.Enum):
    OK = "ok"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """One piece of work for a disk.

    ``buffers`` are windows on guest memory, to be filled or to be written out in their order; they
    are valid until ``complete`` is called, which must happen exactly once.  A flush is complete
    when everything that was completed before it is on stable storage.
    """

    operation: BlockOperation
    sector: int
    buffers: tuple[memoryview, ...]
    complete: Callable[[BlockStatus], None]

    @property
    def length(self) -> int:
        """Bytes to move."""
        return sum(len(buffer) for buffer in self.buffers)


class Block(Protocol):
    """A disk.  Requests may be completed in any order, at once or later."""

    @property
    def sectors(self) -> int:
        """The disk's size."""

    @property
    def read_only(self) -> bool: ...

    def submit(self, request: BlockRequest) -> None:
        """Begin a request whose range was checked against ``sectors``."""


@dataclass(frozen=True)
class Drive:
    """A disk, or a CD-ROM drive's disc, on one of the interfaces that every system knows."""

    backend: Block
    interface: Literal["ide", "ahci"]
    cdrom: bool = False


class Entropy(Protocol):
    """Random bytes for the guest."""

    def request(self, count: int, deliver: Callable[[bytes], None]) -> None:
        """Deliver between 1 and ``count`` bytes, once."""


class Tpm(Protocol):
    """The guest's TPM."""

    version: Literal["1.2", "2.0"]
    established: bool
    """Whether a dynamic launch has taken place since the flag was reset."""
    buffer_size: int
    """Bytes of a command and of a response at most."""

    def submit(self, command: bytes, locality: int, complete: Callable[[bytes], None]) -> None:
        """Execute a command; ``complete`` gets the response, once."""

    def cancel(self) -> None:
        """Ask that the command in hand be given up, which is completed all the same."""

    def reset_established(self, locality: int) -> None: ...

    # Before the guest runs these may wait for the TPM, on the vCPU thread.

    def reset(self) -> None:
        """The machine was switched on or reset."""

    def execute(self, command: bytes, locality: int) -> bytes:
        """Execute a command and wait."""


class Network(Protocol):
    """A cable: ``drivers.net.client.LinkClient``.  Frames and offloads are as of
    ``drivers.net.frames``."""

    changed: Callable[[], None]
    """Called, on any thread, when frames have arrived or there is room again."""

    def room(self) -> bool:
        """Whether a frame can be sent now."""

    def send(self, parts: Iterable[bytes | memoryview], offload: bytes) -> None:
        """Send a frame with the next ``flush``."""

    def flush(self) -> None: ...

    def peek(self, simple: bool = False) -> tuple[bytes, bytes | memoryview] | None:
        """The offload of the frame that arrived first, and the frame; ``simple``: no offload."""

    def skip(self) -> None:
        """That frame was taken."""


@dataclass(frozen=True)
class Nic:
    """A network adapter, and what it is plugged into."""

    backend: Network
    address: bytes
    """Its Ethernet address, 6 bytes."""
    model: Literal["virtio", "e1000"] = "virtio"
    rom: bytes = b""
    """Boots from the network, run by firmware."""


class Display(Protocol):
    """Where a picture is shown.  What the person does comes by ``vmm.display.Desk.happened``."""

    frame: memoryview
    """The adapter's memory, which others see as well: ``vmm.devices.vga.FRAME_SIZE`` bytes."""

    def update(self, update: Update) -> None:
        """The picture is up to date, in ``frame``."""


@dataclass(frozen=True)
class Firmware:
    """What is in the machine's ROMs, and what the firmware there is told."""

    bios: bytes
    video: bytes = b""
    """The display adapter's BIOS."""
    log: Serial | None = None
    """Where what the firmware says for its developers goes."""
    menu: bool = False
    """Whether it asks what to boot from."""
    order: tuple[tuple[Literal["block", "drive"], int], ...] = ()
    """What to boot from, by the place in ``Backends.blocks`` or ``drives``; the first comes first.
    Whatever is not here comes after it."""
    roms: Mapping[str, bytes] = field(default_factory=dict)
    """Option ROMs of no device, which are run before others; one may start a kernel."""


@dataclass(frozen=True)
class Backends:
    """All that one board is connected to."""

    serial: Serial
    blocks: tuple[Block, ...] = ()
    """Virtio disks."""
    entropy: Entropy | None = None
    tpm: Tpm | None = None
    drives: tuple[Drive, ...] = ()
    """Disks and CD-ROM drives that are not virtio's."""
    display: Display | None = None
    firmware: Firmware | None = None
    nics: tuple[Nic, ...] = ()
    """Network adapters."""
