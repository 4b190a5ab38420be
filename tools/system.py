"""A running system as the tools hold it: booted from a description, reached as its operator.

    with boot(load("default")) as system:
        print(system.control.processes())

The host machine is a process of its own that this starts; the sim machine runs in this process.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgpack
import msgspec

from kernel.abi import FOREVER, DebugOp
from kernel.machine.config import OPERATOR, BootConfig, DeviceConfig
from servers.init.description import (
    Description,
    DescriptionError,
    DeviceEntry,
    parse,
    parse_size,
)
from servers.init.interface import Control
from servers.init.planning import plan
from servers.runtime import Interface
from servers.runtime.channel import Channel
from servers.runtime.client import client
from servers.runtime.syscalls import Syscalls
from tools import bytecode
from tools.errors import UserError

if TYPE_CHECKING:
    from servers.runtime.host import HostChannel

ROOT: Final = Path(__file__).resolve().parent.parent
SYSTEMS: Final = ROOT / "images" / "systems"
_ENTRY: Final = "servers.init"
_MEMORY: Final = 8 << 30
_KVM: Final = Path("/dev/kvm")
"""A device that a host, or this user, may do without."""
_START_TIMEOUT: Final = 30.0
_HEAP: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}
"""Has the C library keep freed memory: in the kernel, a message's buffer comes and goes."""

S = TypeVar("S", bound=Interface)


@dataclass(frozen=True)
class Source:
    """A description and the folder that its relative files are in."""

    description: Description
    folder: Path


def load(name: str) -> Source:
    """Read a description: a file, or the name of one in ``images/systems``."""
    path = Path(name)
    if path.suffix != ".toml" and not path.exists():
        path = SYSTEMS / f"{name}.toml"
        if not path.exists():
            known = ", ".join(sorted(found.stem for found in SYSTEMS.glob("*.toml")))
            raise UserError(f"there is no system {name!r}; known are {known}, or give a .toml file")
    try:
        return Source(parse(path.read_text(encoding="utf-8")), path.resolve().parent)
    except FileNotFoundError:
        raise UserError(f"the system description {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the system description {path}: {error}") from None
    except DescriptionError as error:
        raise UserError(f"{path}: {error}") from None


def state_folder(system: str) -> Path:
    """Where a system keeps its disks and logs."""
    base = os.environ.get("CLOISTER_STATE") or os.path.join(
        os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "cloister"
    )
    return Path(base) / system


def _file(entry: DeviceEntry, source: Source) -> DeviceConfig:
    """Where the contents of a device come from on this host."""
    from images import cache  # with the other slow imports, only for those who boot

    size = parse_size(entry.size, f'[[device]] "{entry.name}" size')
    config = DeviceConfig(entry.name, writable=entry.writable, size=size, stream=entry.stream)
    scheme, colon, rest = entry.file.partition(":")
    if not colon:
        path = source.folder / entry.file
        if path == _KVM and not os.access(path, os.R_OK | os.W_OK):
            return config
        if not size and not path.exists():
            raise UserError(f'[[device]] "{entry.name}" file: {path} does not exist')
        return config._replace(path=str(path))
    if scheme in ("stdin", "stdout"):
        return config._replace(fd=0 if scheme == "stdin" else 1)
    if scheme == "state":
        folder = state_folder(source.description.name)
        folder.mkdir(parents=True, exist_ok=True)
        return config._replace(path=str(folder / rest))
    if scheme == "listen":
        return config._replace(path=entry.file, stream=True, size=0)
    if scheme == "image":
        return config._replace(path=str(cache.folder() / "images" / rest))
    if scheme == "guest":
        from tools.images import guest

        return config._replace(path=str(guest(rest)))
    raise UserError(
        f'[[device]] "{entry.name}" file: {scheme!r} is none of state, image, guest, '
        "listen, stdin, stdout"
    )


def import_path() -> list[str]:
    """The import path of user-mode programs: the code, and the installed packages."""
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return [str(ROOT), *sorted(packages)]


