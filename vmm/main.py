"""The VMM's program: one guest, its board and engine, and the services behind its devices.

Guest memory is a frame that this process alone maps; the kernel and the initial RAM disk are
devices that it may only read.  Whatever the guest does to its engine, it does in this sandbox.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from servers.runtime import Environment, Frame, NoDevice, ProcessFailed, ServiceError
from vmm import engine
from vmm.backends import Backends, Block, Drive, Firmware, Nic
from vmm.board import Board
from vmm.boot import BootError
from vmm.clock import Clock
from vmm.config import DiskConfig, NicConfig, VmConfig
from vmm.control import Control, LateImport, gdb_support
from vmm.engine.interface import EngineError, Registers
from vmm.memory import GuestMemory
from vmm.outcome import End, Outcome
from vmm.pacer import Pacer, PacerFactory, SlicePacer, ThreadPacer
from vmm.services import Disk, Services

if TYPE_CHECKING:
    from vmm.protected.disk import ProtectedDisk
    from vmm.screen import Screen


class Settings(msgspec.Struct, frozen=True):
    """This process's configuration, from a ``[[vm]]`` table."""

    memory: int
    append: str
    engine: str
    disks: list[DiskConfig]
    """``disk0``, ``disk1``, ..."""
    on_reboot: str
    tpm: Literal["", "2.0", "1.2"] = ""
    """The version of the guest's TPM, or empty."""
    tpm_interface: Literal["tis", "crb"] = "tis"
    tpm_interrupts: bool = False
    display: bool = False
    """Whether the guest has a screen."""
    apic: bool = False
    """Whether there are APICs."""
    nics: list[NicConfig] = []
    """Network adapters, plugged into ``net0``, ``net1``, ..."""
    bios: bool = False
    """Whether it starts from a BIOS."""
    bios_menu: bool = False
    """Whether the BIOS asks what to boot from."""


class Disassembler:
    """Loads the disassembler behind the guest's back.

    That takes as long as a good part of a boot, and is wanted only when a guest fails; so a thread
    does it a little later.  It begins before the right to open files is given up, and keeps it.
    """

    DELAY = 0.7
    """Seconds in which the guest has the processors to itself."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._load, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _load(self) -> None:
        self._wanted.wait(self.DELAY)
        importlib.import_module("capstone")
        importlib.import_module("vmm.disassemble")

    def describe(self, registers: Registers, memory: GuestMemory) -> str:
        """What a guest was doing that failed."""
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join()
        report = importlib.import_module("vmm.disassemble").report
        return str(report(registers, memory))


disassembler = Disassembler()
tpm_support = LateImport("vmm.tpm")
drives_support = LateImport("vmm.drives")
nics_support = LateImport("vmm.nics")
display_support = LateImport("vmm.display")
apic_support = LateImport("vmm.apic")
bios_support = LateImport("vmm.firmware")
protected_support = LateImport("vmm.protected.disk")
screen_support = LateImport("vmm.screen")


def prepare() -> None:
    """Load what must be read from files while that is allowed."""
    engine.prepare()
    disassembler.start()
    tpm_support.start()
    drives_support.start()
    nics_support.start()
    display_support.start()
    apic_support.start()
    bios_support.start()
    protected_support.start()
    screen_support.start()
    gdb_support.start()


def main(env: Environment) -> str:
    """Run the guest; the reason of the process's end is how the guest ended."""
    settings = env.config(Settings)
    try:
        services = Services(env, settings.disks, settings.tpm or None, settings.nics)
    except ServiceError as error:  # of a disk whose image is damaged
        raise ProcessFailed(str(error)) from None
    try:
        outcome = _run(env, settings, services)
    except (BootError, EngineError, ValueError) as error:
        raise ProcessFailed(str(error)) from None
    if outcome.report:
        services.output.write(outcome.report.replace("\n", "\r\n").encode() + b"\r\n")
    services.output.drain()
    if outcome.end in (End.POWER_OFF, End.STOPPED):
        return str(outcome.end.value)
    if outcome.end is End.RESET:
        raise ProcessFailed("the guest asked for a reset, as a kernel does that panics")
    raise ProcessFailed(outcome.report.partition("\n")[0])


