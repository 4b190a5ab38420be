"""A board with firmware in ROM: the chipset that it finds, and what it is told of the board.

The board imports this for machines that start from a BIOS alone: others start faster without.  It
is made for SeaBIOS on what QEMU calls a "pc": 82441FX, PIIX3, PIIX4, and ``fw_cfg``.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Sequence
from typing import Final

from vmm.acpi import loader, tables
from vmm.backends import Backends, Drive, Firmware, Tpm
from vmm.boot import BootError, linux
from vmm.bus import MmioBus, PortBus
from vmm.config import VmConfig
from vmm.devices.acpi_pm import SCI, AcpiPm
from vmm.devices.debug_port import DebugPort
from vmm.devices.dma8237 import Dma8237
from vmm.devices.fw_cfg import FwCfg
from vmm.devices.i440fx import I440fx
from vmm.devices.pci import PciBus, PciDevice
from vmm.devices.piix3 import Piix3
from vmm.devices.piix4_pm import Piix4Pm
from vmm.engine.interface import Engine
from vmm.memory import HIGH_START, PAGE, GuestMemory

ISA_SLOT: Final = 1
PM_FUNCTION: Final = 3
LOW_ROM: Final = 128 << 10
"""How much of a BIOS is seen below 1 MiB after power-on: its end."""
MOST_ROM: Final = 16 << 20
LINKS: Final = (3, 0, 1, 2)
"""The lines PIRQ A to D that the four pins of slot 0 are on; those of other slots are turned."""
LINK_IRQS: Final = (10, 10, 11, 11)
"""What SeaBIOS routes PIRQ A to D to."""
PCI_IRQS: Final = tuple(LINK_IRQS[link] for link in LINKS)
"""The interrupts of slot 0's pins."""
LEVEL_IRQS: Final = (SCI, *sorted(set(LINK_IRQS)))
SERIAL_CONSOLE: Final = 0x3F8
E820_RAM: Final = 1
_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_CPUS, _MOST_CPUS, _MEMORY, _IRQ0_OVERRIDE = 0x05, 0x0F, 0x03, 0x8002
_SETUP, _KERNEL = (0x16, 0x17, 0x18), (0x07, 0x08, 0x11)
_INITRD, _COMMAND_LINE = (0x0A, 0x0B, 0x12), (0x13, 0x14, 0x15)
"""Items for address, size and content."""
SETUP_AT, COMMAND_LINE_AT = 0x1_0000, 0x2_0000
ROOM_BELOW_TOP: Final = 256 << 10
"""Firmware keeps its tables at the end of memory."""
OLDEST: Final = 0x203
"""The version of Linux's boot protocol that first says where the initial RAM disk may be."""
_HEAP: Final = 0x80


def aligned(data: bytes) -> memoryview:
    """A copy that begins with a page and ends with one."""
    size = -(-len(data) // PAGE) * PAGE
    view = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    view[size - len(data) :] = data
    return view


class Bios:
    """One machine's firmware, with what is on the board for it."""

    def __init__(self, firmware: Firmware, engine: Engine) -> None:
        """Raises ``BootError`` if it cannot be put where a processor starts."""
        bios = firmware.bios
        if not 1 << 16 <= len(bios) <= MOST_ROM or len(bios) % PAGE:
            raise BootError(
                f"the BIOS has {len(bios)} bytes; it is to have 64 KiB to 16 MiB, in whole pages"
            )
        self._firmware = firmware
        self._engine = engine
        self._low = aligned(bios[-LOW_ROM:])
        self._high = aligned(bios)
        self._told: FwCfg | None = None
        self._order: list[str] = []

    # The board

    def add_chipset(
        self,
        memory: GuestMemory,
        mmio: MmioBus,
        ports: PortBus,
        set_irq: Callable[[int, bool], None],
        pm: AcpiPm,
    ) -> PciBus:
        """The ROM, and a bus with the chipset on it; ``set_irq`` drives an input of the 8259s."""
        at = HIGH_START - len(self._high)
        mmio.map(at, len(self._high), self._read, lambda _offset, _size, _value: None)
        self._engine.map_window(at, self._high, 0, len(self._high), True)
        host = I440fx(self._engine, mmio, memory.buffer, self._low)
        isa = Piix3(set_irq)
        pci = PciBus(mmio, memory, isa.set_link, LINKS, self._engine, host, assigned=False)
        pci.attach(ports)
        pci.add(isa, ISA_SLOT)
        isa.attach(ports)
        pci.add(Piix4Pm(ports, pm), ISA_SLOT, PM_FUNCTION)
        return pci

    def _read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._high[offset : offset + size], "little")

    def add_ports(
        self, ports: PortBus, memory: GuestMemory, invalidate: Callable[[int, int], None]
    ) -> list[Dma8237 | FwCfg | DebugPort]:
        """DMA controllers, what firmware is told, and what it says."""
        dma = Dma8237(memory)
        dma.attach(ports)
        self._told = FwCfg(memory, invalidate)
        self._told.attach(ports)
        made: list[Dma8237 | FwCfg | DebugPort] = [dma, self._told]
        if self._firmware.log is not None:
            said = DebugPort(self._firmware.log)
            said.attach(ports)
            made.append(said)
        return made

    def find_disks(
        self,
        backends: Backends,
        pci: PciBus,
        blocks: Sequence[PciDevice],
        controllers: Sequence[PciDevice],
    ) -> None:
        """Note where what is to be booted from is on the bus."""
        self._order = boot_order(self._firmware, pci, blocks, backends.drives, controllers)

    def start(
        self,
        tpm: Tpm | None,
        config: VmConfig,
        display: bool,
        memory: GuestMemory,
        kernel: bytes,
        initrd: bytes,
    ) -> None:
        """Get ready for the processor's first instruction.  ``kernel`` is one for Linux's boot
        protocol that a ROM of ``Firmware.roms`` starts, or empty."""
        assert self._told is not None
        extra: list[bytes] = []
        if config.apic:
            from vmm import apic

            extra.append(apic.acpi_table(LEVEL_IRQS))
        areas: list[loader.Area] = []
        if tpm is not None:
            from vmm import tpm as support

            tpm.reset()
            extra += support.acpi_tables(tpm, config)
            areas = [support.log_area(tpm)]
        acpi = tables.assemble(PCI_IRQS, extra, display)
        self._told.tell(
            items(memory, kernel, initrd, config.append),
            files(self._firmware, memory, self._order, acpi, areas, display),
        )


