"""From a system's description to what init is told: machines become processes, names are resolved.

It does no input or output: the tools hand the result to init as its argument.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from servers.init.description import (
    DEVICE,
    FROM_INIT,
    INIT,
    INIT_OFFERS,
    MIB,
    SWITCH,
    Description,
    DescriptionError,
    DeviceEntry,
    Hold,
    NicEntry,
    Plan,
    ProcessEntry,
    ProcessPlan,
    VmEntry,
    parse_budget,
    parse_size,
)

_ETHERNET: Final = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,47}")
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
SWITCH_MEMORY: Final = "64MiB"
NIC_MEMORY: Final = 4 * MIB
MOST_NICS: Final = 8
DISPLAY_MEMORY: Final = "256MiB"
MAX_PROCESSES: Final = 256


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

    def told(process: ProcessEntry) -> dict[str, Any]:
        given = process.config.get("ports", {})
        return process.config | {"ports": ports.get(process.name, {}) | given}

    return _with(processes, switch(), SWITCH in ports, told)


def _with_display(description: Description, processes: list[ProcessEntry]) -> list[ProcessEntry]:
    """The processes, with a display server if a guest has a screen; it is told all labels."""
    labels = {vm.name: vm.label for vm in description.vm if vm.display}

    def told(process: ProcessEntry) -> dict[str, Any]:
        return {"labels": labels} | process.config

    return _with(processes, display(), bool(labels), told)


def _with(
    processes: list[ProcessEntry],
    entry: ProcessEntry,
    needed: bool,
    told: Callable[[ProcessEntry], dict[str, Any]],
) -> list[ProcessEntry]:
    """The processes, with one that is needed if none has its name; all of its program are told."""
    if needed and not any(process.name == entry.name for process in processes):
        processes = [*processes, entry]
    return [
        msgspec.structs.replace(process, config=told(process))
        if process.program == entry.program
        else process
        for process in processes
    ]


def display(viewers: Sequence[str] = ()) -> ProcessEntry:
    """A display server; ``viewers`` are the processes that show what it has to show."""
    return ProcessEntry(
        name=DISPLAY,
        program="servers.display",
        holds=[f"viewer={viewer}" for viewer in viewers],
        offers=[DISPLAY, "control"],
        memory=DISPLAY_MEMORY,
        label="services",
        priority=110,
    )


def switch(uplinks: Mapping[str, Sequence[str]] = MappingProxyType({})) -> ProcessEntry:
    """A switch; ``uplinks`` are the processes that lead to the outside, each with its segments."""
    config = {"uplinks": {name: {"segments": [*found]} for name, found in uplinks.items()}}
    return ProcessEntry(
        name=SWITCH,
        program="servers.switch",
        holds=[f"{name}={name}" for name in uplinks],
        offers=["port"],
        memory=SWITCH_MEMORY,
        label="services",
        priority=110,
        config=config,
    )


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
