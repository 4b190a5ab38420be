"""``cloister boot``: one guest in the default system, its console on standard input and output."""

from __future__ import annotations

import argparse
import fcntl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from images import cache
from kernel.abi import FOREVER
from servers.display.interface import DisplayControl
from servers.init.description import (
    DEVICE,
    DescriptionError,
    DeviceEntry,
    NicEntry,
    ProcessEntry,
    VmEntry,
    parse_size,
)
from servers.init.planning import BIOS, display, switch
from servers.runtime import KernelError, ServiceError, TimedOut
from tools import disks, screens
from tools import system as systems
from tools.arguments import add_weak
from tools.console import ENDED, attend
from tools.errors import UserError
from tools.gdb import DEFAULT_PORT, Bridge
from tools.manufacture import certify_guest
from vmm.interface import Vm
from vmm.outcome import End

GUEST = "guest"
_ANSWER: Final = 5_000_000_000
"""Nanoseconds in which a guest's monitor answers a debugger."""
SYSTEM = "boot"
TPM_NAME = "tpm-{version}-{number}"
"""The state of a guest's TPM, in this system's state folder."""
MOST_TPMS = 16


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel",
        metavar="K",
        help="a bzImage, a multiboot or PVH kernel, or guest:NAME (or else --bios)",
    )
    parser.add_argument("--initrd", metavar="I", help="initial RAM disk")
    parser.add_argument("--append", default="", metavar="A", help="the kernel's command line")
    parser.add_argument(
        "--memory", default="256M", metavar="SIZE", help="guest memory (default 256M)"
    )
    parser.add_argument(
        "--disk",
        action="append",
        default=[],
        metavar="F[:OPTION]...",
        help="a disk image, raw or qcow2; may be repeated.  Options: ro, to read alone; ide, ahci "
        "or virtio (default), what it is behind; raw or qcow2, if the header is not to be asked; "
        "overlay=G, to write into G instead, which is made if it is not there; encrypt and "
        "integrity, so that only the guest's own VMM can read it, and change it",
    )
    parser.add_argument(
        "--cdrom",
        action="append",
        default=[],
        metavar="F",
        help="an image of a disc, in a CD-ROM drive behind IDE; may be repeated",
    )
    parser.add_argument(
        "--apic", action="store_true", help="give the guest a local APIC and an I/O APIC"
    )
    parser.add_argument(
        "--bios",
        action="store_true",
        help="start from a BIOS, which boots from the disks in their order, or starts the kernel",
    )
    parser.add_argument(
        "--bios-menu", action="store_true", help="have the BIOS ask what to boot from"
    )
    parser.add_argument(
        "--bios-log", metavar="F", help="a file for what the BIOS says for developers"
    )
    parser.add_argument(
        "--net",
        nargs="?",
        const="virtio",
        choices=("virtio", "e1000"),
        help="give the guest a network adapter (default virtio), plugged into a switch",
    )
    parser.add_argument(
        "--net-listen",
        type=int,
        metavar="PORT",
        help="let a QEMU with -netdev socket,connect=127.0.0.1:PORT be plugged into that switch",
    )
    parser.add_argument("--tpm", choices=("2.0", "1.2"), default="", help="give the guest a TPM")
    parser.add_argument(
        "--tpm-interface", choices=("tis", "crb"), default="tis", help="how it is reached"
    )
    parser.add_argument(
        "--tpm-state",
        metavar="F",
        help="the file of the TPM's state, with its key in F.key; made if it is not there "
        "(default: of this user's own, the first that no other guest is using)",
    )
    parser.add_argument(
        "--tpm-certificates",
        nargs="?",
        const="",
        metavar="KEY,CERTIFICATE",
        help="give a TPM 2.0 that has none endorsement keys with certificates, issued by this "
        "authority, two PEM files (default: this user's own)",
    )
    parser.set_defaults(tpm_number=0)
    parser.add_argument(
        "--gdb",
        nargs="?",
        type=int,
        const=DEFAULT_PORT,
        metavar="PORT",
        help=f"let a debugger connect to PORT on loopback (default {DEFAULT_PORT}); the guest "
        "stops when it does",
    )
    screens.configure(parser)
    parser.add_argument("--timeout", type=float, metavar="S", help="give up after S seconds")
    parser.add_argument(
        "--engine",
        choices=("auto", "soft", "kvm"),
        default="auto",
        help="the CPU engine: auto is kvm where that is quick, else soft",
    )
    add_weak(parser)


