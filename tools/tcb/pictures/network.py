"""The graph of authority: who influences whom, with a subject's trusted code base marked.

The subject is on top; below it, row by row, those who influence it through those above.  Who
influences everybody is one bar at the bottom, and who is not trusted at all is beside the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tools.tcb.graph.closure import Closure, closures
from tools.tcb.graph.model import Graph, Kind, Property
from tools.tcb.pictures import svg

_ROW, _HEIGHT, _GAP, _MARGIN, _WIDEST = 84, 36, 18, 20, 1080
_FILLS: Final = {3: "#26547c", 2: "#6f9bc2", 1: "#cfe0ee", 0: "#ffffff"}
"""By the number of properties that somebody is trusted with: darker is more."""
_EVERYBODY: Final = 0.8
"""Who influences this share of all processes is drawn as below all of them."""
_LEGEND: Final = (
    "Trusted for I integrity, C confidentiality, A availability; darker for more of them, dashed "
    "for none.",
    "An arrow goes from who has influence to whom. Double outline: guest. Rounded: disk, device.",
)


def network(graph: Graph, subject: str, wrappers: bool = True) -> str:
    """A picture of the graph; raises ``UserError`` if there is no such subject."""
    found = closures(graph, subject, wrappers)
    below = _below(graph)
    shown = [name for name in graph.members if not graph.is_rank(name) and name not in below]
    places, height = _places(_rows(graph, found, shown), _over(graph, found))
    width = max([600.0, *(x + w + _MARGIN for x, _, w in places.values())])
    parts = [svg.text(_MARGIN, _MARGIN + 4, f"{subject} in {graph.name}", font_weight="bold")]
    parts += _arrows(graph, places, found, wrappers)
    parts += [_node(graph, name, places[name], found) for name in places]
    if below:
        words = f"below everybody: {', '.join(below)}  [ICA]"
        box = {"x": _MARGIN, "y": height, "width": width - 2 * _MARGIN, "height": 30}
        parts.append(svg.element("rect", **box, fill=_FILLS[3], stroke=svg.INK))
        middle = {"text_anchor": "middle", "fill": "white"}
        parts.append(svg.text(width / 2, height + 20, words, **middle))
        height += 40
    for line in _LEGEND:
        parts.append(svg.text(_MARGIN, height + 14, line, font_size=11))
        height += 17
    marker = svg.element("path", d="M0 0 L8 4 L0 8 z", fill="#555")
    size = {"markerWidth": 8, "markerHeight": 8, "refX": 8, "refY": 4, "orient": "auto"}
    return svg.drawing(width, height + 10, parts, svg.element("marker", marker, id="to", **size))


def _below(graph: Graph) -> list[str]:
    """Those who influence nearly everybody."""
    reached: dict[str, set[str]] = {}
    for target, sources in graph.reaching.items():
        for reach in sources:
            reached.setdefault(reach.process, set()).add(target)
    runs = [name for name in graph.members if graph.kind(name) in (Kind.PROGRAM, Kind.ASSET)]
    return [
        name
        for name in graph.members
        if graph.kind(name) is Kind.PROGRAM
        and len(reached.get(name, set()) & set(runs)) > _EVERYBODY * (len(runs) - 1)
        and len(runs) > 3
    ]


def _rows(graph: Graph, found: Mapping[Property, Closure], shown: Sequence[str]) -> list[list[str]]:
    """Who is how far from the subject; who is not trusted comes last."""
    depths: dict[str, int] = {}
    for closure in found.values():
        for name in closure.steps:
            depth = len(closure.path(name))
            depths[name] = min(depth, depths.get(name, depth))
    trusted = [name for name in shown if name in depths]
    levels = sorted({depths[name] for name in trusted})
    rows = [[name for name in trusted if depths[name] == level] for level in levels]
    return [*rows, [name for name in shown if name not in depths]]


def _over(graph: Graph, found: Mapping[Property, Closure]) -> dict[str, str]:
    """Who is above whom, as far as arrows make them trusted."""
    return {
        name: graph.process(step.target)
        for closure in found.values()
        for name, step in closure.steps.items()
        if step is not None
    }


def _places(
    rows: Sequence[Sequence[str]], over: Mapping[str, str]
) -> tuple[dict[str, tuple[float, float, float]], float]:
    """``(x, y, width)`` of each process, and where the picture goes on below."""
    places: dict[str, tuple[float, float, float]] = {}
    y = 2.0 * _MARGIN
    for row in rows:
        line: list[str] = []
        for name in (*sorted(row, key=lambda name: places.get(over.get(name, ""), (0.0,))[0]), ""):
            if line and (not name or _span([*line, name]) > _WIDEST):
                x = (_WIDEST - _span(line)) / 2 + _MARGIN
                for each in line:
                    places[each] = (x, y, _width(each))
                    x += _width(each) + _GAP
                y += _ROW
                line = []
            line.append(name)
    return places, y


def _width(name: str) -> float:
    return max(80.0, svg.width_of(name) + 20)


def _span(names: Sequence[str]) -> float:
    return sum(_width(name) + _GAP for name in names) - _GAP


def _node(
    graph: Graph,
    name: str,
    place: tuple[float, float, float],
    found: Mapping[Property, Closure],
) -> str:
    x, y, width = place
    tag = "".join(wanted[0].upper() for wanted in Property if name in found[wanted])
    kind = graph.kind(name)
    ink = "white" if len(tag) == 3 else svg.INK
    frame = {"stroke": svg.INK, "stroke_dasharray": None if tag else "4 3"}
    rounded = 16 if kind is Kind.ASSET else 3
    box = {"x": x, "y": y, "width": width, "height": float(_HEIGHT), "rx": rounded}
    inside = svg.title(f"{name}: {', '.join(graph.members[name])}")
    inside += svg.element("rect", **box, fill=_FILLS[len(tag)], **frame)
    if kind is Kind.GUEST:
        inner = {"x": x + 3, "y": y + 3, "width": width - 6, "height": _HEIGHT - 6.0, "rx": 2}
        inside += svg.element("rect", **inner, fill="none", stroke=ink)
    middle = {"text_anchor": "middle", "fill": ink}
    inside += svg.text(x + width / 2, y + 16, name, **middle)
    inside += svg.text(x + width / 2, y + 29, tag or "not trusted", font_size=9, **middle)
    return svg.element("g", inside)


def _arrows(
    graph: Graph,
    places: Mapping[str, tuple[float, float, float]],
    found: Mapping[Property, Closure],
    wrappers: bool,
) -> list[str]:
    """One for each pair with influence; strong where it makes somebody trusted."""
    steps = {
        (graph.process(step.source), graph.process(step.target))
        for closure in found.values()
        for step in closure.steps.values()
        if step is not None
    }
    drawn: dict[tuple[str, str], str] = {}
    for target, sources in graph.reaching.items():
        for reach in sources:
            ends = (reach.process, target)
            affected = reach.properties if wrappers else reach.unwrapped
            if affected and target in places and reach.process in places:
                drawn.setdefault(ends, reach.influence.why)
    return [
        _arrow(places[source], places[target], words, (source, target) in steps)
        for (source, target), words in drawn.items()
    ]


def _arrow(
    source: tuple[float, float, float], target: tuple[float, float, float], words: str, strong: bool
) -> str:
    x1, y1 = source[0] + source[2] / 2, source[1]
    x2, y2 = target[0] + target[2] / 2, target[1] + _HEIGHT
    if source[1] <= target[1]:  # from above, or beside: around
        y1, y2 = source[1] + _HEIGHT, target[1] + _HEIGHT
        bend = max(y1, y2) + 26
        path = f"M{x1:.1f} {y1:.1f} C{x1:.1f} {bend:.1f} {x2:.1f} {bend:.1f} {x2:.1f} {y2:.1f}"
    else:
        middle = (y1 + y2) / 2
        path = f"M{x1:.1f} {y1:.1f} C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
    return svg.element(
        "path",
        svg.title(words),
        d=path,
        fill="none",
        stroke="#444" if strong else "#aaa",
        stroke_width=1.3 if strong else 0.8,
        marker_end="url(#to)",
    )
