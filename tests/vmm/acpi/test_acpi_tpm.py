"""The TPM's tables, as the operating system reads them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from vmm.acpi import tpm
from vmm.devices.tpm import BASE, SIZE

LOG, LOG_SIZE = 0xF0000, 0x10000


def found(version: str, interface: tpm.Interface, irq: int | None = None) -> dict[bytes, bytes]:
    tables = {raw[:4]: raw for raw in tpm.tables(version, interface, LOG, LOG_SIZE, irq)}
    for raw in tables.values():
        assert sum(raw) & 0xFF == 0
        assert struct.unpack_from("<I", raw, 4) == (len(raw),)
    return tables


@pytest.mark.parametrize(
    ("interface", "control", "method"), [("tis", 0, 6), ("crb", BASE + 0x40, 7)]
)
def test_tpm2(interface: tpm.Interface, control: int, method: int) -> None:
    raw = found("2.0", interface)[b"TPM2"]
    assert len(raw) == 76
    assert raw[8] == 4
    assert struct.unpack_from("<HHQI", raw, 36) == (0, 0, control, method)
    assert struct.unpack_from("<IQ", raw, 64) == (LOG_SIZE, LOG)


def test_tcpa() -> None:
    raw = found("1.2", "tis")[b"TCPA"]
    assert len(raw) == 50
    assert struct.unpack_from("<HIQ", raw, 36) == (0, LOG_SIZE, LOG)


@pytest.mark.parametrize(
    ("version", "identifier"), [("2.0", b"\x0dMSFT0101\0"), ("1.2", bytes.fromhex("0c41d00c31"))]
)
def test_the_device(version: str, identifier: bytes) -> None:
    raw = found(version, "tis", irq=6)[b"SSDT"]
    assert b"_HID" + identifier in raw
    assert struct.pack("<BHBII", 0x86, 9, 1, BASE, SIZE) in raw
    assert struct.pack("<BHB", 0x23, 1 << 6, 8) in raw
    assert b"\x23\x40\0" not in found(version, "tis")[b"SSDT"]


@pytest.mark.skipif(shutil.which("iasl") is None, reason="needs the package acpica-tools")
def test_a_disassembler_reads_it(tmp_path: Path) -> None:
    for name, raw in found("2.0", "tis", irq=6).items():
        path = tmp_path / f"{name.decode()}.aml"
        path.write_bytes(raw)
        subprocess.run(["iasl", "-d", path.name], cwd=tmp_path, capture_output=True, check=True)
    source = (tmp_path / "SSDT.dsl").read_text()
    assert 'Name (_HID, "MSFT0101"' in source
    assert "Memory32Fixed (ReadWrite," in source
    assert "0xFED40000" in source
    assert "IRQ (Level, ActiveLow, Exclusive" in source
    assert "Warning" not in source
