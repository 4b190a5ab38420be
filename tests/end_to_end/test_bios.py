"""Guests that start from SeaBIOS: a disk with GRUB and a kernel, memtest86+; what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from images import cache
from tests.end_to_end.rig import LINUX, cloister, command, linux_arguments, needs_linux

BIOS = cache.image("seabios") / "bios.bin"
DISK = cache.image("grub-disk") / "disk.img"

needs_bios = pytest.mark.skipif(
    not BIOS.is_file(), reason="fetch it with: cloister images fetch seabios"
)
needs_disk = pytest.mark.skipif(
    not DISK.is_file(), reason="fetch it with: cloister images fetch grub-disk"
)


def _typed(*arguments: str, prompt: bytes, typed: bytes, again: bytes = b"") -> tuple[int, str]:
    """Run a command and type when it prompts for the first time, and for the second; its status
    and all that it says."""
    pipes = subprocess.PIPE
    with subprocess.Popen(
        command(*arguments), stdin=pipes, stdout=pipes, stderr=subprocess.STDOUT
    ) as running:
        assert running.stdin is not None and running.stdout is not None
        late = threading.Timer(60, running.kill)
        late.start()
        said = bytearray()
        while data := os.read(running.stdout.fileno(), 4096):
            prompts = said.count(prompt)
            said += data
            if said.count(prompt) > prompts:
                running.stdin.write(again if prompts else typed)
                running.stdin.flush()
        late.cancel()
        return running.wait(), said.decode(errors="replace")


@needs_bios
@needs_disk
@pytest.mark.parametrize("interface", ["virtio", "ahci"])
def test_a_disk_boots_by_way_of_grub(tmp_path: Path, interface: str) -> None:
    log = tmp_path / "log"
    code, said = _typed(
        *("boot", "--bios", "--disk", f"{DISK}:ro:{interface}", "--bios-log", str(log)),
        prompt=b"/root # ",
        typed=b"poweroff -f\n",
    )
    assert code == 0, said
    assert "SeaBIOS" in said
    assert "Booting from Hard Disk" in said
    assert "Linux version 6" in said
    assert "reboot: Power down" in said
    assert "Running on QEMU (i440fx)" in log.read_text()


@needs_bios
@needs_disk
def test_a_reboot_begins_with_the_bios_again() -> None:
    code, said = _typed(
        *("boot", "--bios", "--disk", f"{DISK}:ro"),
        prompt=b"/root # ",
        typed=b"reboot -f\n",
        again=b"poweroff -f\n",
    )
    assert code == 0, said
    assert said.count("Booting from Hard Disk") == 2
    assert said.count("init started") == 2


@needs_bios
@needs_linux
def test_firmware_starts_a_kernel_of_the_hosts() -> None:
    done = cloister(
        *("boot", "--bios", "--kernel", str(LINUX / "vmlinuz")),
        *("--initrd", str(LINUX / "initramfs"), "--append", "console=ttyS0 panic=-1 quiet"),
        typed="\ncat /sys/class/dmi/id/bios_vendor; poweroff -f\n",
    )
    assert done.returncode == 0, done.stderr
    assert "Booting from ROM" in done.stdout
    assert "init started" in done.stdout


@needs_bios
def test_memtest_tests() -> None:
    kernel = cache.image("grub-disk") / "memtest.bin"
    if not kernel.is_file():
        pytest.skip("fetch it with: cloister images fetch grub-disk")
    done = cloister(
        *("boot", "--bios", "--kernel", str(kernel), "--memory", "32M", "--timeout", "6"),
        *("--append", "console=ttyS0,115200"),
    )
    assert "still running" in done.stderr
    assert "Memtest86+" in done.stdout
    assert "Test #" in done.stdout or "Testing" in done.stdout


@needs_bios
def test_no_disk_is_said(tmp_path: Path) -> None:
    disk = tmp_path / "blank.img"
    disk.write_bytes(bytes(4 << 20))
    done = cloister("boot", "--bios", "--disk", str(disk), "--timeout", "3")
    assert done.returncode == 1
    assert "not a bootable disk" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "boot needs a --kernel, or --bios"),
        (("--kernel", "guest:demo", "--bios-menu"), "go with --bios"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[str, ...], sentence: str) -> None:
    done = cloister("boot", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@needs_bios
def test_a_kernel_that_no_rom_can_start_is_refused() -> None:
    done = cloister("boot", "--bios", "--kernel", "guest:demo")
    assert done.returncode == 1
    assert "bzImage" in done.stderr


@needs_linux
def test_linux_uses_the_apics() -> None:
    done = cloister(
        *("boot", "--apic", "--timeout", "30"),
        *linux_arguments("cat /proc/interrupts; poweroff -f"),
    )
    assert done.returncode == 0, done.stderr
    assert "IO-APIC   2-edge      timer" in done.stdout
    assert "XT-PIC" not in done.stdout
    found = re.search(r"LOC: +(\d+)", done.stdout)
    assert found is not None and int(found[1]) > 10
