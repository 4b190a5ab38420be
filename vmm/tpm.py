"""A TPM on the board: its interface, what ACPI says of it, and what is measured into it.

The board imports this for machines that have a TPM alone: others start faster without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.acpi import loader
from vmm.acpi import tpm as tables
from vmm.backends import Tpm
from vmm.boot import BootError
from vmm.boot.measure import LOG_AT, LOG_SIZE, measure
from vmm.bus import MmioBus
from vmm.config import VmConfig
from vmm.devices import IrqLine
from vmm.devices.tpm_crb import TpmCrb
from vmm.devices.tpm_tis import TpmTis
from vmm.devices.virtio.device import Post
from vmm.memory import GuestMemory

IRQ: Final = 6
"""The FIFO interface's interrupt, which used to be a floppy disk's.  Drivers of the command
response buffer poll."""


def attach(
    backend: Tpm, config: VmConfig, mmio: MmioBus, post: Post, line: Callable[[int], IrqLine]
) -> TpmCrb | TpmTis:
    """Put the interface that the configuration names on the bus."""
    crb = config.tpm_interface == "crb"
    device = TpmCrb(backend, post, line(IRQ)) if crb else TpmTis(backend, post, line(IRQ), IRQ)
    device.attach(mmio)
    return device


def acpi_tables(backend: Tpm, config: VmConfig) -> list[bytes]:
    """What is added to the board's tables."""
    irq = IRQ if config.tpm_interrupts and config.tpm_interface == "tis" else None
    return tables.tables(backend.version, config.tpm_interface, LOG_AT, LOG_SIZE, irq)


def log_area(backend: Tpm) -> loader.Area:
    """Where firmware that measures keeps its log, and the table that is to say so."""
    signature, at = (b"TPM2", 68) if backend.version == "2.0" else (b"TCPA", 42)
    return loader.Area("etc/tpm/log", LOG_SIZE, signature, at)


def launch(
    backend: Tpm, config: VmConfig, memory: GuestMemory, kernel: bytes, initrd: bytes
) -> None:
    """Reset the TPM, measure what is about to be started, and leave the log in guest memory."""
    if config.tpm_interface == "crb" and backend.version != "2.0":
        raise BootError("a TPM 1.2 has no command response buffer: its interface is tis")
    backend.reset()
    log = measure(backend, kernel, initrd, config.append, describe(config))
    memory.write(LOG_AT, log)


def describe(config: VmConfig) -> str:
    """The board, as PCR 1 knows it: what a change of would show in the guest."""
    return (
        f"memory={config.memory} cpu={config.cpu} engine={config.engine} "
        f"kaslr={int(config.kaslr)} tpm_interface={config.tpm_interface}"
    )
