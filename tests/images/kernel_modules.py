"""Kernel modules made for tests: ELF files with a ``.modinfo`` section and nothing else."""

from __future__ import annotations

import struct
from pathlib import Path

_NAMES = b"\0.modinfo\0.shstrtab\0"


def module(*depends: str) -> bytes:
    """A module that needs others."""
    information = b"license=GPL\0depends=" + ",".join(depends).encode() + b"\0name=x\0"
    contents = information + _NAMES
    section = struct.Struct("<IIQQQQIIQQ")
    table = [
        (0,) * 10,
        (1, 1, 0, 0, 64, len(information), 0, 0, 1, 0),
        (10, 3, 0, 0, 64 + len(information), len(_NAMES), 0, 0, 1, 0),
    ]
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        *(1, 62, 1, 0, 0, 64 + len(contents), 0, 64, 0, 0, section.size, len(table), 2),
    )
    return header + contents + b"".join(section.pack(*row) for row in table)


def tree(root: Path, needs: dict[str, list[str]], builtin: tuple[str, ...] = ()) -> Path:
    """A folder of modules: name -> the names that it needs."""
    folder = root / "kernel" / "drivers"
    folder.mkdir(parents=True)
    for name, depends in needs.items():
        (folder / f"{name}.ko").write_bytes(module(*depends))
    lines = "".join(f"kernel/fs/{name}.ko\n" for name in builtin)
    (root / "modules.builtin").write_text(lines, encoding="utf-8")
    return root
