"""The tables themselves: RSDP, RSDT, XSDT, FADT, FACS and DSDT.

ACPI Specification 6.4, 5.2.  Tables that other devices bring are passed in, and the MADT of a board
that has APICs: a system that sees none uses the 8259s and one processor.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from vmm.acpi import aml
from vmm.acpi.image import ALIGNMENT, Image
from vmm.devices import acpi_pm

OEM_ID = b"CLOIST"
OEM_TABLE_ID = b"CLOISTER"
CREATOR_ID = b"CLST"

FADT_SIZE = 276
IAPC_LEGACY_DEVICES, IAPC_8042, IAPC_NO_VGA, IAPC_NO_MSI = 1, 1 << 1, 1 << 2, 1 << 3
"""Boot architecture flags (table 5.10)."""
FADT_WBINVD, FADT_C1_SUPPORTED, FADT_SLEEP_BUTTON = 1, 1 << 2, 1 << 5
FADT_RESET_SUPPORTED = 1 << 10
SPACE_IO = 1

PCI_MEMORY_FIRST, PCI_MEMORY_LAST = 0xC000_0000, 0xFEBF_FFFF
"""Where PCI devices' memory may be."""


def table(signature: bytes, revision: int, body: bytes) -> bytes:
    """A table with its header (5.2.6) and checksum."""
    header = struct.pack(
        "<4sIBB6s8sI4sI",
        signature,
        36 + len(body),
        revision,
        0,
        OEM_ID,
        OEM_TABLE_ID,
        1,
        CREATOR_ID,
        1,
    )
    raw = bytearray(header + body)
    raw[9] = -sum(raw) & 0xFF
    return bytes(raw)


class Tables(NamedTuple):
    """All tables but the root pointer, and where the two lists of them are."""

    image: Image
    rsdt: int
    xsdt: int


def assemble(pci_irqs: Sequence[int], extra: Sequence[bytes] = (), desk: bool = False) -> Tables:
    """All tables.

    ``pci_irqs`` are the interrupts that INTA# to INTD# of slot 0 reach; a slot's pins are turned on
    by its number, as PCI asks of boards.  With ``desk`` there are screen, keyboard and mouse.
    """
    image = Image()
    facs = image.place(struct.pack("<4sI56x", b"FACS", 64), checked=False)
    dsdt = image.place(table(b"DSDT", 2, _dsdt(pci_irqs, desk)))
    fadt = image.place(_fadt(desk))
    for at, size, target in ((36, 4, facs), (40, 4, dsdt), (132, 8, facs), (140, 8, dsdt)):
        image.point(fadt + at, size, target)
    entries = [fadt, *(image.place(raw) for raw in extra)]
    lists = []
    for signature, size in ((b"RSDT", 4), (b"XSDT", 8)):
        at = image.place(table(signature, 1, bytes(size * len(entries))))
        for i, entry in enumerate(entries):
            image.point(at + 36 + size * i, size, entry)
        lists.append(at)
    return Tables(image, *lists)


def root_pointer(rsdt: int, xsdt: int) -> bytes:
    """The RSDP (5.2.5.3), given the addresses of the two lists."""
    rsdp = bytearray(struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, OEM_ID, 2, rsdt, 36, xsdt, 0))
    rsdp[8] = -sum(rsdp[:20]) & 0xFF
    rsdp[32] = -sum(rsdp) & 0xFF
    return bytes(rsdp)


def build(
    base: int, pci_irqs: Sequence[int], extra: Sequence[bytes] = (), desk: bool = False
) -> bytes:
    """All tables, to be put at guest-physical address ``base``, the RSDP first."""
    tables = assemble(pci_irqs, extra, desk)
    first = base + ALIGNMENT
    root = root_pointer(first + tables.rsdt, first + tables.xsdt)
    return root.ljust(ALIGNMENT, b"\0") + tables.image.located(first)


def _io_register(port: int, bits: int) -> bytes:
    """A generic address structure (5.2.3.2)."""
    access = {8: 1, 16: 2, 32: 3}[min(bits, 32)]
    return struct.pack("<BBBBQ", SPACE_IO, bits, 0, access, port)


