"""System descriptions: what a system consists of, and who holds what.

A description is a TOML file (``images/systems/``), which the tools read.  This module is its
schema, and that of the plan that ``servers.init.planning`` makes of it: init's argument.

Names of what a process holds::

    device:NAME             a device of this description
    [ALIAS=]PROCESS[.OFFER] a service; OFFER may be left out if the process has one
    [ALIAS=]init.scheduling what a scheduler needs: ``servers.init.interface.Scheduling``
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

MIB: Final = 1 << 20
_UNITS: Final = {
    "": 1,
    "B": 1,
    "KiB": 1 << 10,
    "MiB": MIB,
    "GiB": 1 << 30,
    "K": 1 << 10,
    "M": MIB,
    "G": 1 << 30,
}
_SIZE: Final = re.compile(r"([0-9]{1,15})\s*([A-Za-z]*)")
LARGEST: Final = 1 << 50
"""Bytes of a size at most."""
_BUDGET: Final = re.compile(r"([0-9]{1,9})\s*(us|ms)\s*/\s*([0-9]{1,9})\s*(us|ms)")
DEVICE: Final = "device:"
SWITCH: Final = "switch"
"""The switch's process."""
INIT: Final = "init"
INIT_OFFERS: Final = ["operator", "scheduling"]
"""What init itself offers; the first is for the person's tools alone."""
FROM_INIT: Final = -1
"""In place of a process's index."""


Restart = Literal["always", "on-failure", "never"]


_LONGEST: Final = 400
"""Characters of what is wrong with a description at most: it repeats what is written there."""


class DescriptionError(ValueError):
    """The description is wrong; the text names the key and what is expected, in one line."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST - 3]}..."
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


def parse_size(text: str, where: str) -> int:
    """Bytes from ``"64MiB"``, ``"256M"`` and the like."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match.group(2) not in _UNITS:
        raise DescriptionError(f'{where}: {text!r} is not a size such as "64MiB"')
    size = int(match.group(1)) * _UNITS[match.group(2)]
    if size > LARGEST:
        raise DescriptionError(f"{where}: {text!r} is more than {LARGEST >> 40} TiB")
    return size


def parse_budget(text: str, where: str) -> int:
    """The value of ``ThreadOp.BUDGET`` from ``"20ms/100ms"`` and the like; 0 from nothing."""
    if not text:
        return 0
    match = _BUDGET.fullmatch(text.strip())
    if match is None:
        raise DescriptionError(f'{where}: {text!r} is not a budget such as "20ms/100ms"')
    scale = {"us": 1, "ms": 1000}
    budget, period = (int(match.group(i)) * scale[match.group(i + 1)] for i in (1, 3))
    if not 1000 <= budget <= period <= 10_000_000:
        raise DescriptionError(
            f"{where}: a budget is at least 1ms and at most its period, a period at most 10000ms"
        )
    return budget << 32 | period


class DeviceEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """``[[device]]``: a resource of the host that the system is given at boot."""

    name: str
    file: str
    """A host path, or ``state:NAME`` (in the system's state folder), ``image:NAME`` (in the image
    cache), ``stdin:``, ``stdout:``, or ``listen:PORT`` (a socket on loopback)."""
    size: str = "0"
    """If the file does not exist, it is created with this many bytes; 0: it must exist."""
    writable: bool = True
    stream: bool = False
    """Read in order and waited for, not at offsets."""


class ProcessEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """``[[process]]``: a program in an address space of its own."""

    name: str
    program: str
    """The package whose ``main`` module is run."""
    holds: list[str] = []
    offers: list[str] = []
    memory: str = "64MiB"
    """The quota for all that it causes to exist."""
    label: str = "system"
    priority: int = 100
    budget: str = ""
    """How much CPU time it may use in each period, as ``"20ms/100ms"``; empty for no limit."""
    restart: Restart = "always"
    autostart: bool = True
    executable: bool = False
    """Whether it may make memory executable (a just-in-time compiler)."""
    config: dict[str, Any] = {}
    within: str = ""
    """The process in whose address space it runs, with everything that is there; empty for one of
    its own.  It starts and ends with that, and has its label, priority and budget."""


class DiskEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One of a virtual machine's disks: a block service."""

    source: str = msgspec.field(name="from")
    writable: bool = True
    interface: Literal["virtio", "ide", "ahci"] = "virtio"
    """What the guest finds it behind."""
    cdrom: bool = False
    """It is a disc in a CD-ROM drive, behind ``ide`` or ``ahci``."""
    encrypt: bool = False
    """Whether the VMM encrypts it, so that nobody else can read it."""
    integrity: bool = False
    """Whether the VMM checks what it reads, so that nobody else can change it."""
    store: str = ""
    """Where what makes either possible is kept, which the VMM alone has: a file as of a device,
    the key beside it, in ``.key``.  Empty for ``state:`` and the disk's name with ``.store``."""


class NicEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One of a virtual machine's network adapters."""

    to: str = SWITCH
    """The switch that it is plugged into; the process ``switch`` is added if there is none."""
    model: Literal["virtio", "e1000"] = "virtio"
    """What the guest finds."""
    address: str = ""
    """Its Ethernet address, from which alone it may send; empty for one made of the names."""
    segment: str = ""
    """The part of the switch that it is in; empty for the virtual machine's label."""


class VmEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """``[[vm]]``: a guest, which becomes a VMM process."""

    name: str
    kernel: str = ""
    """A file, ``image:NAME`` or ``guest:NAME`` (a guest of our own)."""
    initrd: str = ""
    append: str = ""
    memory: str = "256MiB"
    engine: Literal["auto", "soft", "kvm"] = "auto"
    disks: list[DiskEntry] = []
    apic: bool = False
    """Whether it has APICs beside the older interrupt controllers."""
    bios: bool = False
    """Whether it starts from a BIOS, which boots from its disks, or starts the kernel."""
    bios_menu: bool = False
    """Whether the BIOS asks what to boot from."""
    bios_log: str = ""
    """A file for what the BIOS says for developers; it must exist."""
    network: list[NicEntry] = []
    """Its network adapters."""
    tpm: Literal["", "2.0", "1.2"] = ""
    """The version of its TPM, which becomes a process of its own; empty for none."""
    tpm_interface: Literal["tis", "crb"] = "tis"
    tpm_interrupts: bool = False
    """Whether the guest is told of the TPM's interrupt: for Linux from 6.4 on."""
    tpm_state: str = ""
    """Where the TPM's state is kept, as of a device; the key is beside it, in ``.key``.  Empty for
    ``state:`` and the name with ``.tpm``."""
    display: bool = False
    """Whether it has a screen, keyboard and mouse, at the process ``display``, which is added if
    the description has none."""
    label: str = "guests"
    weight: int = 256
    """Its share of the CPU time that virtual machines compete for, if there is a scheduler."""
    budget: str = ""
    """How much CPU time it may use in each period, as of a process."""
    autostart: bool = False
    on_reboot: Literal["restart", "stop"] = "restart"
    within: str = ""
    """As of a process."""


class Description(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A whole system."""

    name: str
    device: list[DeviceEntry] = []
    process: list[ProcessEntry] = []
    vm: list[VmEntry] = []


class Hold(msgspec.Struct, array_like=True, frozen=True):
    """One capability that a process is to hold."""

    name: str
    """Under which the process knows it."""
    device: str
    """The device, or empty for a service."""
    process: int
    """Index of the serving process, or ``FROM_INIT``."""
    offer: int
    """Index of the offer among those of that process."""
    writable: bool
    """Whether a device may be written."""


class ProcessPlan(msgspec.Struct, array_like=True, frozen=True):
    """What init needs to know to create a process."""

    name: str
    program: str
    holds: list[Hold]
    offers: list[str]
    memory: int
    label: int
    priority: int
    restart: Restart
    autostart: bool
    executable: bool
    config: bytes
    vm: bool
    budget: int
    """The value of ``ThreadOp.BUDGET``, 0 for no limit."""
    weight: int
    """Of a virtual machine."""
    within: int
    """Index of the process whose address space it is in: its own, unless it has none."""


class Plan(msgspec.Struct, array_like=True, frozen=True):
    """Init's argument: a checked description with all names resolved."""

    name: str
    processes: list[ProcessPlan]
    labels: list[str]
    """Label number -> name; 0 is init's."""
    allowed: list[tuple[int, int]]
    """Pairs of labels that may talk."""


def parse(text: str) -> Description:
    """Read a description's text; raises ``DescriptionError`` that names the key or the line."""
    import tomllib  # for the tools: init gets a plan

    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise DescriptionError("not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # beside its own, that of a number with thousands of digits
        raise DescriptionError(f"not valid TOML: {error}") from None
    return decode(table)


def decode(table: dict[str, Any]) -> Description:
    """Check the form of a parsed TOML table; raises ``DescriptionError`` that names the key."""
    try:
        return msgspec.convert(table, Description)
    except msgspec.ValidationError as error:
        raise DescriptionError(_explain(str(error), table)) from None
    except RecursionError:
        raise DescriptionError("a table is nested too deeply") from None


def _explain(text: str, table: dict[str, Any]) -> str:
    """The decoder's message with the table's own words: ``[[process]] "block0": ...``."""
    message, at, path = text.rpartition(" - at `$")
    if not at:
        return text
    match = re.match(r"\.(\w+)\[(\d+|\.\.\.)\]\.?(.*?)`?$", path)
    if not match:
        key = path.strip("`.")
        return f"{key}: {message}" if key else message
    kind, index, rest = match.groups()
    name = ""
    entries = table.get(kind)  # if a key looks like a place, there may be nothing there
    if index.isdigit() and isinstance(entries, list) and int(index) < len(entries):
        entry = entries[int(index)]
        if isinstance(entry, dict) and "name" in entry:
            name = f' "{entry["name"]}"'
    return f"[[{kind}]]{name}{' ' + rest if rest else ''}: {message}"
