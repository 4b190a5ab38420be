"""Network adapters on the board.

The board imports this for machines that have one alone: others start faster without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmm.backends import Nic
from vmm.devices.e1000 import E1000
from vmm.devices.pci import PciBus, PciDevice
from vmm.devices.virtio.device import Post
from vmm.devices.virtio.net import VirtioNet
from vmm.devices.virtio.pci import VirtioPci
from vmm.memory import GuestMemory


def attach(
    nics: Sequence[Nic],
    pci: PciBus,
    memory: GuestMemory,
    invalidate: Callable[[int, int], None],
    post: Post,
) -> list[PciDevice]:
    """Put adapters on the bus, in their order."""
    found: list[PciDevice] = []
    for nic in nics:
        device: PciDevice
        if nic.model == "e1000":
            device = E1000(nic.backend, nic.address, memory, invalidate, post, nic.rom)
        else:
            device = VirtioPci(VirtioNet(nic.backend, nic.address, post), memory, invalidate)
        pci.add(device)
        found.append(device)
    return found