# What firmware is told


def items(memory: GuestMemory, kernel: bytes, initrd: bytes, append: str) -> dict[int, bytes]:
    """Items of ``fw_cfg`` by number: the board, and a Linux kernel if one is to be started."""
    found = {
        _MEMORY: _U64.pack(memory.size),
        _CPUS: _U16.pack(1),
        _MOST_CPUS: _U16.pack(1),
        _IRQ0_OVERRIDE: b"\1",
    }
    return found | (_kernel(memory, kernel, initrd, append) if kernel else {})


def _kernel(memory: GuestMemory, kernel: bytes, initrd: bytes, append: str) -> dict[int, bytes]:
    """A kernel in the parts that a boot ROM puts into memory, and where to."""
    header = linux.parse_header(kernel, OLDEST)
    command_line = append.encode() + b"\0"
    setup = bytearray(kernel[: header.setup_size])
    top = min(memory.regions[0].length - ROOM_BELOW_TOP, header.initrd_max + 1)
    initrd_at = (top - len(initrd)) & -PAGE if initrd else 0
    if initrd and initrd_at < header.preferred_address + header.init_size:
        raise BootError("too little memory for the kernel and its initial RAM disk")
    setup[0x210] = 0xB0  # type of loader: QEMU, for whom the ROM was written
    setup[0x211] |= linux.LOADED_HIGH | _HEAP
    struct.pack_into("<II", setup, 0x218, initrd_at, len(initrd))
    struct.pack_into("<H", setup, 0x224, COMMAND_LINE_AT - SETUP_AT - 0x200)
    struct.pack_into("<I", setup, 0x228, COMMAND_LINE_AT)
    parts = (
        (_SETUP, SETUP_AT, bytes(setup)),
        (_KERNEL, linux.HIGH_MEMORY, kernel[header.setup_size :]),
        (_INITRD, initrd_at, initrd),
        (_COMMAND_LINE, COMMAND_LINE_AT, command_line),
    )
    found: dict[int, bytes] = {}
    for (address, size, content), at, part in parts:
        found |= {address: _U32.pack(at), size: _U32.pack(len(part)), content: part}
    return found


def files(
    firmware: Firmware,
    memory: GuestMemory,
    order: Sequence[str],
    acpi: tables.Tables,
    areas: Sequence[loader.Area],
    display: bool,
) -> dict[str, bytes]:
    """Files of ``fw_cfg`` by name."""
    regions = [(region.gpa, region.length) for region in memory.regions]
    found = {
        "etc/e820": b"".join(struct.pack("<QQI", *region, E820_RAM) for region in regions),
        "etc/show-boot-menu": _U16.pack(bool(firmware.menu)),
        "bootorder": "\n".join(order).encode() + b"\0",
    }
    if not display:
        found["etc/sercon-port"] = _U16.pack(SERIAL_CONSOLE)
    roms = {f"genroms/{name}": rom for name, rom in firmware.roms.items()}
    return found | loader.files(acpi, areas) | roms


def device_path(pci: PciBus, device: PciDevice, kind: str, rest: str) -> str:
    """A PCI device's place, as Open Firmware would name it."""
    slot, function = pci.place(device)
    place = f"{slot:x},{function:x}" if function else f"{slot:x}"
    return f"/pci@i0cf8/{kind}@{place}/{rest}"


def boot_order(
    firmware: Firmware,
    pci: PciBus,
    blocks: Sequence[PciDevice],
    drives: Sequence[Drive],
    controllers: Sequence[PciDevice],
) -> list[str]:
    """The paths of what to boot from, the first first."""
    paths = [f"/rom@genroms/{name}" for name in firmware.roms]
    for kind, index in firmware.order:
        if kind == "block":
            paths.append(device_path(pci, blocks[index], "scsi", "disk@0,0"))
            continue
        from vmm.drives import place

        of, channel, unit = place(drives, index)
        controller = next(device for device in controllers if isinstance(device, of))
        paths.append(device_path(pci, controller, "ide", f"drive@{channel:x}/disk@{unit:x}"))
    return paths
