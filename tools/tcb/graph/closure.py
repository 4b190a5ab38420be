"""Who is trusted: all who can affect a subject, directly or through others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tools.errors import UserError
from tools.tcb.graph.model import Graph, Influence, Property


@dataclass(frozen=True)
class Closure:
    """A trusted code base: for one subject, in one property."""

    graph: Graph
    wanted: Property
    steps: Mapping[str, Influence | None]
    """Process -> its influence on one that is nearer to the subject; None for the subject itself.
    Nearest first."""

    def __contains__(self, process: str) -> bool:
        return process in self.steps

    def members(self) -> list[str]:
        """Processes and assets, nearest first."""
        return [name for name in self.steps if not self.graph.is_rank(name)]

    def path(self, process: str) -> list[Influence]:
        """Why: the shortest chain of influence from a member to the subject."""
        chain = []
        step = self.steps[process]
        while step is not None:
            chain.append(step)
            step = self.steps[self.graph.process(step.target)]
        return chain


def closure(
    graph: Graph, subject: Iterable[str], wanted: Property, wrappers: bool = True
) -> Closure:
    """All that can affect some processes; without ``wrappers`` as if nothing were protected."""
    steps: dict[str, Influence | None] = dict.fromkeys(subject)
    waiting = deque(steps)
    reaching = graph.reaching
    while waiting:
        for process, plain, whole, influence in reaching.get(waiting.popleft(), ()):
            if process not in steps and wanted in (plain if wrappers else whole):
                steps[process] = influence
                waiting.append(process)
    return Closure(graph, wanted, steps)


def closures(graph: Graph, subject: str, wrappers: bool = True) -> dict[Property, Closure]:
    """All three of a subject; raises ``UserError`` if there is none such."""
    found = graph.subject(subject)
    return {wanted: closure(graph, found, wanted, wrappers) for wanted in Property}


def why(graph: Graph, subject: str, member: str, wrappers: bool = True) -> dict[Property, Closure]:
    """The closures that a member is in; raises ``UserError`` if either is not in the graph."""
    process = graph.in_process(member)
    if graph.is_rank(process):
        raise UserError(f"{member!r} is a priority, which nobody has to trust")
    return {p: c for p, c in closures(graph, subject, wrappers).items() if process in c}
