"""Guests on one switch, behind both adapters, and a QEMU that is plugged into it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from images import cache
from tests.end_to_end.rig import cloister, needs_linux
from tools.bench.net import free_port

CLOUD, GENERIC = cache.image("debian-cloud"), cache.image("debian-generic")
QEMU = shutil.which("qemu-system-x86_64")
SETUP = "ip link set eth0 up; ip addr add 10.0.0.{}/24 dev eth0; "
SEND = (
    "until ping -c 1 -W 1 10.0.0.1 >/dev/null; do :; done; sleep 1; "
    "head -c 1000000 /bin/busybox | nc 10.0.0.1 5000"
)
RECEIVE = "nc -l -p 5000 | sha256sum"


def append(script: str, modules: str = "") -> str:
    encoded = base64.b64encode(script.encode()).decode()
    return f"console=ttyS0 quiet panic=-1 {modules}cloister.run={encoded}"


def guest(image: Path, script: str) -> list[str]:
    files = ("--kernel", str(image / "vmlinuz"), "--initrd", str(image / "initramfs"))
    modules = "cloister.modules=net " if image == GENERIC else ""
    return [*files, "--append", append(script, modules), "--memory", "128M"]


@needs_linux
@pytest.mark.skipif(QEMU is None, reason="install it with: apt-get install qemu-system-x86")
@pytest.mark.skipif(
    not (GENERIC / "vmlinuz").exists(), reason="fetch it with: cloister images fetch linux-generic"
)
@pytest.mark.parametrize(("model", "image"), [("virtio", CLOUD), ("e1000", GENERIC)])
def test_a_qemu_on_the_same_network(tmp_path: Path, model: str, image: Path) -> None:
    port, log = free_port(), tmp_path / "qemu"
    here = f"{SETUP.format(1)} head -c 1000000 /bin/busybox | sha256sum; {RECEIVE}"
    there = f"{SETUP.format(2)} {SEND}"
    assert QEMU is not None
    waiting = f"until grep -qi ':{port:04x} ' /proc/net/tcp; do sleep 0.1; done; exec \"$@\""
    qemu = [
        *(QEMU, "-accel", "tcg", "-m", "128", "-nographic", "-no-reboot"),
        *("-kernel", f"{CLOUD}/vmlinuz", "-initrd", f"{CLOUD}/initramfs", "-append", append(there)),
        *("-netdev", f"socket,id=cable,connect=127.0.0.1:{port}"),
        *("-device", "virtio-net-pci,netdev=cable"),
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["sh", "-c", waiting, "sh", *qemu],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            found = cloister(
                "boot",
                *guest(image, here),
                *("--net", model, "--net-listen", str(port), "--timeout", "60"),
            )
        finally:
            process.kill()
    sums = re.findall(r"[0-9a-f]{64}", found.stdout)
    assert len(sums) == 2 and sums[0] == sums[1], (found, log.read_text(errors="replace"))


def test_options_that_do_not_fit_are_refused() -> None:
    found = cloister("boot", "--kernel", "guest:demo", "--net-listen", "5000")
    assert (found.returncode, found.stderr) == (2, "cloister: --net-listen goes with --net\n")
