"""Tables: with colour for a person, aligned columns for everything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def show(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _show_rich(columns, cells)
        return
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for row in [list(columns), *cells]:
        line = (
            cell.rjust(width) if _numeric(cells, i) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(line).rstrip())


def _numeric(cells: list[list[str]], column: int) -> bool:
    return bool(cells) and all(row[column][:1].isdigit() or row[column] == "-" for row in cells)


def _show_rich(columns: Sequence[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if _numeric(cells, index) else "left")
    for row in cells:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


_STYLES = {"running": "green", "failed": "red", "restarting": "yellow", "stopped": "dim"}


def size(count: int) -> str:
    """Bytes for a person: ``12.5M``."""
    value = float(count)
    for unit in ("", "K", "M"):
        if value < 1024:
            return f"{value:.0f}{unit}" if value >= 100 or not unit else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}G"


def seconds(nanoseconds: int) -> str:
    """A duration for a person."""
    return f"{nanoseconds / 1e9:.2f}s"
