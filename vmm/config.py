"""What a virtual machine is made of, as its owner describes it."""

from __future__ import annotations

from typing import Literal

import msgspec

MIB = 1 << 20
MIN_MEMORY = 4 * MIB
MAX_MEMORY = 64 << 30


class DiskConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the guest finds of a disk."""

    read_only: bool = False
    interface: Literal["virtio", "ide", "ahci"] = "virtio"
    cdrom: bool = False
    """A CD-ROM drive, not behind ``virtio``."""
    encrypt: bool = False
    """Whether nobody else can read it."""
    integrity: bool = False
    """Whether nobody else can change it."""

    @property
    def protected(self) -> bool:
        return self.encrypt or self.integrity


class NicConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network adapter."""

    address: str
    """Its Ethernet address, as ``02:00:00:00:00:01``."""
    model: Literal["virtio", "e1000"] = "virtio"
    port: int = 0
    """Which of the ports that its switch has for this machine."""


class VmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of one machine.  Immutable: a machine is rebuilt to change it."""

    memory: int = 256 * MIB
    """Guest RAM in bytes, a multiple of 4096."""

    append: str = ""
    """The kernel's command line."""

    engine: str = "soft"
    """The CPU engine: ``soft`` is the software engine."""

    cpu: str = "qemu64"
    """The CPU model that the engine shows; see ``vmm.engine.CPU_MODELS``."""

    kaslr: bool = False
    """Let a Linux kernel unpack itself, and so place itself at random, instead of unpacking it on
    the host, which starts it several hundred milliseconds earlier."""

    restart_on_reset: bool = False
    """Begin again when the guest asks for a reset, instead of ending the run."""

    apic: bool = False
    """Have a local and an I/O APIC.  Systems that need none start faster without: they measure its
    timer."""

    tpm_interface: Literal["tis", "crb"] = "tis"
    """The interface to the TPM, if the machine has one."""

    tpm_interrupts: bool = False
    """Tell the guest of the FIFO interface's interrupt.  Linux before 6.4 finds fault with any TPM
    that has one, and polls."""

    def __post_init__(self) -> None:
        if not MIN_MEMORY <= self.memory <= MAX_MEMORY or self.memory % 4096:
            raise ValueError(
                f"memory must be between 4 MiB and 64 GiB in steps of 4096 bytes, not {self.memory}"
            )
