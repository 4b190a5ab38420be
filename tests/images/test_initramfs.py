"""The initial RAM disk, and its init, which is run here with a recorder in busybox's place."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

from images import initramfs
from images.modules import ModuleTree
from tests.images.kernel_modules import module, tree
from tests.images.test_cpio import read

NEEDS: dict[str, list[str]] = {
    "virtio_pci": ["virtio"],
    "virtio": [],
    "virtio_blk": ["virtio"],
    "virtio_net": ["virtio"],
    "virtio_rng": ["virtio"],
    "virtio_console": ["virtio"],
}


def test_what_is_in_it(tmp_path: Path) -> None:
    modules = ModuleTree(tree(tmp_path, NEEDS, builtin=("ext4", "crc32c_generic")))
    entries = {entry.name: entry for entry in read(initramfs.build(b"busybox", modules))}
    assert entries["init"].data.startswith(b"#!/bin/busybox sh\n")
    assert entries["init"].mode & 0o111
    assert entries["bin/busybox"].data == b"busybox"
    assert entries["bin/sh"].data == b"busybox"
    assert entries["dev/console"].device == (5, 1)
    order = entries["lib/modules/order"].data.decode().split()
    assert order[:2] == ["virtio", "virtio_pci"]
    assert sorted(order) == sorted(NEEDS)
    assert entries["lib/modules/virtio.ko"].data == module()


def run_init(tmp_path: Path, command_line: str) -> list[str]:
    """What init prints and does, in order, on a machine with this kernel command line."""
    (tmp_path / "bin").mkdir()
    recorder = tmp_path / "bin" / "busybox"
    recorder.write_text(
        '#!/bin/sh\ncase $1 in base64) exec base64 -d;; poweroff) echo "$@"; kill $PPID;; '
        'setsid) echo "$@";; insmod) echo "${1} ${2##*/}";; esac\n'
    )
    recorder.chmod(0o755)
    (tmp_path / "cmdline").write_text(command_line + "\n")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "order").write_text("virtio\nvirtio_blk\n")
    (tmp_path / "modules" / "ata.order").write_text("libata\nata_piix\n")
    script = initramfs.INIT.read_text(encoding="utf-8")
    for real, here in (
        ("/proc/cmdline", "cmdline"),
        ("/lib/modules", "modules"),
        ("/run/script", "script"),
        ("/root", "."),
    ):
        script = script.replace(real, str(tmp_path / here))
    script = script.replace("PATH=/bin:", f"PATH={tmp_path}/bin:/bin:")
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_init_gives_a_shell_and_powers_off_when_it_ends(tmp_path: Path) -> None:
    assert run_init(tmp_path, "console=ttyS0 quiet") == [
        "cloister: init started",
        "insmod virtio.ko",
        "insmod virtio_blk.ko",
        "setsid cttyhack sh",
        "poweroff -f",
    ]


def test_init_loads_other_groups_of_modules(tmp_path: Path) -> None:
    assert run_init(tmp_path, "quiet cloister.modules=ata")[1:5] == [
        f"insmod {name}.ko" for name in ("virtio", "virtio_blk", "libata", "ata_piix")
    ]


def test_groups_are_there_if_the_kernel_has_them(tmp_path: Path) -> None:
    needs = {**NEEDS, "libata": [], "scsi_mod": []}
    needs |= {"ata_piix": ["libata"], "sd_mod": ["scsi_mod"], "sr_mod": ["scsi_mod"]}
    modules = ModuleTree(tree(tmp_path, needs, builtin=("ext4", "crc32c_generic", "isofs")))
    entries = {entry.name: entry for entry in read(initramfs.build(b"busybox", modules))}
    assert entries["lib/modules/ata.order"].data.split() == [
        *(b"libata", b"ata_piix", b"scsi_mod", b"sd_mod", b"sr_mod")
    ]
    assert "lib/modules/ahci.order" not in entries
    assert "lib/modules/sd_mod.ko" in entries


def test_init_ends_at_once_if_told_so(tmp_path: Path) -> None:
    assert run_init(tmp_path, "quiet cloister.exit") == ["cloister: init started", "poweroff -f"]


def test_init_runs_a_script_and_says_how_it_ended(tmp_path: Path) -> None:
    script = base64.b64encode(b"echo hello; exit 3").decode()
    assert run_init(tmp_path, f"cloister.run={script} quiet")[3:] == [
        "hello",
        "cloister: script ended with status 3",
        "poweroff -f",
    ]
