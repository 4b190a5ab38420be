"""The TPM's tables: a device in a definition block of its own, and where the event log is.

TCG ACPI Specification 1.3: 7 (TPM 2.0: table TPM2, revision 4), 8 (TPM 1.2: table TCPA), 9.1
(device).  A TPM 2.0 is MSFT0101, a TPM 1.2 PNP0C31; the operating system finds the interface by the
start method in the table.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

from vmm.acpi import aml
from vmm.acpi.tables import table
from vmm.devices import tpm, tpm_crb

Interface = Literal["tis", "crb"]
CLIENT: Final = 0
"""Platform class."""
START_FIFO, START_CRB = 6, 7
PRESENT: Final = 0x0F


def _memory(base: int, size: int) -> bytes:
    """A fixed range of memory that can be written (ACPI 6.4, 6.4.3.4)."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, size)


def _level_irq(number: int) -> bytes:
    """A level-triggered, active-low interrupt of the 8259s (ACPI 6.4, 6.4.2.1)."""
    return struct.pack("<BHB", 0x23, 1 << number, 1 << 3)


def tables(
    version: str, interface: Interface, log_at: int, log_size: int, irq: int | None = None
) -> list[bytes]:
    """The tables to add; the event log's area is ``log_size`` bytes at ``log_at``."""
    if version == "2.0":
        control = tpm_crb.CONTROL_AREA if interface == "crb" else 0
        method = START_CRB if interface == "crb" else START_FIFO
        body = struct.pack("<HHQI12xIQ", CLIENT, 0, control, method, log_size, log_at)
        return [_device(aml.string("MSFT0101"), irq), table(b"TPM2", 4, body)]
    body = struct.pack("<HIQ", CLIENT, log_size, log_at)
    return [_device(aml.eisa_id("PNP0C31"), irq), table(b"TCPA", 2, body)]


def _device(identifier: bytes, irq: int | None) -> bytes:
    where = [_memory(tpm.BASE, tpm.SIZE)]
    if irq is not None:
        where.append(_level_irq(irq))
    device = aml.device(
        "TPM",
        aml.name("_HID", identifier),
        aml.name("_UID", aml.integer(1)),
        aml.name("_STA", aml.integer(PRESENT)),
        aml.name("_CRS", aml.resources(*where)),
    )
    return table(b"SSDT", 2, aml.scope("\\_SB", device))