def config(source: Source) -> BootConfig:
    """What a machine is booted with for a description."""
    try:
        resolved, devices = plan(source.description)
    except DescriptionError as error:
        raise UserError(f"system {source.description.name}: {error}") from None
    return BootConfig(
        entry=_ENTRY,
        argument=msgspec.msgpack.encode(resolved),
        memory=_MEMORY,
        devices=[_file(device, source) for device in devices],
    )


class System:
    """A booted system; the tools are its operator."""

    def __init__(self, channel: Channel, slots: dict[str, int]) -> None:
        self.calls = Syscalls(channel)
        self._slots = slots
        self.control: Control = client(Control, self.calls, slots[OPERATOR])

    def open(self, interface: type[S], offer: str, timeout: int = FOREVER) -> S:
        """A client of an offer, ``process`` or ``process.offer``; ``timeout`` in ns a call."""
        return client(interface, self.calls, self.control.connect(offer).slot, timeout)

    def debug(self, operation: DebugOp, start: int = 0) -> Iterator[list[Any]]:
        """The rows of a report of the kernel, from ``start`` on."""
        while True:
            rows, start = self.calls.debug(self._slots["debug"], operation, start)
            yield from msgpack.unpackb(rows)
            if not start:
                return

    def close(self) -> None:
        """End the system and everything in it."""

    def __enter__(self) -> System:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class HostSystem(System):
    """A system on the host machine."""

    def __init__(
        self,
        slots: dict[str, int],
        descriptors: list[int],
        notices: socket.socket,
        kernel: subprocess.Popen[bytes],
    ) -> None:
        from servers.runtime.host import operator_channel

        self._kernel, self._notices = kernel, notices
        self._channel: HostChannel | None = operator_channel(
            descriptors[0], descriptors[1], notices, self._why
        )
        super().__init__(self._channel, slots)
        self.pid = kernel.pid

    def _why(self) -> str:
        """Why the kernel is gone, in words."""
        said = _last_words(self._kernel)
        missing = _what_is_missing() if "(not_started)" in said else ""
        return missing or f"the system ended: {said or 'its kernel is gone'}"

    def close(self) -> None:
        """Hang up; the kernel ends every process and then itself."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        try:
            self._kernel.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._kernel.kill()
            self._kernel.wait()
        self._notices.close()


def boot_host(boot_config: BootConfig, weak: bool = False) -> HostSystem:
    """Start the kernel's process and boot it; ``weak``: without the layers this host lacks."""
    from tools.isolation import LackingLayers, layers, prepared

    bytecode.refresh(ROOT)
    try:
        boot_config, descriptors = prepared(
            boot_config, import_path(), layers.lacking() if weak else ()
        )
    except LackingLayers as error:
        raise UserError(_what_is_missing() or f"this host lacks {error}") from None
    try:
        return _start(boot_config, descriptors)
    finally:
        for fd in descriptors:
            os.close(fd)


