"""Guests on real processes: our own, and Debian's unmodified kernel."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from servers.console.interface import ConsoleControl
from tests.end_to_end.rig import (
    blank_disk,
    booted,
    cloister,
    linux_arguments,
    needs_linux,
    pids,
)


def test_our_own_guest_boots_and_powers_off() -> None:
    done = cloister("boot", "--kernel", "guest:demo", "--append", "auto", "--memory", "16M")
    assert done.returncode == 0, done.stderr
    assert "Cloister demo guest" in done.stdout
    assert "the timer runs" in done.stdout


def test_typed_input_reaches_the_guest() -> None:
    done = cloister(
        "boot", "--kernel", "guest:demo", "--memory", "16M", typed="echo hello there\noff\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hello there") == 2


def test_a_disk_keeps_what_was_written(tmp_path: Path) -> None:
    disk = str(blank_disk(tmp_path / "disk.img", 1))
    counters = []
    for _ in range(3):
        done = cloister(
            *("boot", "--kernel", "guest:demo", "--append", "auto", "--memory", "16M"),
            *("--disk", disk),
        )
        assert done.returncode == 0, done.stderr
        counters += re.findall(r"boot counter: (\d+)", done.stdout)
    assert counters == ["1", "2", "3"]


def test_a_read_only_disk_is_not_written(tmp_path: Path) -> None:
    disk = blank_disk(tmp_path / "disk.img", 1)
    done = cloister(
        *("boot", "--kernel", "guest:demo", "--append", "auto", "--memory", "16M"),
        *("--disk", f"{disk}:ro"),
    )
    assert done.returncode == 0, done.stderr
    assert not any(disk.read_bytes())


def test_a_triple_fault_is_explained() -> None:
    done = cloister("boot", "--kernel", "guest:demo", "--memory", "16M", typed="triple\n")
    assert done.returncode == 1
    assert "triple" in done.stderr
    assert done.stderr.count("\n") <= 2
    assert "rip" in done.stdout
    assert re.search(r"\b(ud2|int3?|mov|lidt)\b", done.stdout)


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [(b"", "0 bytes"), (b"\x00" * 4096, "bzImage"), (b"MZ" + b"\x90" * 600, "bzImage")],
)
def test_a_corrupt_kernel_is_named(tmp_path: Path, contents: bytes, sentence: str) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(contents)
    done = cloister("boot", "--kernel", str(kernel))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_guest_that_runs_for_ever_is_given_up() -> None:
    done = cloister("boot", "--kernel", "guest:demo", "--memory", "16M", "--timeout", "2")
    assert done.returncode == 1
    assert "still running after 2 s" in done.stderr


@needs_linux
def test_linux_boots_runs_and_powers_off() -> None:
    done = cloister("boot", *linux_arguments("uname -s; cat /proc/meminfo | head -1"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cloister: init started")
    assert "Linux" in done.stdout
    assert "MemTotal" in done.stdout


@needs_linux
def test_linux_needs_memory() -> None:
    done = cloister("boot", *linux_arguments("true"), "--memory", "16M")
    assert done.returncode == 1
    assert "memory" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_linux
def test_a_file_system_survives_the_death_of_the_block_driver(tmp_path: Path) -> None:
    """Killing the driver under load loses no acknowledged write and only delays the guest."""
    disk = str(blank_disk(tmp_path / "disk.img", 64))
    write = """
        mke2fs -q /dev/vda && mount -t ext4 /dev/vda /mnt || exit 1
        for i in $(seq 1 60); do
            dd if=/dev/urandom of=/mnt/file$i bs=16k count=4 conv=fsync 2>/dev/null ||
                echo "FAILED $i"
            md5sum /mnt/file$i >> /mnt/sums
            echo "wrote $i"
        done
        sync; umount /mnt && echo all written
    """
    kills = 0
    with booted(*linux_arguments(write), "--disk", disk) as running:
        console = running.open(ConsoleControl, "console.control")
        for at in ("wrote 5\r", "wrote 20\r", "wrote 40\r"):
            deadline = time.monotonic() + 60
            while at.encode() not in console.tail("guest", 32768):
                assert time.monotonic() < deadline, console.tail("guest", 2000)
                time.sleep(0.02)
            os.kill(pids(running)["block0"], signal.SIGKILL)
            kills += 1
            time.sleep(0.2)
        assert running.control.wait("guest") == "power off"
        output = console.tail("guest", 32768).decode(errors="replace")
        starts = {info.name: info.starts for info in running.control.processes()}
    assert starts["block0"] == kills + 1
    assert "FAILED" not in output
    assert "all written" in output
    assert "I/O error" not in output
    check = """
        mount -t ext4 /dev/vda /mnt
        md5sum -c /mnt/sums | grep -c OK
        dmesg | grep -i 'ext4.*error'
    """
    done = cloister("boot", *linux_arguments(check), "--disk", disk)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^60\s*$", done.stdout, re.M), done.stdout
    assert "error" not in done.stdout.lower()