def _run(env: Environment, settings: Settings, services: Services) -> Outcome:
    kvm = _kvm(env)
    config = VmConfig(
        memory=settings.memory,
        append=settings.append,
        engine=engine.choose(settings.engine, kvm),
        restart_on_reset=settings.on_reboot == "restart",
        tpm_interface=settings.tpm_interface,
        tpm_interrupts=settings.tpm_interrupts,
        apic=settings.apic,
    )
    if config.apic:
        apic_support.load()
    memory = GuestMemory(Frame.create(env.system, config.memory).map().view)
    if services.tpm is not None:
        tpm_support.load()
    protected = _protected(env, services, settings)
    blocks, drives = _disks(protected, settings)
    if drives:
        drives_support.load()
    screen = _screen(env) if settings.display else None
    backends = Backends(
        services.output,
        blocks,
        services.entropy,
        services.tpm,
        drives,
        screen,
        _firmware(env, settings) if settings.bios else None,
        _nics(services, settings),
    )
    changed = env.event()

    def idle(timeout: float | None) -> None:
        changed.wait(None if timeout is None else int(timeout * 1e9))

    board = Board(
        config,
        memory,
        backends,
        idle=idle,
        wake=changed.set,
        pacer=_pacer(env),
        describe=disassembler.describe,
        kvm=kvm,
    )
    load = board.load_bios if settings.bios else board.load_kernel
    load(_module(env, "kernel"), _module(env, "initrd"))
    services.serve(env, board.receive)
    for disk in protected:
        if not isinstance(disk, Disk):
            disk.start()
    env.thread(lambda own: own.serve(_control(own, board), on="vm"), "control")
    if screen is None:
        return board.run()
    screen.serve(env, board.refresh, board.happened)
    try:
        return board.run()
    finally:
        board.show()
        screen.drain()


def _screen(env: Environment) -> Screen:
    """The display server, as a backend."""
    display_support.load()
    screen_support.load()
    from vmm.screen import Screen

    return Screen(env)


class Log:
    """A file that takes what the firmware says."""

    MOST = 16 << 20
    """Octets; a guest may say any number."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self._room = self.MOST

    def write(self, data: bytes) -> None:
        data = data[: self._room]
        self._room -= len(data)
        while data:
            data = data[self._write(data) :]


def _firmware(env: Environment, settings: Settings) -> Firmware:
    bios_support.load()
    places = {"block": 0, "drive": 0}
    order: list[tuple[Literal["block", "drive"], int]] = []
    for disk in settings.disks:
        kind: Literal["block", "drive"] = "block" if disk.interface == "virtio" else "drive"
        order.append((kind, places[kind]))
        places[kind] += 1
    rom = _module(env, "linux-rom")
    log = Log(env.device("bios-log").access.write) if env.has("bios-log") else None
    return Firmware(
        bios=_module(env, "bios"),
        video=_module(env, "video-bios"),
        log=log,
        menu=settings.bios_menu,
        order=tuple(order),
        roms={"linuxboot.bin": rom} if rom else {},
    )


def _protected(
    env: Environment, services: Services, settings: Settings
) -> list[Disk | ProtectedDisk]:
    """The disks, wrapped where they are to be."""
    if not any(config.protected for config in settings.disks):
        return [*services.disks]
    protected_support.load()
    from vmm.protected.disk import ProtectedDisk

    return [
        ProtectedDisk(env, f"disk{i}", disk, config.encrypt, config.integrity, services.say)
        if config.protected
        else disk
        for i, (disk, config) in enumerate(zip(services.disks, settings.disks, strict=True))
    ]


def _disks(
    disks: Sequence[Block], settings: Settings
) -> tuple[tuple[Block, ...], tuple[Drive, ...]]:
    """Virtio disks, and those behind other interfaces."""
    blocks, drives = [], []
    for disk, config in zip(disks, settings.disks, strict=True):
        if config.interface == "virtio":
            blocks.append(disk)
        else:
            drives.append(Drive(disk, config.interface, config.cdrom))
    return tuple(blocks), tuple(drives)


def _nics(services: Services, settings: Settings) -> tuple[Nic, ...]:
    if settings.nics:
        nics_support.load()
    return tuple(
        Nic(link, bytes.fromhex(config.address.replace(":", "")), config.model)
        for link, config in zip(services.links, settings.nics, strict=True)
    )


def _kvm(env: Environment) -> int:
    """A descriptor of the host's processors, -1 if there is none."""
    if not env.has("kvm"):
        return -1
    try:
        return int(getattr(env.device("kvm").access, "fd", -1))  # the simulator has none
    except NoDevice:
        return -1


def _control(env: Environment, board: Board) -> Control:
    return Control(board, env, lambda registers: disassembler.describe(registers, board.memory))


def _module(env: Environment, name: str) -> bytes:
    """The contents of a boot module, empty if the guest has none."""
    if not env.has(name):
        return b""
    try:
        device = env.device(name, writable=False)
    except NoDevice:
        raise ProcessFailed(
            f"the guest's {name} cannot be read; if it is an image, 'cloister images list' "
            "says whether it is there"
        ) from None
    return device.access.read_at(0, device.size)


def _pacer(env: Environment) -> PacerFactory:
    if env.parallel:
        return ThreadPacer

    def slices(kick: Callable[[], None], clock: Clock) -> Pacer:
        return SlicePacer(kick, clock, env.clock)

    return slices
