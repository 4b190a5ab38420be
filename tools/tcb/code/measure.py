"""How much a process runs, by layer.

Layers are kept apart, because their numbers do not add up to anything: a line of the program itself
is read by those who trust it, one of the host's kernel was read by others, and a library that came
without source has only a size.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tools.tcb import figures
from tools.tcb.code import elf, lines, surface
from tools.tcb.code.loaded import KERNEL, Layer, Loaded, loaded

NATIVE: Final = "native"
INTERPRETER: Final = "interpreter"
HOST_KERNEL: Final = "host kernel"
FIRMWARE: Final = "firmware"
GUEST: Final = "guest"
"""A guest that is trusted by somebody, about which nothing is known."""
OTHER: Final = "other systems"
"""What is known by its figure alone, in models of other systems."""
LAYERS: Final = (*map(str, Layer), NATIVE, INTERPRETER, HOST_KERNEL, FIRMWARE, GUEST, OTHER)


@dataclass(frozen=True)
class Part:
    """One file, or a thing that is known by its figure alone."""

    name: str
    """Its path, or what it is."""
    lines: int | None
    """Source lines; None where nobody here knows."""
    text_bytes: int = 0
    """Machine code."""


@dataclass(frozen=True)
class Code:
    """What one process runs, or several together."""

    parts: Mapping[str, frozenset[Part]]
    """By layer."""
    system_calls: int
    """Of the host, that the process can reach; the most of any, for several."""

    def lines(self) -> dict[str, int]:
        """Source lines by layer, of the parts of which they are known."""
        return {layer: sum(part.lines or 0 for part in self.parts[layer]) for layer in LAYERS}

    def text_bytes(self) -> dict[str, int]:
        """Bytes of machine code by layer."""
        return {layer: sum(part.text_bytes for part in self.parts[layer]) for layer in LAYERS}

    def unknown(self) -> dict[str, list[str]]:
        """The parts by layer whose source lines are not known."""
        return {
            layer: sorted(part.name for part in parts if part.lines is None)
            for layer, parts in self.parts.items()
        }


def together(codes: Iterable[Code]) -> Code:
    """What several processes run; what more than one of them runs counts once."""
    known = list(codes)
    parts = {
        layer: frozenset[Part]().union(*(code.parts[layer] for code in known)) for layer in LAYERS
    }
    return Code(parts, max((code.system_calls for code in known), default=0))


@cache
def process(program: str, executable: bool = False, modules: tuple[str, ...] = ()) -> Code:
    """What a user-mode process runs; ``executable`` if it may make memory executable.

    ``modules`` are those that it loads besides, because of its configuration.

    Raises ``UserError`` for a program that cannot be loaded.
    """
    return _measure(loaded(program, modules=modules), surface.system_calls(executable))


@cache
def kernel() -> Code:
    """What the kernel's process runs, which no filter confines."""
    return _measure(loaded(KERNEL, runtime=False), 0)


@cache
def tool(module: str) -> Code:
    """What a process of the person's tools runs, which no filter confines."""
    return _measure(loaded(module, runtime=False), 0)


def alone(layer: str, part: Part) -> Code:
    """One part, without any platform."""
    return Code({**dict.fromkeys(LAYERS, frozenset[Part]()), layer: frozenset([part])}, 0)


def _measure(found: Loaded, system_calls: int) -> Code:
    counts = lines.counted(file for files in found.sources.values() for file in files)
    parts = {
        str(layer): frozenset(Part(str(file), counts[file].lines) for file in files)
        for layer, files in found.sources.items()
    }
    libraries = [(path, _library(path)) for path in found.libraries]
    parts[NATIVE] = frozenset(Part(str(p), known, elf.text_bytes(p)) for p, known in libraries)
    empty = dict.fromkeys(LAYERS, frozenset[Part]())
    return Code({**empty, **parts, **_platform(found.interpreter)}, system_calls)


def _library(path: Path) -> int | None:
    """Source lines of a native library, where a figure knows them."""
    for figure in figures.figures().values():
        if figure.library and path.name.startswith(figure.library):
            return figure.lines
    return None


def _platform(interpreter: tuple[Path, ...]) -> dict[str, frozenset[Part]]:
    """What is below every process: the same for all."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    text = sum(elf.text_bytes(path) for path in interpreter)
    return {
        INTERPRETER: frozenset([Part(python, figures.layer(INTERPRETER), text)]),
        HOST_KERNEL: frozenset(
            [Part(f"{platform.system()} {platform.release()}", figures.layer(HOST_KERNEL))]
        ),
        FIRMWARE: frozenset([Part("the machine's firmware", None)]),
    }


def manifest(code: Code) -> dict[str, Any]:
    """What was measured and with what: enough to measure it again, and to see what changed."""
    paths = [Path(part.name) for parts in code.parts.values() for part in parts]
    return {
        "counted_by": lines.version(),
        "python": sys.version.partition(" ")[0],
        "host_kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "figures": {
            name: figure.lines for name, figure in figures.figures().items() if figure.layer
        },
        "sha256": {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(paths)
            if path.is_absolute() and path.is_file()
        },
    }
