"""Debian's other kernels: for PCs with their hardware, and for processors of 32 bits."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from images import cache
from tests.end_to_end.rig import cloister

GENERIC = cache.image("debian-generic")
I386 = cache.image("debian-i386")


def arguments(image: Path, script: str) -> list[str]:
    encoded = base64.b64encode(script.encode()).decode()
    return [
        *("boot", "--kernel", str(image / "vmlinuz"), "--initrd", str(image / "initramfs")),
        *("--append", f"console=ttyS0 quiet panic=-1 cloister.run={encoded}"),
    ]


@pytest.mark.skipif(
    not (I386 / "vmlinuz").exists(), reason="fetch it with: cloister images fetch linux-i386"
)
def test_a_kernel_of_32_bits(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(8 << 20))
    script = """
        uname -m
        mke2fs -q /dev/vda && mount -t ext4 /dev/vda /mnt && echo kept >/mnt/file && umount /mnt
        mount -t ext4 /dev/vda /mnt && cat /mnt/file
    """
    done = cloister(*arguments(I386, script), "--disk", str(disk))
    assert done.returncode == 0, done.stderr
    assert "i686" in done.stdout
    assert "kept" in done.stdout


@pytest.mark.skipif(
    not (GENERIC / "vmlinuz").exists(), reason="fetch it with: cloister images fetch linux-generic"
)
def test_a_kernel_with_a_framebuffer(tmp_path: Path) -> None:
    picture = tmp_path / "screen.png"
    script = "uname -r; cat /proc/fb; echo on the screen >/dev/tty0"
    done = cloister(*arguments(GENERIC, script), "--screenshot", str(picture))
    assert done.returncode == 0, done.stderr
    assert "-amd64" in done.stdout and "cloud" not in done.stdout
    assert "VESA VGA" in done.stdout or "EFI VGA" in done.stdout or "bochs" in done.stdout
    assert int.from_bytes(picture.read_bytes()[16:20]) >= 1024
