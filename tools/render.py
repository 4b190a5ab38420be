"""Tables and units for people: with colour at a terminal, plain aligned columns elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

_STYLES: Final = {
    **dict.fromkeys(("running", "ok"), "green"),
    **dict.fromkeys(("failed", "missing"), "red"),
    **dict.fromkeys(("restarting", "paused"), "yellow"),
    **dict.fromkeys(("stopped", "-"), "dim"),
}
"""How certain words look in a table at a terminal."""


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers are aligned to the right."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    numeric = [_numeric(cells, index) for index in range(len(columns))]
    if sys.stdout.isatty():
        _rich(columns, cells, numeric)
        return
    lines = [list(columns), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(padded).rstrip())


def printable(text: str) -> str:
    """``text`` on one line, and nothing in it that a terminal would act upon.

    Much of what is shown was said by processes that nobody trusts.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _numeric(cells: list[list[str]], column: int) -> bool:
    values = [row[column] for row in cells if row[column] != "-"]
    return bool(values) and all(value[0:1].isdigit() for value in values)


def _rich(columns: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name, right in zip(columns, numeric, strict=True):
        shown.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in cells:
        shown.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(shown)


def size(count: int) -> str:
    """Bytes for a person, such as ``12.5M``."""
    value = float(count)
    for unit in ("", "K", "M"):
        if value < 1024:
            return f"{value:.0f}{unit}" if value >= 100 or not unit else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}G"


def seconds(nanoseconds: int) -> str:
    """A duration for a person, such as ``1.25s``."""
    return f"{nanoseconds / 1e9:.2f}s"