def _existing(path: str, what: str) -> str:
    """The absolute path of a file that can be read, or one sentence."""
    if path.startswith("guest:"):
        return path
    if path.startswith("image:"):
        if not (cache.folder() / "images" / path.removeprefix("image:")).is_file():
            raise UserError(f"there is no {path} in the cache; see: cloister images list")
        return path
    found = Path(path)
    if not found.is_file():
        raise UserError(
            f"the {what} {path} does not exist" if not found.exists() else f"{path} is not a file"
        )
    try:
        with found.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"cannot read the {what} {path}: {error.strerror}") from None
    return str(found.resolve())


def _check_bios(args: argparse.Namespace) -> None:
    """Raise ``UserError`` for options of a BIOS that do not fit."""
    if not args.bios:
        if not args.kernel:
            raise UserError("boot needs a --kernel, or --bios", 2)
        if args.bios_menu or args.bios_log:
            raise UserError("--bios-menu and --bios-log go with --bios", 2)
    elif not (cache.folder() / "images" / BIOS.removeprefix("image:")).is_file():
        raise UserError(
            "there is no BIOS in the cache; make it with: cloister images fetch seabios"
        )
    elif args.initrd and not args.kernel:
        raise UserError("--initrd goes with --kernel", 2)


def _log(path: str) -> str:
    """An empty file to write to; its absolute path."""
    try:
        Path(path).write_bytes(b"")
    except OSError as error:
        raise UserError(f"cannot write the log {path}: {error.strerror}") from None
    return str(Path(path).resolve())


def _tpm_state(args: argparse.Namespace) -> str:
    """Where the TPM's state is, as a device's file."""
    if not args.tpm:
        for option in ("tpm_state", "tpm_certificates"):
            if getattr(args, option) is not None:
                raise UserError(f"--{option.replace('_', '-')} goes with --tpm", 2)
        return ""
    if args.tpm_certificates is not None and args.tpm == "1.2":
        raise UserError("--tpm-certificates is for a TPM 2.0", 2)
    if args.tpm_interface == "crb" and args.tpm == "1.2":
        raise UserError("a TPM 1.2 has no interface but tis", 2)
    if args.tpm_state:
        if not Path(args.tpm_state).absolute().parent.is_dir():
            raise UserError(f"the folder of --tpm-state {args.tpm_state} does not exist")
        return str(Path(args.tpm_state).absolute())
    return f"state:{TPM_NAME.format(version=args.tpm, number=args.tpm_number)}"


def _tpm_file(args: argparse.Namespace) -> str:
    """The file behind the device of the TPM's state, in a folder that exists."""
    if args.tpm_state:
        return str(Path(args.tpm_state).absolute())
    folder = systems.state_folder(SYSTEM)
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / TPM_NAME.format(version=args.tpm, number=args.tpm_number))


def _in_use(path: Path) -> bool:
    """Whether a running system holds a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _boot(args: argparse.Namespace) -> systems.System:
    """Boot the guest, with a TPM's state that no other guest is using."""
    for args.tpm_number in range(MOST_TPMS):
        try:
            source = describe(args)
            if args.tpm_certificates is not None:
                certify_guest(_tpm_file(args), args.tpm_certificates)
            return systems.boot(source, weak=args.allow_weak_isolation)
        except UserError:
            name = TPM_NAME.format(version=args.tpm, number=args.tpm_number)
            if not args.tpm or args.tpm_state or not _in_use(systems.state_folder(SYSTEM) / name):
                raise
    raise UserError(f"{MOST_TPMS} guests with a TPM are running already; give this one --tpm-state")


def _device(hold: str) -> str:
    """The device that an entry of ``holds`` names, or an empty string."""
    target = hold.rpartition("=")[2]
    return target.removeprefix(DEVICE) if target.startswith(DEVICE) else ""


