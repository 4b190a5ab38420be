"""Systems that are not Cloister's, as graphs in files: TOML, or JSON of the same form.

::

    name = "hosted"
    title = "A monitor in a process of a general-purpose system"
    source = "where this is known from"

    [[component]]
    name = "vmm"
    code = ["figure:qemu-pc"]       # as in tools/tcb/code/sizes.py
    kind = "program"                # or "guest", "asset", "rank"
    process = "kernel"              # if it is in one with others

    [[influence]]
    source = ["kernel"]             # or one name
    target = ["vmm", "guest"]       # "*" is everybody else
    properties = ["integrity"]      # or "all"
    holder = "target"               # which of the two holds the capability, if it is one
    why = "{source} runs below {target}"

    [subject]
    "vm:guest" = ["guest"]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from tools.errors import UserError
from tools.tcb.graph.model import ALL, Component, Graph, Influence, Kind, Property, graph

FOLDER: Final = Path(__file__).with_name("models")


class ComponentEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    code: list[str] = []
    kind: Literal["program", "guest", "asset", "rank"] = "program"
    process: str = ""


class InfluenceEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    source: str | list[str]
    target: str | list[str]
    properties: list[Property] | Literal["all"] = "all"
    holder: Literal["", "source", "target"] = ""
    why: str


class Model(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A file."""

    name: str
    title: str = ""
    source: str = ""
    """Where it is known from."""
    component: list[ComponentEntry]
    influence: list[InfluenceEntry]
    subject: dict[str, list[str]] = {}


def parse(text: bytes, kind: str, where: str) -> Graph:
    """The graph of a file, ``.toml`` or ``.json``; raises ``UserError`` for one that is wrong."""
    decode: Any = msgspec.toml.decode if kind == ".toml" else msgspec.json.decode
    try:
        model: Model = decode(text, type=Model)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(f"{where} is no model of a system: {error}") from None
    return graph(
        model.name,
        [Component(entry.name, Kind(entry.kind), tuple(entry.code)) for entry in model.component],
        [each for entry in model.influence for each in _influences(entry, model)],
        {entry.name: entry.process for entry in model.component if entry.process},
        {name: tuple(parts) for name, parts in model.subject.items()},
    )


def _influences(entry: InfluenceEntry, model: Model) -> Iterator[Influence]:
    properties = ALL if entry.properties == "all" else frozenset(entry.properties)
    for source in _names(entry.source):
        others = [each.name for each in model.component if each.name != source]
        for target in others if entry.target == "*" else _names(entry.target):
            held = None
            if entry.holder:
                held = (target, source) if entry.holder == "target" else (source, target)
            why = entry.why.replace("{source}", source).replace("{target}", target)
            yield Influence(source, target, properties, why, held)


def _names(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def known() -> list[str]:
    """The models that come with the tool."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def dump(graph: Graph) -> dict[str, Any]:
    """A graph in the form of these files; wrappers are not a part of them."""
    return {
        "name": graph.name,
        "component": [
            {
                "name": each.name,
                "code": list(each.code),
                "kind": str(each.kind),
                "process": graph.process(each.name),
            }
            for each in graph.components.values()
        ],
        "influence": [
            {
                "source": each.source,
                "target": each.target,
                "properties": sorted(each.properties),
                "holder": ""
                if not each.held
                else "target"
                if each.held[0] == each.target
                else "source",
                "why": each.why,
            }
            for each in graph.influences
        ],
        "subject": {name: list(parts) for name, parts in graph.subjects.items()},
    }
