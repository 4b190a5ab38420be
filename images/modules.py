"""Linux kernel modules: which ones a module needs, and in which order they are loaded.

A package of Debian's has no ``modules.dep``, which ``depmod`` writes when the package is installed.
The modules say themselves what they need, in their ELF section ``.modinfo``: strings of the form
``key=value``, each ended by a zero byte, of which ``depends`` lists names divided by commas.
In these names ``-`` and ``_`` are the same.
"""

from __future__ import annotations

import lzma
import struct
from pathlib import Path
from typing import Final

_SUFFIXES: Final = (".ko", ".ko.xz")
_LAYOUTS: Final = {
    b"\x7fELF\x01\x01": (struct.Struct("<16sHHIIIIIHHHHHH"), struct.Struct("<10I")),
    b"\x7fELF\x02\x01": (struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQIIQQ")),
}
"""How a little-endian file of 32 or of 64 bits begins -> its header, and one of a section."""


class ModuleError(ValueError):
    """A module is missing or is not one."""


def information(module: bytes) -> dict[str, list[str]]:
    """Key -> values of a module's ``.modinfo`` section."""
    found: dict[str, list[str]] = {}
    for text in _section(module, b".modinfo").split(b"\0"):
        key, equals, value = text.decode("utf-8", "replace").partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def _section(elf: bytes, name: bytes) -> bytes:
    """A section of a little-endian ELF file, by its name."""
    if elf[:6] not in _LAYOUTS:
        raise ModuleError("it is not a little-endian ELF file")
    file_header, section_header = _LAYOUTS[elf[:6]]
    try:
        header = file_header.unpack_from(elf)
        offset, size, count, names = header[6], header[11], header[12], header[13]
        places = (offset + size * index for index in range(count))
        sections = [section_header.unpack_from(elf, at) for at in places]
        strings = sections[names][4]
        for section in sections:
            start = strings + section[0]
            if elf[start : start + len(name) + 1] == name + b"\0":
                return elf[section[4] : section[4] + section[5]]
    except (struct.error, IndexError):
        raise ModuleError("it is cut short") from None
    raise ModuleError(f"it has no section {name.decode()}")


class ModuleTree:
    """The modules of one kernel version: a folder such as ``/lib/modules/6.1.0-1-amd64``."""

    def __init__(self, root: Path) -> None:
        self._paths = {
            _plain(path.name.partition(".ko")[0]): path
            for path in root.rglob("*.ko*")
            if path.name.endswith(_SUFFIXES)
        }
        builtin = root / "modules.builtin"
        lines = builtin.read_text(encoding="utf-8").splitlines() if builtin.exists() else []
        self._builtin = {_plain(Path(line).stem) for line in lines}

    def load_order(self, wanted: list[str]) -> list[tuple[str, bytes]]:
        """Name and contents of the wanted modules and all they need, each after what it needs.

        What is built into the kernel is left out; ``ModuleError`` names what does not exist.
        """
        found: dict[str, bytes] = {}
        for name in wanted:
            self._collect(_plain(name), found, ())
        return list(found.items())

    def _collect(self, name: str, found: dict[str, bytes], above: tuple[str, ...]) -> None:
        if name in found or name in self._builtin:
            return
        if name in above:
            raise ModuleError(f"module {name} needs itself: {' -> '.join((*above, name))}")
        data = self._read(name)
        try:
            needs = information(data).get("depends", [""])[0]
        except ModuleError as error:
            raise ModuleError(f"{self._paths[name]} is not a kernel module: {error}") from None
        for needed in filter(None, needs.split(",")):
            self._collect(_plain(needed), found, (*above, name))
        found[name] = data

    def _read(self, name: str) -> bytes:
        path = self._paths.get(name)
        if path is None:
            raise ModuleError(f"this kernel has no module {name}")
        data = path.read_bytes()
        return lzma.decompress(data) if path.suffix == ".xz" else data


def _plain(name: str) -> str:
    return name.replace("-", "_")