def describe(args: argparse.Namespace) -> systems.Source:
    """The default system with this guest in place of its guests and disks."""
    base = systems.load("default")
    drives = [disks.parse_disk(argument) for argument in args.disk]
    drives += [disks.Wanted(path, False, "ide", "raw", cdrom=True) for path in args.cdrom]
    attached = disks.expand(drives)
    _check_bios(args)
    guest = VmEntry(
        name=GUEST,
        kernel=_existing(args.kernel, "kernel") if args.kernel else "",
        apic=args.apic,
        bios=args.bios,
        bios_menu=args.bios_menu,
        bios_log=_log(args.bios_log) if args.bios_log else "",
        initrd=_existing(args.initrd, "initial RAM disk") if args.initrd else "",
        append=args.append,
        memory=args.memory,
        engine=args.engine,
        disks=attached.disks,
        tpm=args.tpm,
        tpm_interface=args.tpm_interface,
        tpm_state=_tpm_state(args),
        display=screens.wanted(args),
        network=[NicEntry(model=args.net)] if args.net else [],
        autostart=True,
        on_reboot="restart" if args.bios else "stop",
    )
    try:
        parse_size(args.memory, "--memory")
    except DescriptionError as error:
        raise UserError(str(error), 2) from None
    # Guests booted side by side share no file: what the default system keeps on disk is left out.
    shared = {d.name for d in base.description.device if d.file.startswith("state:")}
    kept = [
        msgspec.structs.replace(p, holds=[h for h in p.holds if _device(h) not in shared])
        for p in base.description.process
        if p.program != "drivers.block"
    ]
    outside, driver = _uplink(args)
    kept += driver
    wanted = {_device(hold) for process in kept for hold in process.holds}
    sockets, viewers = screens.viewers(args)
    if viewers:
        kept.append(display([screens.VIEWER]))
    description = msgspec.structs.replace(
        base.description,
        name=SYSTEM,
        device=[d for d in base.description.device if d.name in wanted]
        + attached.devices
        + sockets
        + outside,
        process=kept + viewers + attached.processes,
        vm=[guest],
    )
    return systems.Source(description, base.folder)


def _uplink(args: argparse.Namespace) -> tuple[list[DeviceEntry], list[ProcessEntry]]:
    """The socket of a network's outside, its driver, and a switch that is plugged into that."""
    if args.net_listen is None:
        return [], []
    if not args.net:
        raise UserError("--net-listen goes with --net", 2)
    socket = DeviceEntry(name="uplink", file=f"listen:{args.net_listen}", stream=True)
    driver = ProcessEntry(
        name="uplink",
        program="drivers.net",
        holds=[f"socket={DEVICE}uplink"],
        offers=["link"],
        label="drivers",
        priority=120,
    )
    return [socket], [driver, switch({driver.name: ["guests"]})]


@contextmanager
def _debugger(system: systems.System, port: int | None) -> Iterator[Callable[[], None] | None]:
    """What is to be done again and again for a debugger; None without one."""
    if port is None:
        yield None
        return
    # A guest that ends at this moment answers no more, and nobody comes after it who would.
    with Bridge(system.open(Vm, f"{GUEST}.vm", _ANSWER), port) as bridge:
        print(f"cloister: gdb -ex 'target remote :{bridge.port}'", file=sys.stderr)

        def pump() -> None:
            with suppress(KernelError, ServiceError):  # it has just ended
                bridge.pump(0)

        yield pump


def _screenshot(system: systems.System, args: argparse.Namespace) -> None:
    """Write what the guest's screen shows, or showed last."""
    try:
        screens.save(system.open(DisplayControl, screens.CONTROL), GUEST, Path(args.screenshot))
    except (KernelError, ServiceError) as error:
        raise UserError(f"there is no screenshot: {error}") from None


def run(args: argparse.Namespace) -> int:
    screens.check(args)
    with _boot(args) as system:
        if args.vnc is not None:
            print(f"cloister: vncviewer 127.0.0.1::{args.vnc}", file=sys.stderr)
        return _attend(system, args)


def _attend(system: systems.System, args: argparse.Namespace) -> int:
    """Let the guest have the terminal until it ends."""
    timeout = FOREVER if args.timeout is None else int(args.timeout * 1e9)
    jobs: list[Callable[[], None]] = []
    later = None
    if args.screenshot_after is not None:
        later = screens.Later(args.screenshot_after, lambda: _screenshot(system, args))
        jobs.append(later)

    def meanwhile() -> None:
        for job in jobs:
            job()

    try:
        with _debugger(system, args.gdb) as pump:
            if pump is not None:
                jobs.append(pump)
            how = attend(system, GUEST, timeout, meanwhile=meanwhile if jobs else None)
    except TimedOut:
        how = None
    ended = system.control.wait(GUEST) if how == ENDED else ""
    failed = how == ENDED and ended != End.POWER_OFF.value
    if args.screenshot and (later is None or not later.done):
        try:
            _screenshot(system, args)
        except UserError as error:
            if not failed:
                raise
            print(f"cloister: {error}", file=sys.stderr)
    if how is None:
        raise UserError(f"the guest was still running after {args.timeout:g} s")
    if how != ENDED:
        print("\ncloister: the guest was given up", file=sys.stderr)
    elif failed:
        raise UserError(ended if ended else "the guest's VMM ended without a reason")
    return 0
