"""System descriptions: what a system consists of, and who holds what.

A description is a TOML file (``images/systems/``).  This module is its schema, its checks, and the
expansion of ``[[vm]]`` tables into processes.  It does no input or output: the tools read the file
and hand the result to init as its argument.

Names of what a process holds::

    device:NAME             a device of this description
    [ALIAS=]PROCESS[.OFFER] a service; OFFER may be left out if the process has one
    [ALIAS=]init.scheduling what a scheduler needs: ``servers.init.interface.Scheduling``
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

MIB: Final = 1 << 20
MAX_PROCESSES: Final = 256
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
_ETHERNET: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,47}")
DEVICE: Final = "device:"
MOST_DRIVES: Final = {"virtio": 20, "ide": 4, "ahci": 8}
"""Disks of a virtual machine behind each interface."""
KVM: Final = "kvm"
"""The device of the host\'s processors, which is there where a guest may run on them."""
BIOS: Final = "image:seabios/bios.bin"
VIDEO_BIOS: Final = "image:seabios/vgabios.bin"
LINUX_ROM: Final = "image:seabios/linuxboot.bin"
"""What lets a BIOS start a Linux kernel."""
TPM_STATE: Final = "1MiB"
TPM_KEY: Final = "4KiB"
DISK_STORE: Final = "8MiB"
DISK_KEY: Final = "4KiB"
DISPLAY: Final = "display"
"""The display server's process, and its offer to guests."""
SWITCH: Final = "switch"
"""The switch's process."""
SWITCH_MEMORY: Final = "64MiB"
NIC_MEMORY: Final = 4 * MIB
MOST_NICS: Final = 8
DISPLAY_MEMORY: Final = "256MiB"
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


def expand(description: Description) -> tuple[list[ProcessEntry], list[DeviceEntry]]:
    """The processes and devices with those that ``[[vm]]`` tables stand for."""
    processes, devices = list(description.process), list(description.device)
    processes = _with_display(description, processes)
    processes = _with_switches(description, processes)
    if any(vm.engine != "soft" for vm in description.vm):
        devices.append(DeviceEntry(name=KVM, file=f"/dev/{KVM}", stream=True))
    for vm in description.vm:
        holds = ["console.console", "entropy=entropy"]
        for part, file in _files(vm).items():
            name = f"{vm.name}.{part}"
            log = part == "bios-log"
            devices.append(DeviceEntry(name=name, file=file, writable=log, stream=log))
            holds.append(f"{part}={DEVICE}{name}")
        if vm.engine != "soft":
            holds.append(f"{KVM}={DEVICE}{KVM}")
        holds += [f"disk{i}={disk.source}" for i, disk in enumerate(vm.disks)]
        for store in _disk_stores(vm):
            devices.append(store)
            holds.append(f"{store.name.removeprefix(vm.name)[1:]}={DEVICE}{store.name}")
        if vm.tpm:
            process, of_tpm = _tpm(vm)
            processes.append(process)
            devices += of_tpm
            holds += [f"tpm={process.name}.device", f"tpm-platform={process.name}.platform"]
        if vm.display:
            holds.append(f"{DISPLAY}={DISPLAY}.{DISPLAY}")
        nics = list(_nics(vm))
        holds += [f"net{i}={nic.to}" for i, (nic, _, _) in enumerate(nics)]
        memory = parse_size(vm.memory, f'[[vm]] "{vm.name}" memory')
        processes.append(
            ProcessEntry(
                name=vm.name,
                program="vmm",
                holds=holds,
                offers=["vm"],
                memory=str(memory + (160 if vm.display else 128) * MIB + len(nics) * NIC_MEMORY),
                label=vm.label,
                priority=80,
                budget=vm.budget,
                within=vm.within,
                restart="never",
                autostart=vm.autostart,
                executable=True,
                config={
                    "memory": memory,
                    "append": vm.append,
                    "engine": vm.engine,
                    "disks": _disks(vm),
                    "apic": vm.apic,
                    "bios": vm.bios,
                    "bios_menu": vm.bios_menu,
                    "on_reboot": vm.on_reboot,
                    "tpm": vm.tpm,
                    "tpm_interface": vm.tpm_interface,
                    "tpm_interrupts": vm.tpm_interrupts,
                    "display": vm.display,
                    "nics": [
                        {"address": address, "model": nic.model, "port": port}
                        for nic, port, address in nics
                    ],
                },
            )
        )
    return processes, devices


