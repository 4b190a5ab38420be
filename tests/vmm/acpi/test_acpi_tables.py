"""ACPI tables: they are found, they add up, and they say what the board is."""

from __future__ import annotations

import struct

import pytest

from vmm.acpi import aml, tables
from vmm.devices import acpi_pm

BASE = 0xE_0000
IMAGE = tables.build(BASE, (10, 11, 5, 7), [tables.table(b"TEST", 1, b"extra")])


def table_at(address: int) -> bytes:
    at = address - BASE
    (length,) = struct.unpack_from("<I", IMAGE, at + 4)
    return IMAGE[at : at + length]


def by_signature() -> dict[bytes, bytes]:
    (xsdt,) = struct.unpack_from("<Q", IMAGE, 24)
    raw = table_at(xsdt)
    entries = struct.unpack_from(f"<{(len(raw) - 36) // 8}Q", raw, 36)
    found = {table_at(entry)[:4]: table_at(entry) for entry in entries}
    fadt = found[b"FACP"]
    (dsdt,) = struct.unpack_from("<Q", fadt, 140)
    return found | {b"XSDT": raw, b"DSDT": table_at(dsdt)}


def test_root_pointer() -> None:
    assert IMAGE[:8] == b"RSD PTR "
    assert sum(IMAGE[:20]) & 0xFF == 0
    assert sum(IMAGE[:36]) & 0xFF == 0


def test_checksums() -> None:
    found = by_signature()
    assert set(found) == {b"XSDT", b"FACP", b"DSDT", b"TEST"}
    for raw in found.values():
        assert sum(raw) & 0xFF == 0


def test_fixed_description() -> None:
    fadt = by_signature()[b"FACP"]
    assert struct.unpack_from("<H", fadt, 46) == (acpi_pm.SCI,)
    assert struct.unpack_from("<I", fadt, 64) == (acpi_pm.CONTROL,)
    assert struct.unpack_from("<BBBBQ", fadt, 116) == (1, 8, 0, 1, acpi_pm.RESET_PORT)
    facs32, dsdt32 = struct.unpack_from("<II", fadt, 36)
    assert IMAGE[facs32 - BASE :][:4] == b"FACS"
    assert facs32 % 64 == 0
    assert dsdt32 == struct.unpack_from("<Q", fadt, 140)[0]


def test_definition_block_has_soft_off_and_the_bus() -> None:
    dsdt = by_signature()[b"DSDT"]
    assert b"\x08\\_S5_\x12" in dsdt
    assert b"PCI0" in dsdt
    assert b"_PRT" in dsdt


@pytest.mark.parametrize(
    ("size", "encoded"),
    [(0, "01"), (62, "3f"), (63, "4104"), (4093, "4f ff"), (4094, "81 00 01")],
)
def test_package_lengths(size: int, encoded: str) -> None:
    assert aml.package_length(size) == bytes.fromhex(encoded)


def test_names_and_numbers() -> None:
    assert aml.name_string("\\_SB") == b"\\_SB_"
    assert aml.name_string("\\_SB.PCI0") == b"\\\x2e_SB_PCI0"
    assert aml.name_string("A.B.C") == b"\x2f\x03A___B___C___"
    assert aml.integer(1) == b"\x01"
    assert aml.integer(0x1234) == b"\x0b\x34\x12"
    assert aml.integer(1 << 40) == b"\x0e" + (1 << 40).to_bytes(8, "little")
    assert aml.eisa_id("PNP0A03") == bytes.fromhex("0c 41 d0 0a 03")
