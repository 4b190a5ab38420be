"""Debian's unmodified cloud kernel boots, if its image is there: ``cloister images build``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.vmm.backends import HostEntropy
from tests.vmm.rig import Machine
from vmm.boot import linux
from vmm.boot.payload import unpack
from vmm.config import MIB
from vmm.outcome import End


def images() -> Path:
    """Where images are kept."""
    cache = os.environ.get("CLOISTER_CACHE")
    if cache:
        return Path(cache) / "images"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cloister" / "images"


FOLDER = images() / "debian-cloud"
KERNEL, INITRAMFS = FOLDER / "vmlinuz", FOLDER / "initramfs"
pytestmark = pytest.mark.skipif(
    not (KERNEL.is_file() and INITRAMFS.is_file()),
    reason=f"needs {KERNEL} and its initramfs; to enable: cloister images build debian-cloud",
)


@pytest.mark.parametrize("kaslr", [False, True])
def test_boots_to_init_and_panics_into_a_reset(kaslr: bool) -> None:
    """Without a first process the kernel panics, which asks for a reset: the whole way from
    unpacking the kernel to looking for that process works."""
    machine = Machine(
        memory=256 * MIB,
        entropy=HostEntropy(),
        append="console=ttyS0 panic=-1 rdinit=/none",
        kaslr=kaslr,
    )
    machine.board.load_linux(KERNEL.read_bytes(), INITRAMFS.read_bytes())
    assert machine.board.run().end is End.RESET
    machine.board.close()
    assert "Linux version 6" in machine.serial.text
    assert "Freeing initrd memory" in machine.serial.text
    assert "Kernel panic" in machine.serial.text
    assert ("Kernel Offset: disabled" in machine.serial.text) is not kaslr


def test_the_kernel_proper_boots_by_pvh() -> None:
    """What is packed in a bzImage is a vmlinux with Xen's note."""
    image = KERNEL.read_bytes()
    header = linux.parse_header(image)
    start = header.setup_size + header.payload_offset
    vmlinux = unpack(image[start : start + header.payload_length])
    assert vmlinux is not None
    machine = Machine(
        memory=256 * MIB,
        entropy=HostEntropy(),
        append="console=ttyS0 panic=-1 rdinit=/none",
    )
    machine.board.load_kernel(vmlinux, INITRAMFS.read_bytes())
    assert machine.board.run().end is End.RESET
    machine.board.close()
    assert "Booting paravirtualized kernel" in machine.serial.text
    assert "rdinit=/none" in machine.serial.text
    assert "ACPI: RSDP" in machine.serial.text
    assert "Freeing initrd memory" in machine.serial.text
    assert "Kernel panic" in machine.serial.text
