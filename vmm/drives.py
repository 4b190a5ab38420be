"""Disks and CD-ROM drives behind IDE and AHCI on the board.

The board imports this for machines that have such drives alone: others start faster without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmm.backends import Drive
from vmm.bus import PortBus
from vmm.devices.ahci import Ahci
from vmm.devices.ata.action import Device, Identity
from vmm.devices.ata.cdrom import CdRom
from vmm.devices.ata.disk import Disk
from vmm.devices.ide import IRQS, Ide
from vmm.devices.pci import PciBus
from vmm.devices.virtio.device import Post
from vmm.memory import GuestMemory

Controller = Ide | Ahci

IDE_PLACE = (1, 1)
"""Slot and function: beside the ISA bridge, as PIIX has it, if there is one."""
CDROM_FIRST = 2
"""The first CD-ROM drive is the second channel's first, if that is free."""


def attach(
    drives: Sequence[Drive],
    pci: PciBus,
    ports: PortBus,
    memory: GuestMemory,
    invalidate: Callable[[int, int], None],
    post: Post,
    line: Callable[[int], Callable[[bool], None]],
) -> list[Controller]:
    """Put the drives' controllers on the bus."""
    made: list[Controller] = []
    places = _places([drive for drive in drives if drive.interface == "ide"])
    if any(places):
        numbered = [_device(drive, i, False) for i, drive in enumerate(places)]
        ide = Ide(numbered, memory, invalidate, post, [line(irq) for irq in IRQS])
        ide.attach(ports)
        pci.add(ide, *(IDE_PLACE if pci.has(IDE_PLACE[0]) else ()))
        made.append(ide)
    on_ahci = [drive for drive in drives if drive.interface == "ahci"]
    if on_ahci:
        devices = [_made(drive, len(places) + i, True) for i, drive in enumerate(on_ahci)]
        ahci = Ahci(devices, memory, invalidate, post)
        pci.add(ahci)
        made.append(ahci)
    return made


def place(drives: Sequence[Drive], index: int) -> tuple[type[Controller], int, int]:
    """What one of the drives is behind, and which channel and unit of that it is."""
    if drives[index].interface == "ahci":
        before = [drive for drive in drives[:index] if drive.interface == "ahci"]
        return Ahci, len(before), 0
    ide = _places([drive for drive in drives if drive.interface == "ide"])
    at = next(i for i, drive in enumerate(ide) if drive is drives[index])
    return Ide, at >> 1, at & 1


def _places(drives: Sequence[Drive]) -> list[Drive | None]:
    """The two drives of the first channel, and of the second."""
    places: list[Drive | None] = [None] * 4
    for drive in sorted(drives, key=lambda drive: not drive.cdrom):
        first = CDROM_FIRST if drive.cdrom else 0
        order = [*range(first, 4), *range(first)]
        place = next((i for i in order if places[i] is None), None)
        if place is None:
            raise ValueError("there is room for four drives on the two IDE channels")
        places[place] = drive
    return places


def _device(drive: Drive | None, number: int, serial_ata: bool) -> Device | None:
    return None if drive is None else _made(drive, number, serial_ata)


def _made(drive: Drive, number: int, serial_ata: bool) -> Device:
    kind = CdRom if drive.cdrom else Disk
    name = "CLOISTER CD-ROM" if drive.cdrom else "CLOISTER DISK"
    return kind(drive.backend, Identity(name, f"CL{number:06}"), serial_ata)
