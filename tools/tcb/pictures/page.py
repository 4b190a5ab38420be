"""A report as one page that needs nothing else: pictures, tables, reasons and the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Final

from tools.tcb.code import measure
from tools.tcb.code.loaded import Layer
from tools.tcb.graph.model import Graph
from tools.tcb.pictures import bars, network
from tools.tcb.report import Report

_STYLE: Final = """
body { font: 15px/1.5 DejaVu Sans, Verdana, Arial, sans-serif; color: #1a1a1a; max-width: 1180px;
       margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid #ccc;
         vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto; border: 1px solid #ccc }
pre { font-size: 12px; overflow: auto }
"""
_AMOUNTS: Final = (*map(str, Layer), measure.OTHER)


def page(graph: Graph, found: Report) -> str:
    """The page's text."""
    name = f"Who {found.subject} trusts in {found.system}"
    shown = [
        row
        for wanted, base in found.bases.items()
        for row in bars.rows(found.subject, {wanted: base.total})
    ]
    protected = "" if found.wrappers else "<p>As if nothing were encrypted or authenticated.</p>"
    sections = [
        f"<h1>{escape(name)}</h1>{protected}",
        network.network(graph, found.subject, found.wrappers),
        f"<h2>How much code</h2>{bars.bars(shown)}",
        *(
            f"<h2>{escape(str(wanted).capitalize())}</h2>"
            + _table(
                (
                    [m.name, str(m.kind), *_lines(m.code), _native(m.code), "; ".join(m.path)]
                    for m in base.members.values()
                ),
                ["member", "kind", *_AMOUNTS, "native KiB", "why"],
            )
            for wanted, base in found.bases.items()
        ),
        "<h2>How this was counted</h2><pre>"
        + escape(json.dumps(found.json()["manifest"], indent=1))
        + "</pre>",
    ]
    head = f'<meta charset="utf-8"><title>{escape(name)}</title><style>{_STYLE}</style>'
    return (
        f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{"".join(sections)}</body></html>'
    )


def _lines(code: measure.Code) -> list[int]:
    lines = code.lines()
    return [lines[name] for name in _AMOUNTS]


def _native(code: measure.Code) -> int:
    return code.text_bytes()[measure.NATIVE] // 1024


def _table(rows: Iterable[list[object]], columns: list[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"