def _fadt(desk: bool) -> bytes:
    body = bytearray(FADT_SIZE - 36)

    def put(layout: str, offset: int, *values: int) -> None:
        struct.pack_into(f"<{layout}", body, offset - 36, *values)

    put("BBH", 44, 0, 0, acpi_pm.SCI)
    put("I", 56, acpi_pm.STATUS)
    put("I", 64, acpi_pm.CONTROL)
    put("I", 76, acpi_pm.TIMER)
    put("BBBB", 88, 4, 2, 0, 4)  # lengths of event block, control block, PM2, timer
    put("HH", 96, 0xFFF, 0xFFF)  # latencies of C2 and C3: neither is there
    put("B", 108, 0x32)  # the RTC's century
    put("H", 109, IAPC_LEGACY_DEVICES | IAPC_NO_MSI | (IAPC_8042 if desk else IAPC_NO_VGA))
    put("I", 112, FADT_WBINVD | FADT_C1_SUPPORTED | FADT_SLEEP_BUTTON | FADT_RESET_SUPPORTED)
    body[116 - 36 : 128 - 36] = _io_register(acpi_pm.RESET_PORT, 8)
    put("B", 128, acpi_pm.RESET_VALUE)
    put("B", 131, 4)  # minor version
    for offset, port, bits in (
        (148, acpi_pm.STATUS, 32),
        (172, acpi_pm.CONTROL, 16),
        (208, acpi_pm.TIMER, 32),
    ):
        body[offset - 36 : offset - 24] = _io_register(port, bits)
    return table(b"FACP", 6, bytes(body))


def _desk() -> list[bytes]:
    """Keyboard and mouse.  Systems look for them only if they are told of them."""
    keyboard = aml.device(
        "KBD",
        aml.name("_HID", aml.eisa_id("PNP0303")),
        aml.name("_CRS", aml.resources(aml.io_ports(0x60, 1), aml.io_ports(0x64, 1), aml.irq(1))),
    )
    mouse = aml.device(
        "MOU",
        aml.name("_HID", aml.eisa_id("PNP0F13")),
        aml.name("_CRS", aml.resources(aml.irq(12))),
    )
    return [keyboard, mouse]


def _dsdt(pci_irqs: Sequence[int], desk: bool) -> bytes:
    routes = [
        aml.package(
            aml.integer(slot << 16 | 0xFFFF),
            aml.integer(pin),
            aml.integer(0),
            aml.integer(pci_irqs[(slot + pin) % len(pci_irqs)]),
        )
        for slot in range(1, 32)
        for pin in range(4)
    ]
    pci = aml.device(
        "PCI0",
        aml.name("_HID", aml.eisa_id("PNP0A03")),
        aml.name("_ADR", aml.integer(0)),
        aml.name("_UID", aml.integer(0)),
        aml.name(
            "_CRS",
            aml.resources(
                aml.bus_window(0, 0),
                aml.io_ports(0xCF8, 8),
                aml.io_window(0, 0xCF7),
                aml.io_window(0xD00, 0xFFFF),
                aml.memory_window(PCI_MEMORY_FIRST, PCI_MEMORY_LAST),
            ),
        ),
        aml.name("_PRT", aml.package(*routes)),
    )
    clock = aml.device(
        "RTC",
        aml.name("_HID", aml.eisa_id("PNP0B00")),
        aml.name("_CRS", aml.resources(aml.io_ports(0x70, 2), aml.irq(8))),
    )
    serial = aml.device(
        "COM1",
        aml.name("_HID", aml.eisa_id("PNP0501")),
        aml.name("_UID", aml.integer(1)),
        aml.name("_CRS", aml.resources(aml.io_ports(0x3F8, 8), aml.irq(4))),
    )
    off = [aml.integer(value) for value in (acpi_pm.SLEEP_TYPE_OFF, acpi_pm.SLEEP_TYPE_OFF, 0, 0)]
    before = _desk() if desk else []
    return aml.scope("\\_SB", pci, clock, serial, *before) + aml.name("\\_S5", aml.package(*off))
