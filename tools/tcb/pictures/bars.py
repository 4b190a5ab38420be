"""Stacked bars: how much code is trusted, by layer, for each property and system."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from tools.tcb.code import measure
from tools.tcb.code.loaded import Layer
from tools.tcb.code.measure import Code
from tools.tcb.graph.model import Property
from tools.tcb.pictures import svg

_BAR, _GAP, _LABEL, _WIDTH, _MARGIN = 20, 8, 250, 560, 16


class Look(NamedTuple):
    """How a layer is drawn."""

    colour: str
    pattern: str


_LOOKS: Final[Mapping[str, Look]] = {
    Layer.OWN: Look("#2b5f8a", "solid"),
    Layer.THIRD_PARTY: Look("#9cc3e0", "diagonal"),
    Layer.STANDARD_LIBRARY: Look("#dbe9f4", "dots"),
    measure.OTHER: Look("#c9c9c9", "backward"),
    measure.NATIVE: Look("#e3b27a", "cross"),
    measure.INTERPRETER: Look("#d8e6c8", "lines"),
    measure.HOST_KERNEL: Look("#a9bf94", "columns"),
}


class Panel(NamedTuple):
    """Layers that have one scale."""

    title: str
    layers: tuple[str, ...]
    amount: Callable[[Code, str], int]


def _lines(code: Code, layer: str) -> int:
    return code.lines()[layer]


def _kibibytes(code: Code, layer: str) -> int:
    return code.text_bytes()[layer] // 1024


_PANELS: Final = (
    Panel(
        "source lines of what is trusted",
        (Layer.OWN, Layer.THIRD_PARTY, Layer.STANDARD_LIBRARY, measure.OTHER),
        _lines,
    ),
    Panel("its native code, KiB", (measure.NATIVE,), _kibibytes),
    Panel("source lines below all of it", (measure.INTERPRETER, measure.HOST_KERNEL), _lines),
)


class Row(NamedTuple):
    """One bar."""

    label: str
    code: Code


def rows(name: str, codes: Mapping[Property, Code]) -> list[Row]:
    """The bars of one system: as many as differ."""
    alike: dict[tuple[object, ...], list[Property]] = {}
    for wanted, code in codes.items():
        key = (*code.lines().values(), *code.text_bytes().values())
        alike.setdefault(key, []).append(wanted)
    return [
        Row(f"{name} ({''.join(p[0].upper() for p in same)})", codes[same[0]])
        for same in alike.values()
    ]


def bars(shown: Sequence[Row]) -> str:
    """A picture with a panel for each scale that has anything in it."""
    label = max([_LABEL, *(svg.width_of(row.label) + _MARGIN for row in shown)])
    parts, y = [], float(_MARGIN)
    for panel in _PANELS:
        drawn, y = _panel(panel, shown, label, y)
        parts += drawn
    parts.append(
        svg.text(
            *(_MARGIN, y + svg.SIZE),
            "I integrity, C confidentiality, A availability; what several members run counts once",
        )
    )
    definitions = "".join(svg.pattern(look.pattern, look.colour) for look in _LOOKS.values())
    return svg.drawing(label + _WIDTH + 130, y + 2 * svg.SIZE + _MARGIN, parts, definitions)


def _panel(panel: Panel, shown: Sequence[Row], label: float, y: float) -> tuple[list[str], float]:
    sums = [sum(panel.amount(row.code, layer) for layer in panel.layers) for row in shown]
    shown = [row for row, total in zip(shown, sums, strict=True) if total]
    totals = [total for total in sums if total]
    most = max(totals, default=0)
    if not most:
        return [], y
    parts = [svg.text(_MARGIN, y + svg.SIZE, panel.title, font_weight="bold")]
    x = label
    for layer in panel.layers:
        if any(panel.amount(row.code, layer) for row in shown):
            parts.append(_box(x, y + 1, 14, 13, layer, layer))
            parts.append(svg.text(x + 20, y + svg.SIZE, layer))
            x += 44 + svg.width_of(layer)
    y += _BAR + _GAP
    for row, total in zip(shown, totals, strict=True):
        parts.append(svg.text(_MARGIN, y + 15, row.label))
        x = label
        for layer in panel.layers:
            amount = panel.amount(row.code, layer)
            width = amount / most * _WIDTH
            if amount:
                parts.append(_box(x, y, width, _BAR, layer, f"{layer}: {amount:,}"))
            x += width
        parts.append(svg.text(x + 8, y + 15, f"{total:,}"))
        y += _BAR + _GAP
    return parts, y + _GAP


def _box(x: float, y: float, width: float, height: float, layer: str, words: str) -> str:
    fill = f"url(#{_LOOKS[layer].pattern})"
    return svg.element(
        "rect",
        svg.title(words),
        x=x,
        y=y,
        width=max(width, 1.0),
        height=height,
        fill=fill,
        stroke=svg.INK,
        stroke_width=0.8,
    )
