"""TCP from one guest to another, beside two guests of QEMU's software engine with a cable between.

The same kernel runs in all; busybox's ``nc`` sends zeros.  Rates are by the sender's own clock,
until the receiver has closed the connection after the last byte.
"""

from __future__ import annotations

import base64
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from servers.console.interface import ConsoleControl
from servers.init.description import (
    NicEntry,
    VmEntry,
)
from tools import system
from tools.bench import boot
from tools.errors import UserError

RUNS: Final = 3
TIMEOUT: Final = 120.0
SLOWEST: Final = 0.5
"""The part of QEMU's throughput that there has to be."""
_IMAGE: Final = ("debian-generic", "linux-generic")
"""Its kernel has drivers of both adapters."""
Model = Literal["virtio", "e1000"]
SIZES: Final[dict[Model, int]] = {"virtio": 96, "e1000": 24}
"""Model -> MiB to send."""
_QEMU_MODELS: Final[dict[Model, str]] = {"virtio": "virtio-net-pci", "e1000": "e1000"}
_MAC: Final = "52:54:00:00:00:0"
_MEMORY: Final = 128
"""MiB of a guest."""
_GROUP: Final = "net"
"""The group of modules with the drivers of adapters that are not virtio's."""
_RECEIVER: Final = "ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up\nnc -l -p 5000 | wc -c\n"
_SENDER: Final = """
now() {{ read -r up rest </proc/uptime; echo $up; }}
ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up
until ping -c 1 -W 1 10.0.0.1 >/dev/null; do :; done
sleep 1
begin=$(now); dd if=/dev/zero bs=64k count={blocks} 2>/dev/null | nc 10.0.0.1 5000; end=$(now)
echo "bench net $(busybox awk "BEGIN {{ print $end - $begin }}")"
"""
_ROW: Final = re.compile(rb"bench net ([0-9.]+)")


class Result(NamedTuple):
    """Medians in MB/s by the adapter's model; QEMU's are empty where it is not installed."""

    cloister_mb_s: dict[str, float]
    qemu_tcg_mb_s: dict[str, float]
    ratios: dict[str, float]
    limit: float = SLOWEST


def append(script: str) -> str:
    """A kernel's command line."""
    encoded = base64.b64encode(script.encode()).decode()
    return f"console=ttyS0 quiet panic=-1 cloister.modules={_GROUP} cloister.run={encoded}"


def scripts(model: Model) -> dict[str, str]:
    """What the guests run."""
    return {"receiver": _RECEIVER, "sender": _SENDER.format(blocks=16 * SIZES[model])}


def _seconds(look: Callable[[], bytes], who: str) -> float:
    """Wait until the sender says how long it took."""
    deadline = time.monotonic() + TIMEOUT
    while (match := _ROW.search(output := look())) is None:
        if time.monotonic() > deadline:
            last = output.decode(errors="replace").strip().rpartition("\n")[2]
            raise UserError(f"the guests of {who} did not come to an end: {last!r}")
        time.sleep(0.1)
    return float(match.group(1))


def run_cloister(model: Model) -> float:
    """Seconds in two guests of one system."""
    kernel, initrd = boot.find_image(*_IMAGE)
    vms = [
        VmEntry(
            name=name,
            kernel=str(kernel),
            initrd=str(initrd),
            append=append(script),
            memory=f"{_MEMORY}MiB",
            engine="soft",
            autostart=True,
            network=[NicEntry(model=model)],
        )
        for name, script in scripts(model).items()
    ]
    base = system.load("default")
    description = msgspec.structs.replace(base.description, name="bench-net", vm=vms)
    with system.boot(system.Source(description, base.folder)) as running:
        console = running.open(ConsoleControl, "console.control")
        return _seconds(lambda: console.tail("sender", 4096), "Cloister")


def run_qemu(model: Model) -> float:
    """Seconds in two QEMUs."""
    kernel, initrd = boot.find_image(*_IMAGE)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "sender"
        processes = []
        try:
            for number, (name, script) in enumerate(scripts(model).items()):
                cable = "listen" if name == "receiver" else "connect"
                command = [
                    *boot.qemu(kernel, initrd, append(script)),
                    *("-m", str(_MEMORY)),
                    *("-netdev", f"socket,id=cable,{cable}=127.0.0.1:{port}"),
                    *(
                        "-device",
                        f"{_QEMU_MODELS[model]},netdev=cable,mac=52:54:00:00:00:0{number}",
                    ),
                ]
                with (Path(folder) / name).open("wb") as output:
                    processes.append(
                        subprocess.Popen(
                            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                        )
                    )
                _wait_for(port)
            return _seconds(log.read_bytes, "QEMU")
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _wait_for(port: int) -> None:
    """Let the first QEMU listen before the second connects, without connecting to it."""
    wanted = f":{port:04X} "
    deadline = time.monotonic() + 10
    while wanted not in Path("/proc/net/tcp").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(runs: int = RUNS) -> Result:
    """Run guests in turns, and compare."""
    systems = {"cloister": run_cloister}
    if shutil.which(boot.QEMU):
        systems["qemu"] = run_qemu
    rates: dict[str, dict[str, float]] = {"cloister": {}, "qemu": {}}
    for model, size in SIZES.items():
        found: dict[str, list[float]] = {name: [] for name in systems}
        for _ in range(runs):
            for name, run in systems.items():
                found[name].append(run(model))
        for name, times in found.items():
            rates[name][model] = round(size * 1.048576 / statistics.median(times), 1)
    ours, theirs = rates["cloister"], rates["qemu"]
    return Result(ours, theirs, {name: round(ours[name] / theirs[name], 2) for name in theirs})
