"""Published and counted sizes of other systems, and of the platform below Cloister.

``figures.toml`` holds them, each with its source; nothing else in the tool knows a number by heart.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from tools.errors import UserError

FILE: Final = Path(__file__).with_name("figures.toml")

How = Literal["counted", "preprocessed", "published", "estimated"]
"""Counted in the source tree; after the preprocessor of one configuration; as its authors say; or
counted for a choice of files that is somebody's judgement."""
Role = Literal["kernel", "vmm", "system", "runtime", "interpreter", "tpm", "platform"]


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The size of one thing."""

    name: str
    """Unique, such as ``nova-2010``."""
    title: str
    """For people."""
    role: Role
    lines: int
    """Source lines, without comments and blank ones."""
    year: int
    """Of the version that was counted, or of the publication."""
    what: str
    """Which part, of which version."""
    how: How
    source: str
    """Where the number, or the source that was counted, comes from."""
    library: str = ""
    """What the names of the shared libraries that are built from it begin with, if any are."""
    layer: str = ""
    """The layer of Cloister's own platform that this is a part of, if it is."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    figure: list[Figure]


def parse(text: str) -> dict[str, Figure]:
    """The figures of a file by name; raises ``UserError`` for one that is wrong."""
    try:
        figures = msgspec.toml.decode(text, type=_File).figure
    except msgspec.DecodeError as error:  # the base of ValidationError
        raise UserError(f"figures: {error}") from None
    found: dict[str, Figure] = {}
    for figure in figures:
        if figure.name in found:
            raise UserError(f"figures: there are two named {figure.name!r}")
        if figure.lines <= 0:
            raise UserError(f"figures: {figure.name!r} has no lines")
        found[figure.name] = figure
    return found


@cache
def figures() -> dict[str, Figure]:
    """What is in ``figures.toml``."""
    return parse(FILE.read_text(encoding="utf-8"))


def figure(name: str) -> Figure:
    """One of them; raises ``UserError`` if there is none such."""
    found = figures().get(name)
    if found is None:
        raise UserError(f"there is no figure named {name!r}; there are {', '.join(figures())}")
    return found


def layer(name: str) -> int:
    """Source lines of a layer of the platform, as far as figures know it; 0 if they do not."""
    return sum(found.lines for found in figures().values() if found.layer == name)
