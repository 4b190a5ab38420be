"""Guests of four kinds side by side, each in its own VMM: they work, and one's end is its own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from images import cache
from kernel.abi import DebugOp
from servers.console.interface import ConsoleControl
from servers.init.description import VmEntry
from tests.end_to_end.rig import pids
from tools import system

CLOUD, I386 = cache.image("debian-cloud"), cache.image("debian-i386")
BIOS = cache.image("seabios") / "bios.bin"
pytestmark = pytest.mark.skipif(
    not all(path.exists() for path in (CLOUD / "vmlinuz", I386 / "vmlinuz", BIOS)),
    reason="fetch them with: cloister images fetch linux, linux-i386, seabios",
)
SPIN = "while true; do :; done"


def linux(name: str, image: Path) -> VmEntry:
    return VmEntry(
        name=name,
        kernel=str(image / "vmlinuz"),
        initrd=str(image / "initramfs"),
        append="console=ttyS0 quiet panic=-1",
        memory="128MiB",
        engine="soft",
        autostart=True,
    )


def test_four_kinds_share_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))
    base = system.load("default").description
    vms = [
        linux("cloud", CLOUD),
        linux("old", I386),
        VmEntry(name="demo", kernel="guest:demo", memory="16MiB", engine="soft", autostart=True),
        VmEntry(name="bios", bios=True, memory="16MiB", engine="soft", autostart=True),
    ]
    description = msgspec.structs.replace(base, name="four", vm=vms)
    with system.boot(system.Source(description, tmp_path)) as running:
        console = running.open(ConsoleControl, "console.control")

        def wait_for(name: str, text: bytes, count: int = 1) -> None:
            deadline = time.monotonic() + 90
            while console.tail(name, 16384).count(text) < count:
                assert time.monotonic() < deadline, (name, console.tail(name, 2000))
                time.sleep(0.05)

        def cpu() -> dict[str, int]:
            return {row[1]: row[10] for row in running.debug(DebugOp.SPACES)}

        for name, text in (
            *(("cloud", b"/root # "), ("old", b"/root # ")),
            *(("demo", b"demo> "), ("bios", b"SeaBIOS")),
        ):
            wait_for(name, text)
        processes = pids(running)
        assert len({processes[vm.name] for vm in vms}) == 4
        # two that compute get the same, whatever else there is
        for name in ("cloud", "old"):
            console.type(name, f"{SPIN}\n".encode())
        time.sleep(1)
        before = cpu()
        time.sleep(1.5)
        used = {name: now - before[name] for name, now in cpu().items() if name in before}
        assert 0.6 < used["cloud"] / used["old"] < 1.6, used  # other tests run beside
        # and the others go on: one that answers, when another ends
        os.kill(processes["old"], signal.SIGKILL)
        console.type("demo", b"mem\n")
        wait_for("demo", b"kernel   0x")
        states = {each.name: each.state for each in running.control.processes()}
        assert states["old"] != "running"
        assert [states[name] for name in ("cloud", "demo", "bios")] == ["running"] * 3
