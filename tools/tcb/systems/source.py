"""A system by what a person calls it: its graph, wherever that comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tools import system as systems
from tools.errors import UserError
from tools.tcb.graph.model import Graph
from tools.tcb.systems import capdl, models
from tools.tcb.systems.description import described

MODEL: Final = "model:"
HELP: Final = (
    "a system description (a .toml file or a name in images/systems), model:NAME, or a file: a "
    "model (.toml, .json), a capDL specification (.cdl)"
)


def load(name: str) -> Graph:
    """The graph of a system; raises ``UserError`` if there is none such."""
    if name.startswith(MODEL):
        return _model(name.removeprefix(MODEL))
    path = Path(name)
    if path.suffix == ".cdl":
        return capdl.parse(_read(path).decode("utf-8", "replace"), path.stem)
    if path.suffix == ".json" or (path.suffix == ".toml" and _is_model(_read(path))):
        return models.parse(_read(path), path.suffix, name)
    return described(systems.load(name).description)


@contextmanager
def running(name: str) -> Iterator[Graph]:
    """The graph of a system that is booted for it, once its processes hold what they need."""
    from tools.tcb.systems.live import live

    found = systems.load(name)
    with systems.boot(found) as system:
        system.control.processes()  # init answers when all are started
        yield live(system, found)


def _model(name: str) -> Graph:
    path = models.FOLDER / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"there is no model {name!r}; there are {', '.join(models.known())}")
    return models.parse(path.read_bytes(), path.suffix, path.name)


def _is_model(text: bytes) -> bool:
    """Whether a TOML file is a model; what cannot be read is a description, which says why."""
    try:
        return "component" in tomllib.loads(text.decode())
    except (ValueError, RecursionError):
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
