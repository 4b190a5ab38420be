"""What if: the same system with other processes, fewer capabilities, or better protection."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace

from tools.errors import UserError
from tools.tcb.graph.model import Capability, Graph, Influence, Kind, Properties


def merge(graph: Graph, processes: Sequence[str]) -> Graph:
    """Several processes as one, which is called as the first."""
    first, *others = [_process(graph, name) for name in processes]
    moved = {part: first for other in others for part in graph.members[other]}
    return replace(graph, process_of={**graph.process_of, **moved})


def move(graph: Graph, component: str, process: str) -> Graph:
    """A component in another process, or in a new one of that name."""
    if component not in graph.components:
        component = _only_component(graph, component)
    if process in graph.components:
        process = graph.process(process)
    _process(graph, component)
    return replace(graph, process_of={**graph.process_of, component: process})


def split(graph: Graph, server: str, client: str) -> Graph:
    """An instance of a server for one client alone; the others stay with the first."""
    server, client = _only_component(graph, server), _only_component(graph, client)
    own = f"{server} for {client}"
    _found(graph, client, server)
    components = {**graph.components, own: replace(graph.components[server], name=own)}
    influences: list[Influence] = []
    for influence in graph.influences:
        if influence.held == (client, server):
            influences.append(_renamed(influence, server, own))
            continue
        influences.append(influence)
        of_its_own = influence.held is None or influence.held[0] == server
        if of_its_own and server in (influence.source, influence.target):
            influences.append(_renamed(influence, server, own))
    return replace(graph, components=components, influences=tuple(influences))


def drop(graph: Graph, holder: str, held: str) -> Graph:
    """Without the capabilities of one process to another, or to an asset."""
    gone = _found(graph, holder, held)
    return replace(graph, influences=tuple(i for i in graph.influences if i.held not in gone))


def wrap(graph: Graph, holder: str, held: str, properties: Properties, how: str) -> Graph:
    """With a holder that protects what it gets by its capability, in some properties."""
    found = _found(graph, holder, held)
    guests = {each.name for each in graph.components.values() if each.kind is Kind.GUEST}
    return replace(
        graph, influences=tuple(protect(graph.influences, found, properties, how, guests))
    )


def protect(
    influences: Iterable[Influence],
    held: Container[Capability],
    properties: Properties,
    how: str,
    guests: Container[str],
) -> Iterator[Influence]:
    """What is left of influences when holders protect what they get by some capabilities.

    What they and their guests do to others is as before.
    """
    for influence in influences:
        capability = influence.held
        comes = (
            capability is not None
            and capability in held
            and influence.source != capability[0]
            and influence.source not in guests
        )
        yield influence.without(properties, how) if comes else influence


def _found(graph: Graph, holder: str, held: str) -> set[Capability]:
    """The capabilities of one process to another; raises ``UserError`` if there are none."""
    one, other = _process(graph, holder), _process(graph, held)
    found = {
        influence.held
        for influence in graph.influences
        if influence.held is not None
        and influence.held[1] in graph.components
        and (graph.process(influence.held[0]), graph.process(influence.held[1])) == (one, other)
    }
    if not found:
        raise UserError(f"{graph.name}: {holder} holds no capability to {held}")
    return found


def _process(graph: Graph, name: str) -> str:
    process = graph.in_process(name)
    if graph.is_rank(process):
        raise UserError(f"{name!r} is a priority, not a process")
    return process


def _only_component(graph: Graph, name: str) -> str:
    if name in graph.components:
        return name
    inside = graph.members[_process(graph, name)]
    if len(inside) != 1:
        raise UserError(f"{name!r} has several components: {', '.join(inside)}; name one of them")
    return inside[0]


def _renamed(influence: Influence, old: str, new: str) -> Influence:
    source, target = (new if end == old else end for end in (influence.source, influence.target))
    held = influence.held
    if held is not None:
        held = (new if held[0] == old else held[0], new if held[1] == old else held[1])
    why = influence.why.replace(old, new)
    return replace(influence, source=source, target=target, held=held, why=why)
