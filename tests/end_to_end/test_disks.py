"""Disks behind IDE, CD-ROM drives, qcow2 images and overlays, in Debian's unmodified kernel."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from servers.console.interface import ConsoleControl
from servers.store.header import empty
from tests.end_to_end.rig import (
    blank_disk,
    booted,
    cloister,
    linux_arguments,
    needs_linux,
    pids,
)
from tests.servers.store.images import check, needs_qemu_img, qemu_img

MIB = 1 << 20


def arguments(script: str, *words: str) -> list[str]:
    """Arguments of ``boot`` for a script in a guest that knows IDE."""
    found = linux_arguments(script)
    found[-1] = " ".join((*words, "cloister.modules=ata", found[-1]))
    return found


def noise(path: Path, size: int, seed: int = 1) -> str:
    """A file of random data; its MD5."""
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return hashlib.md5(data).hexdigest()


@needs_linux
@pytest.mark.parametrize("mode", ["DMA", "PIO"])
def test_an_ide_disk_and_a_cd_keep_what_they_have(tmp_path: Path, mode: str) -> None:
    written = noise(tmp_path / "source", 4 * MIB)
    on_cd = noise(tmp_path / "cd.iso", 2 * MIB, 2)
    disk = blank_disk(tmp_path / "disk.img", 16)
    # Linux looks at both disks at once, and calls the one sda that is ready first.
    script = """
        cd /sys/bus/scsi/devices
        first=/dev/$(ls 0:0:0:0/block) second=/dev/$(ls 0:0:1:0/block)
        cd /
        md5sum /dev/sr0; md5sum <$second
        mke2fs -q $first && mount -t ext4 $first /mnt || exit 1
        cp $second /mnt/copy && sync
        umount /mnt && echo 3 >/proc/sys/vm/drop_caches
        mount -t ext4 $first /mnt && md5sum /mnt/copy
        dmesg | grep -iE 'ata[0-9.]+: (exception|failed)|I/O error'
        umount /mnt
    """
    words = () if mode == "DMA" else ("libata.dma=0",)
    done = cloister(
        *("boot", *arguments(script, *words), "--disk", f"{disk}:ide"),
        *("--disk", f"{tmp_path / 'source'}:ro:ide:raw", "--cdrom", str(tmp_path / "cd.iso")),
    )
    assert done.returncode == 0, done.stderr
    assert f"{on_cd}  /dev/sr0" in done.stdout
    assert f"{written}  -" in done.stdout
    assert f"{written}  /mnt/copy" in done.stdout
    assert "exception" not in done.stdout
    assert "rror" not in done.stdout


@needs_linux
@needs_qemu_img
def test_an_overlay_leaves_the_disk_below_it_as_it_was(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base.img", tmp_path / "over.qcow2"
    before = noise(base, 8 * MIB)
    disk = f"{base}:overlay={overlay}"
    script = "md5sum /dev/vda; echo changed | dd of=/dev/vda bs=1k seek=5 conv=fsync 2>/dev/null"
    for _ in range(2):
        done = cloister("boot", *linux_arguments(script), "--disk", disk)
        assert done.returncode == 0, done.stderr
    assert hashlib.md5(base.read_bytes()).hexdigest() == before
    assert before not in done.stdout  # the second guest saw what the first had changed
    check(overlay)
    raw = tmp_path / "raw"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", overlay, raw)
    data = base.read_bytes()
    assert raw.read_bytes() == data[:5120] + b"changed\n" + data[5128:]


@needs_linux
@needs_qemu_img
def test_killing_the_store_and_then_all_loses_no_acknowledged_write(tmp_path: Path) -> None:
    """Killing the store delays the guest; killing the whole system leaves an image that qemu-img
    finds nothing wrong with, but for leaks, and all that was synced."""
    image = tmp_path / "disk.qcow2"
    image.write_bytes(empty(64 * MIB))
    write = """
        mke2fs -q /dev/vda && mount -t ext4 /dev/vda /mnt || exit 1
        for i in $(seq 1 200); do
            dd if=/dev/urandom of=/mnt/file$i bs=16k count=4 conv=fsync 2>/dev/null ||
                echo "FAILED $i"
            md5sum /mnt/file$i >>/mnt/sums; sync
            echo "wrote $i"
        done
    """
    with booted(*linux_arguments(write), "--disk", str(image)) as running:
        console = running.open(ConsoleControl, "console.control")

        def wait_for(text: str) -> None:
            deadline = time.monotonic() + 60
            while text.encode() not in console.tail("guest", 32768):
                assert time.monotonic() < deadline, console.tail("guest", 2000)
                time.sleep(0.02)

        for at, victim in (("wrote 10\r", "store0"), ("wrote 25\r", "block0")):
            wait_for(at)
            os.kill(pids(running)[victim], signal.SIGKILL)
        wait_for("wrote 50\r")
        output = console.tail("guest", 32768).decode(errors="replace")
        for pid in pids(running).values():
            with suppress(ProcessLookupError):  # ended with one that was killed before
                os.kill(pid, signal.SIGKILL)
    assert "FAILED" not in output
    check(image, leaks_allowed=True)
    verify = (
        "mount -t ext4 /dev/vda /mnt; head -50 /mnt/sums >/tmp/s; md5sum -c /tmp/s | grep -c OK"
    )
    done = cloister("boot", *linux_arguments(verify), "--disk", str(image))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^50\s*$", done.stdout, re.M), done.stdout
    check(image, leaks_allowed=True)


@needs_linux
@pytest.mark.parametrize("interface", ["virtio", "ide"])
def test_a_protected_disk_keeps_its_secret_and_finds_out_who_changed_it(
    tmp_path: Path, interface: str
) -> None:
    image = blank_disk(tmp_path / "disk.img", 16)
    device = "/dev/sda" if interface == "ide" else "/dev/vda"
    disk = f"{image}:encrypt:integrity:{interface}"
    write = f"""
        mke2fs -q {device} && mount -t ext4 {device} /mnt || exit 1
        for i in $(seq 2000); do echo "nobody may see this"; done >/mnt/secret
        md5sum /mnt/secret; umount /mnt
    """
    done = cloister("boot", *arguments(write), "--disk", disk)
    assert done.returncode == 0, done.stderr
    line = b"nobody may see this\n"
    known = hashlib.md5(line * 2000).hexdigest()
    assert known in done.stdout
    stored = Path(image).read_bytes()
    assert b"nobody" not in stored
    read = f"""
        mount -t ext4 -o ro {device} /mnt; md5sum /mnt/secret
        dd if={device} of=/dev/null bs=64k
    """
    done = cloister("boot", *arguments(read), "--disk", disk)
    assert known in done.stdout
    assert "cloister: disk0" not in done.stdout
    changed = bytearray(stored)
    for at in range(8192, 4 << 20, 4096):
        changed[at] ^= 1
    Path(image).write_bytes(changed)
    done = cloister("boot", *arguments(read), "--disk", f"{disk}:ro")
    assert known not in done.stdout
    assert "is not what was written there last" in done.stdout
    assert "error" in done.stdout
    Path(image).write_bytes(stored[:-4096])
    done = cloister("boot", *arguments(read), "--disk", disk)
    assert "it has 32760 sectors, and had 32768 when it was made" in done.stderr + done.stdout
    Path(image).write_bytes(stored)
    done = cloister("boot", *arguments(read), "--disk", disk)
    assert known in done.stdout  # nothing was lost


@needs_linux
def test_killing_everything_loses_nothing_that_a_protected_disk_flushed(tmp_path: Path) -> None:
    image = blank_disk(tmp_path / "disk.img", 64)
    disk = f"{image}:encrypt:integrity"
    write = """
        mke2fs -q /dev/vda && mount -t ext4 /dev/vda /mnt || exit 1
        for i in $(seq 1 500); do
            dd if=/dev/urandom of=/mnt/file$i bs=16k count=4 conv=fsync 2>/dev/null ||
                echo "FAILED $i"
            md5sum /mnt/file$i >>/mnt/sums; sync
            echo "wrote $i"
        done
    """
    with booted(*linux_arguments(write), "--disk", disk) as running:
        console = running.open(ConsoleControl, "console.control")
        deadline = time.monotonic() + 60
        for text, victims in (("wrote 10\r", ["block0"]), ("wrote 40\r", [*pids(running)])):
            while text.encode() not in console.tail("guest", 32768):
                assert time.monotonic() < deadline, console.tail("guest", 2000)
                time.sleep(0.02)
            output = console.tail("guest", 32768).decode(errors="replace")
            for pid in [pids(running)[name] for name in victims]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert "FAILED" not in output
    verify = (
        "mount -t ext4 /dev/vda /mnt; head -40 /mnt/sums >/tmp/s; md5sum -c /tmp/s | grep -c OK"
    )
    done = cloister("boot", *linux_arguments(verify), "--disk", disk)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^40\s*$", done.stdout, re.M), done.stdout
    assert "cloister: disk0" not in done.stdout


@pytest.mark.parametrize(
    ("disk", "sentence"),
    [
        ("missing", "does not exist"),
        ("short.qcow2", "cut short"),
        ("tables.qcow2", "not counted as in use"),
        ("raw.img:qcow2", "not a qcow2 image"),
        ("raw.img:ro:overlay=x", "an overlay is written to"),
        ("raw.img:overlay=short.qcow2", "cut short"),
        ("orphan.qcow2", "format of its backing file is not said"),
    ],
)
def test_disks_that_cannot_be_used_are_explained(tmp_path: Path, disk: str, sentence: str) -> None:
    blank_disk(tmp_path / "raw.img", 1)
    (tmp_path / "short.qcow2").write_bytes(empty(MIB)[:50])
    damaged = bytearray(empty(MIB))
    damaged[0x20000:0x20010] = bytes(16)
    (tmp_path / "tables.qcow2").write_bytes(damaged)
    (tmp_path / "orphan.qcow2").write_bytes(empty(MIB, "raw.img"))
    argument = disk.replace("overlay=", f"overlay={tmp_path}/")
    done = cloister(
        "boot", "--kernel", "guest:demo", "--memory", "16M", "--disk", f"{tmp_path}/{argument}"
    )
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
