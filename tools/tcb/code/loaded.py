"""What a program has loaded when its ``main`` begins.

A program is started as the kernel starts it, with the same interpreter, options and import path,
but outside of a sandbox: it imports what a process imports, prepares, and instead of running tells
what there is.  After that point a process can open no file, so this is all that it ever runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from tools.errors import UserError
from tools.system import import_path

RUNTIME: Final = ("servers.runtime.start", "servers.runtime.host")
"""What every process loads."""
KERNEL: Final = "kernel.machine.host.main"
_TIMEOUT: Final = 60.0
_PROBE: Final = """
import importlib, sys
sys.path[:] = [*sys.argv[1].split("\\n"), *sys.path]
for name in sys.argv[2].split():
    module = importlib.import_module(name)
getattr(module, "prepare", lambda: None)()
loaded = list(sys.modules.items())
with open("/proc/self/maps") as maps:
    mapped = {words[5].strip() for line in maps if "x" in (words := line.split(None, 5))[1]
              and len(words) > 5}
import json  # only now: it might be what the program does without
spec = lambda module: getattr(module, "__spec__", None)
print(json.dumps({
    "modules": {
        name: [getattr(spec(module), "origin", None), getattr(module, "__file__", None)]
        for name, module in loaded if name != "__main__"
    },
    "mapped": sorted(path for path in mapped if path.startswith("/")),
}))
"""


class Layer(StrEnum):
    """Where source comes from."""

    OWN = "own"
    THIRD_PARTY = "third-party"
    STANDARD_LIBRARY = "standard library"


class Loaded(NamedTuple):
    """What is in a process."""

    sources: dict[Layer, tuple[Path, ...]]
    """Python files."""
    libraries: tuple[Path, ...]
    """Native ones, extension modules among them, without the interpreter's own file."""
    interpreter: tuple[Path, ...]
    """The executable, and the library it may be in."""
    modules: frozenset[str]
    """All that can be imported by name, built-in ones among them."""


@cache
def loaded(program: str, runtime: bool = True, modules: tuple[str, ...] = ()) -> Loaded:
    """What is loaded with ``program.main``, or with the module itself if not ``runtime``.

    ``modules`` are those that it loads besides, because of its configuration.

    Raises ``UserError`` for a program that cannot be imported.
    """
    names = [*RUNTIME, *modules, f"{program}.main"] if runtime else [program]
    command = [os.path.realpath(sys.executable), "-I", "-S", "-B", "-X", "utf8", "-c", _PROBE]
    done = subprocess.run(
        [*command, "\n".join(import_path()), " ".join(names)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise UserError(f"the program {program} cannot be loaded: {reason}")
    return _sorted_out(json.loads(done.stdout))


def _sorted_out(found: dict[str, dict[str, list[str | None]]]) -> Loaded:
    sources: dict[Layer, dict[Path, None]] = {layer: {} for layer in Layer}
    for origin, file in found["modules"].values():
        for name in (file, origin):  # a frozen module's origin is no file, though it has one
            if name and name.endswith(".py") and os.path.isfile(name):
                path = Path(name).resolve()
                sources[layer_of(path)][path] = None
                break
    executable = os.path.realpath(sys.executable)
    mapped = [Path(path) for path in found["mapped"] if isinstance(path, str)]
    interpreter = [p for p in mapped if str(p) == executable or p.name.startswith("libpython")]
    return Loaded(
        {layer: tuple(sorted(files)) for layer, files in sources.items()},
        tuple(path for path in mapped if path not in interpreter),
        tuple(interpreter),
        frozenset(found["modules"]),
    )


def layer_of(path: Path) -> Layer:
    """Whose a Python file is."""
    if any(part in ("site-packages", "dist-packages") for part in path.parts):
        return Layer.THIRD_PARTY
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    return Layer.STANDARD_LIBRARY if path.is_relative_to(standard) else Layer.OWN