def _start(boot_config: BootConfig, descriptors: list[int]) -> HostSystem:
    """Start the kernel's process, and hand it all it needs."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    main = ROOT / "kernel" / "machine" / "host" / "main.py"
    command = [sys.executable, "-I", "-S", str(main), *import_path()]
    with theirs:
        kernel = _spawn(command, theirs)
    try:
        socket.send_fds(ours, [boot_config.pack()], descriptors)
        ours.settimeout(_START_TIMEOUT)
        answer, channel, _, _ = socket.recv_fds(ours, 1 << 16, 2, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        kernel.kill()
        raise UserError(f"the kernel did not start: {error}") from None
    ours.settimeout(None)
    if not answer:
        raise UserError(f"the kernel ended at its start with status {kernel.wait()}")
    status, result = msgpack.unpackb(answer)
    if status:
        kernel.wait()
        raise UserError(_what_is_missing() or result)
    return HostSystem(result, channel, ours, kernel)


def _last_words(kernel: subprocess.Popen[bytes]) -> str:
    """Why a kernel that is gone says it ended."""
    try:
        said = kernel.communicate(timeout=5)[1] if kernel.stderr else b""
    except (subprocess.TimeoutExpired, ValueError):
        return ""
    return said.decode(errors="replace").strip().removeprefix("cloister: ").removesuffix(".")


def _what_is_missing() -> str:
    """The layers of isolation that this host lacks, and what to do; empty if it has all."""
    from tools.isolation import layers

    lacking = "; ".join(f"{name} ({why})" for name, why in layers.lacking().items())
    return lacking and (
        f"this host lacks {lacking}: have it enabled, see `cloister doctor`, "
        "or pass --allow-weak-isolation"
    )


def _spawn(command: list[str], channel: socket.socket) -> subprocess.Popen[bytes]:
    """Start the kernel with the channel as descriptor 3."""

    def place() -> None:
        os.dup2(channel.fileno(), 3)
        os.set_inheritable(3, True)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if "CLOISTER_DEBUG_STDERR" in os.environ else subprocess.PIPE,
        env=os.environ | _HEAP,
        preexec_fn=place,
        start_new_session=True,  # control-C is for the tool
        pass_fds=(3,),
        close_fds=True,
    )


class SimSystem(System):
    """A system on the sim machine, which moves only while somebody waits for it."""

    def __init__(self, boot_config: BootConfig, seed: int) -> None:
        from kernel.machine.sim import SimMachine
        from servers.runtime.sim import operator_channel, programs

        self._config = boot_config
        self.machine = SimMachine(boot_config, programs(), seed)
        for device in boot_config.devices:
            if device.name in _seeded(boot_config):
                self.machine.devices[device.name].feed(random.Random(seed).randbytes(RANDOM_BYTES))
        super().__init__(operator_channel(self.machine.operator), self.machine.operator_slots)

    def again(self) -> SimSystem:
        """Another system with the same configuration and seed, which has not moved yet."""
        return SimSystem(self._config, self.machine.seed)

    def close(self) -> None:
        self.machine.close()


RANDOM_BYTES: Final = 1 << 20
"""How much a simulated source of random numbers has."""


def _seeded(boot_config: BootConfig) -> list[str]:
    """The simulated sources of random numbers, which the seed fills."""
    return [d.name for d in boot_config.devices if d.name == "random" and d.path is None]


def simulated(boot_config: BootConfig) -> BootConfig:
    """The same with nothing of the host behind its devices, so that a run can be repeated.

    Disks and logs are memory, blank at the start; the terminal and the random numbers are streams
    that the simulator feeds.  Images are read from their files, which nobody changes.
    """
    devices = [
        d._replace(path=None, fd=None)
        if d.fd is not None or d.writable or d.path == "/dev/urandom"
        else d
        for d in boot_config.devices
    ]
    return boot_config._replace(devices=devices)


def _without_guests(source: Source) -> Source:
    guests = [msgspec.structs.replace(vm, autostart=False) for vm in source.description.vm]
    return Source(msgspec.structs.replace(source.description, vm=guests), source.folder)


def boot(
    source: Source,
    machine: str = "host",
    seed: int = 0,
    weak: bool = False,
    repeatable: bool = False,
) -> System:
    """Boot a description on a machine, ``host`` or ``sim``.

    A ``repeatable`` simulation touches no file of the host but the guests' images, and starts no
    guest by itself: a guest's instructions are outside what the simulator repeats.
    """
    if machine == "sim" and repeatable:
        source = _without_guests(source)
    boot_config = config(source)
    if machine == "sim":
        return SimSystem(simulated(boot_config) if repeatable else boot_config, seed)
    with suppress(ValueError):  # not in the main thread: the caller's business
        signal.signal(signal.SIGTERM, _terminate)
    return boot_host(boot_config, weak)


def _terminate(_signal: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)
