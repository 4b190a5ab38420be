"""A small initial RAM disk for Linux: busybox, some kernel modules, and our init.

It is stored uncompressed: under emulation the guest's own decompressor takes longer than the host
takes to copy the megabytes that it would save.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from images.cpio import Archive
from images.modules import ModuleError, ModuleTree

INIT: Final = Path(__file__).parent / "recipes" / "init.sh"
FOLDERS: Final = (
    *("bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp"),
    *("usr/bin", "usr/sbin"),
)
MODULES: Final = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "virtio_console",
    "crc32c_generic",  # ext4 asks the crypto layer for it by its algorithm's name
    "ext4",
]
"""What init loads, besides what these need; in this order."""
OPTIONAL: Final = {
    "ata": ["ata_piix", "sd_mod", "sr_mod", "isofs"],
    "net": ["e1000"],
    "ahci": ["ahci", "sd_mod", "sr_mod", "isofs"],
}
"""What init loads if the kernel's command line says ``cloister.modules=`` and the name.  Groups of
which a kernel has no module are left out."""


def version() -> str:
    """Changes when something changes that we put into an archive ourselves."""
    ours = INIT.read_bytes() + repr((FOLDERS, MODULES, OPTIONAL)).encode()
    return hashlib.sha256(ours).hexdigest()[:16]


def build(busybox: bytes, modules: ModuleTree, wanted: list[str] | None = None) -> bytes:
    """The archive; ``wanted`` are the modules to load at start, ``MODULES`` if it is left out."""
    archive = Archive()
    for folder in FOLDERS:
        archive.add_folder(folder, 0o1777 if folder == "tmp" else 0o755)
    archive.add_device("dev/console", 5, 1)
    archive.add_device("dev/null", 1, 3, 0o666)
    archive.add_file("init", INIT.read_bytes(), 0o755)
    archive.add_file("bin/busybox", busybox, 0o755)
    archive.add_link("bin/sh", "busybox")
    added: dict[str, bytes] = {}
    _add_modules(archive, modules, MODULES if wanted is None else wanted, "order", added)
    for group, names in OPTIONAL.items():
        with suppress(ModuleError):
            _add_modules(archive, modules, names, f"{group}.order", added)
    return archive.data()


def _add_modules(
    archive: Archive, modules: ModuleTree, names: list[str], file: str, added: dict[str, bytes]
) -> None:
    """Add modules and the order in which they are loaded; ``added`` are those that are there."""
    order = modules.load_order(names)
    for name, data in order:
        if name not in added:
            added[name] = data
            archive.add_file(f"lib/modules/{name}.ko", data)
    archive.add_file(f"lib/modules/{file}", "".join(f"{name}\n" for name, _ in order).encode())