def _files(vm: VmEntry) -> dict[str, str]:
    """The files that a guest's VMM holds, by what they are to it; raises ``DescriptionError``."""
    where = f'[[vm]] "{vm.name}"'
    if not vm.kernel and not vm.bios:
        raise DescriptionError(f"{where} kernel: a guest has a kernel, or bios = true")
    if vm.initrd and not vm.kernel:
        raise DescriptionError(f"{where} initrd: it goes with a kernel")
    if (vm.bios_menu or vm.bios_log) and not vm.bios:
        raise DescriptionError(f"{where} bios_menu, bios_log: they go with bios = true")
    files = {"kernel": vm.kernel, "initrd": vm.initrd}
    if vm.bios:
        files |= {"bios": BIOS, "bios-log": vm.bios_log}
        files |= {"video-bios": VIDEO_BIOS} if vm.display else {}
        files |= {"linux-rom": LINUX_ROM} if vm.kernel else {}
    return {part: file for part, file in files.items() if file}


def _address(vm: VmEntry, number: int) -> str:
    """The Ethernet address of a virtual machine's adapter."""
    given = vm.network[number].address
    if given:
        if not _ETHERNET.fullmatch(given) or int(given[:2], 16) & 1:
            where = f'[[vm]] "{vm.name}" network address'
            raise DescriptionError(f"{where}: {given!r} is not one such as 02:00:00:00:00:01")
        return given.lower()
    digest = hashlib.sha256(f"{vm.name}/{number}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (2, *digest[:5]))  # locally administered


def _nics(vm: VmEntry) -> Iterator[tuple[NicEntry, int, str]]:
    """A virtual machine's adapters: which of its ports at the switch each has, and the address."""
    if len(vm.network) > MOST_NICS:
        raise DescriptionError(f'[[vm]] "{vm.name}" network: there is room for {MOST_NICS}')
    used: dict[str, int] = {}
    for number, nic in enumerate(vm.network):
        port = used[nic.to] = used.get(nic.to, -1) + 1
        yield nic, port, _address(vm, number)


def _with_switches(description: Description, processes: list[ProcessEntry]) -> list[ProcessEntry]:
    """The processes, with a switch if a guest is plugged into one; each is told its ports."""
    ports: dict[str, dict[str, list[dict[str, Any]]]] = {}
    addresses: set[str] = set()
    for vm in description.vm:
        for nic, _, address in _nics(vm):
            if address in addresses:
                where = f'[[vm]] "{vm.name}" network address'
                raise DescriptionError(f"{where}: {address} is another adapter's")
            addresses.add(address)
            port = {"segments": [nic.segment or vm.label], "addresses": [address]}
            ports.setdefault(nic.to, {}).setdefault(vm.name, []).append(port)
    if SWITCH in ports and not any(process.name == SWITCH for process in processes):
        processes.append(
            ProcessEntry(
                name=SWITCH,
                program="servers.switch",
                offers=["port"],
                memory=SWITCH_MEMORY,
                label="services",
                priority=110,
            )
        )
    return [
        msgspec.structs.replace(
            process,
            config=process.config
            | {"ports": ports.get(process.name, {}) | process.config.get("ports", {})},
        )
        if process.program == "servers.switch"
        else process
        for process in processes
    ]


def _with_display(description: Description, processes: list[ProcessEntry]) -> list[ProcessEntry]:
    """The processes, with a display server if a guest has a screen; it is told all labels."""
    labels = {vm.name: vm.label for vm in description.vm if vm.display}
    if labels and not any(process.name == DISPLAY for process in processes):
        processes.append(
            ProcessEntry(
                name=DISPLAY,
                program="servers.display",
                offers=[DISPLAY, "control"],
                memory=DISPLAY_MEMORY,
                label="services",
                priority=110,
            )
        )
    return [
        msgspec.structs.replace(process, config={"labels": labels} | process.config)
        if process.program == "servers.display"
        else process
        for process in processes
    ]


def _disks(vm: VmEntry) -> list[dict[str, Any]]:
    """What the VMM is told of its disks; raises ``DescriptionError``."""
    where = f'[[vm]] "{vm.name}" disks'
    for interface, most in MOST_DRIVES.items():
        if sum(disk.interface == interface for disk in vm.disks) > most:
            raise DescriptionError(f"{where}: {interface} has room for {most}")
    if any(disk.cdrom and disk.interface == "virtio" for disk in vm.disks):
        raise DescriptionError(f"{where}: a CD-ROM drive's interface is ide or ahci")
    return [
        {
            "read_only": disk.cdrom or not disk.writable,
            "interface": disk.interface,
            "cdrom": disk.cdrom,
            "encrypt": disk.encrypt,
            "integrity": disk.integrity,
        }
        for disk in vm.disks
    ]


def _disk_stores(vm: VmEntry) -> Iterator[DeviceEntry]:
    """The trusted store of each protected disk, and the store's key."""
    for number, disk in enumerate(vm.disks):
        if disk.encrypt or disk.integrity:
            name = f"{vm.name}.disk{number}"
            file = disk.store or f"state:{name}.store"
            yield DeviceEntry(name=f"{name}-store", file=file, size=DISK_STORE)
            yield DeviceEntry(name=f"{name}-key", file=f"{file}.key", size=DISK_KEY)


def _tpm(vm: VmEntry) -> tuple[ProcessEntry, list[DeviceEntry]]:
    """The process of a virtual machine's TPM, and where that keeps its state and key."""
    where = f'[[vm]] "{vm.name}" tpm_interface'
    if vm.tpm == "1.2" and vm.tpm_interface == "crb":
        raise DescriptionError(f"{where}: a TPM 1.2 has no interface but tis")
    file = vm.tpm_state or f"state:{vm.name}.tpm"
    devices = [
        DeviceEntry(name=f"{vm.name}.tpm-state", file=file, size=TPM_STATE),
        DeviceEntry(name=f"{vm.name}.tpm-key", file=f"{file}.key", size=TPM_KEY),
    ]
    process = ProcessEntry(
        name=f"{vm.name}-tpm",
        program="tpm",
        holds=[f"state={DEVICE}{devices[0].name}", f"key={DEVICE}{devices[1].name}"],
        offers=["device", "platform"],
        label=vm.label,
        priority=100,
        config={"version": vm.tpm},
    )
    return process, devices


def _unique(kind: str, names: list[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise DescriptionError(
                f"[[{kind}]] {name!r}: a name has letters, digits, '.', '_' and '-', at most 48"
            )
        if names.count(name) > 1:
            raise DescriptionError(f"[[{kind}]] {name!r}: the name is used twice")


def _resolve(
    text: str, holder: ProcessEntry, processes: list[ProcessEntry], devices: list[DeviceEntry]
) -> Hold:
    """What one entry of ``holds`` names."""
    where = f'[[process]] "{holder.name}" holds {text!r}'
    alias, equals, target = text.rpartition("=")
    if target.startswith(DEVICE):
        name = target.removeprefix(DEVICE)
        for device in devices:
            if device.name == name:
                return Hold(alias if equals else name, name, 0, 0, device.writable)
        raise DescriptionError(f"{where}: there is no [[device]] named {name!r}")
    owner, dot, offer = target.partition(".")
    if owner == INIT:
        if offer not in INIT_OFFERS[1:]:
            raise DescriptionError(f"{where}: init offers {', '.join(INIT_OFFERS[1:])}")
        return Hold(alias if equals else offer, "", FROM_INIT, INIT_OFFERS.index(offer), False)
    for index, process in enumerate(processes):
        if process.name != owner:
            continue
        if not dot and len(process.offers) != 1:
            raise DescriptionError(f"{where}: {owner!r} offers {process.offers}; say which one")
        chosen = offer if dot else process.offers[0]
        if chosen not in process.offers:
            raise DescriptionError(f"{where}: {owner!r} offers {process.offers}, not {chosen!r}")
        return Hold(alias if equals else chosen, "", index, process.offers.index(chosen), False)
    raise DescriptionError(f"{where}: there is no [[process]] named {owner!r}")


def _index(name: str, processes: list[ProcessEntry]) -> int:
    return next(i for i, process in enumerate(processes) if process.name == name)


def _together(processes: list[ProcessEntry]) -> list[ProcessEntry]:
    """With what those share that are in one address space; raises ``DescriptionError``."""
    known = {process.name: process for process in processes}
    for process in processes:
        where = f'[[process]] "{process.name}" within'
        if process.within and process.within not in known:
            raise DescriptionError(f"{where}: there is no [[process]] named {process.within!r}")
        if process.within and known[process.within].within:
            raise DescriptionError(f"{where}: {process.within!r} is itself within another")
    found = []
    for process in processes:
        others = [other for other in processes if other.within == process.name]
        if process.within:
            host = known[process.within]
            process = msgspec.structs.replace(process, label=host.label, priority=host.priority)
        elif others:
            sizes = [
                parse_size(each.memory, f'[[process]] "{each.name}" memory')
                for each in (process, *others)
            ]
            executable = any(each.executable for each in (process, *others))
            process = msgspec.structs.replace(
                process, memory=str(sum(sizes)), executable=executable, autostart=True
            )
        found.append(process)
    return found


def _config(process: ProcessEntry) -> bytes:
    try:
        return msgspec.msgpack.encode(process.config)
    except (OverflowError, RecursionError):
        where = f'[[process]] "{process.name}" config'
        raise DescriptionError(
            f"{where}: a number is too large, or a table nested too deeply"
        ) from None


def plan(description: Description) -> tuple[Plan, list[DeviceEntry]]:
    """Resolve all names; raises ``DescriptionError``.  Also returns the devices to boot with."""
    processes, devices = expand(description)
    _unique("process", [process.name for process in processes])
    _unique("device", [device.name for device in devices])
    if len(processes) > MAX_PROCESSES:
        raise DescriptionError(f"{len(processes)} processes, at most {MAX_PROCESSES} are possible")
    processes = _together(processes)
    labels = ["init"]
    for process in processes:
        if process.label not in labels:
            labels.append(process.label)
        if not 0 <= process.priority <= 190:
            raise DescriptionError(f'[[process]] "{process.name}" priority: 0 to 190')
    weights = {vm.name: vm.weight for vm in description.vm}
    for name, weight in weights.items():
        if not 1 <= weight <= 65_535:
            raise DescriptionError(f'[[vm]] "{name}" weight: 1 to 65535')
    plans = []
    allowed = {(0, number) for number in range(1, len(labels))}
    for process in processes:
        holds = [_resolve(text, process, processes, devices) for text in process.holds]
        mine = labels.index(process.label)
        for hold in holds:
            if not hold.device and hold.process != FROM_INIT:
                other = labels.index(processes[hold.process].label)
                if mine != other:
                    allowed.add((min(mine, other), max(mine, other)))
        plans.append(
            ProcessPlan(
                name=process.name,
                program=process.program,
                holds=holds,
                offers=process.offers,
                memory=parse_size(process.memory, f'[[process]] "{process.name}" memory'),
                label=mine,
                priority=process.priority,
                restart=process.restart,
                autostart=process.autostart,
                executable=process.executable,
                config=_config(process),
                vm=process.name in weights,
                budget=parse_budget(process.budget, f'[[process]] "{process.name}" budget'),
                weight=weights.get(process.name, 0),
                within=_index(process.within or process.name, processes),
            )
        )
    return Plan(description.name, plans, labels, sorted(allowed)), devices
