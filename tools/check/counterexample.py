"""Counterexamples: how they are told, written down and repeated.

As text one is ``CONFIGURATION: ACTION ACTION ...``, or ``CONFIGURATION/MUTANT: ...`` for a kernel
that is broken on purpose.  An action is a thread's name, ``client`` for the next call of its script
or ``client.3`` for a call of its alphabet; or what the machine does, as ``unmapped.0`` or ``time``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from kernel.abi import Error
from tools.check.configurations import CONFIGURATIONS
from tools.check.explore import Violation, broken_by
from tools.check.model import Action, Actor, World
from tools.check.mutants import MUTANTS, applied
from tools.errors import UserError

NAMED = {mutant.__name__.replace("_", "-"): mutant for mutant in MUTANTS}
"""The mutants by the names that people give them."""
_TIME = "time"
_EVENTS = ("unmapped", "ended", "interrupt", "crash", _TIME)


class Counterexample(NamedTuple):
    """A way to break a law."""

    configuration: str
    mutant: str
    """Empty if the kernel is as it should be."""
    path: tuple[Action, ...]

    @staticmethod
    def of(configuration: str, mutant: str, violation: Violation) -> Counterexample:
        return Counterexample(configuration, mutant, violation.path)

    def _kernel(self) -> AbstractContextManager[None]:
        """With the kernel that it is about."""
        return applied(NAMED[self.mutant]) if self.mutant else nullcontext()

    def text(self) -> str:
        """As it is given to ``--replay``."""
        actors = [actor.name for actor in CONFIGURATIONS[self.configuration].build().actors]
        where = f"{self.configuration}/{self.mutant}" if self.mutant else self.configuration
        return f"{where}: {' '.join(_token(action, actors) for action in self.path)}".rstrip()

    def command(self) -> str:
        """What repeats it."""
        return f"./cloister check --replay {shlex.quote(self.text())}"

    def repeat(self) -> Repeated:
        """Do it again."""
        world = CONFIGURATIONS[self.configuration].build()
        with self._kernel():
            broken = broken_by(world.check)
            lines: list[str] = []
            for action in self.path:
                if broken is not None:
                    break
                if not _possible(world, action):
                    return Repeated(lines, None, complete=False)
                broken, line = _taken(world, action)
                lines.append(line)
            if broken is None and not world.actions():
                broken = broken_by(world.check_end)
            return Repeated(lines, broken, complete=True)

    def saved(self) -> dict[str, Any]:
        """As it is written to a file; what is not ``replay`` is for people."""
        repeated = self.repeat()
        law, wrong = repeated.broken or ("", "all laws hold")
        return {"replay": self.text(), "law": law, "wrong": wrong, "script": repeated.lines}


class Repeated(NamedTuple):
    """What came of repeating one."""

    lines: list[str]
    """Its steps in words."""
    broken: tuple[str, str] | None
    """The law that it breaks, and what is wrong."""
    complete: bool
    """False if it cannot be taken: the kernel does otherwise by now."""

    def numbered(self) -> Iterator[str]:
        width = len(str(len(self.lines)))
        for number, line in enumerate(self.lines, start=1):
            yield f"{number:{width}}  {line}"


def _possible(world: World, action: Action) -> bool:
    return action in world.actions()


def _taken(world: World, action: Action) -> tuple[tuple[str, str] | None, str]:
    """Take an action; the law that it breaks, and the action in words with what came of it."""
    line = world.describe(action)
    before = {id(actor): actor.last for actor in world.actors}
    broken = broken_by(lambda: world.perform(action)) or broken_by(world.check)
    caller = world.actors[action.which] if action.kind == "run" else None
    said = [
        f"{actor.name} gets {_answer(actor)}"
        for actor in world.actors
        if actor is not caller and before[id(actor)] is not actor.last
    ]
    if caller is not None:
        returned = before[id(caller)] is not caller.last
        gone = caller.thread not in caller.thread.space.threads or not caller.thread.space.alive
        line += f" -> {_answer(caller) if returned else 'ends' if gone else 'waits'}"
    return broken, "; ".join([line, *said])


def _answer(actor: Actor) -> str:
    error, *results = actor.last
    if error:
        return Error(error).name
    return ", ".join(map(_shown, results)) or "ok"


def _shown(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else repr(value)


def _token(action: Action, actors: list[str]) -> str:
    if action.kind == "run":
        name = actors[action.which]
        return name if action.choice < 0 else f"{name}.{action.choice}"
    return action.kind if action.kind == _TIME else f"{action.kind}.{action.which}"


def _action(token: str, actors: list[str]) -> Action:
    """Raises ``ValueError`` if there is no such action."""
    name, _, number = token.partition(".")
    if name in actors:
        return Action("run", actors.index(name), int(number) if number else -1)
    if name not in _EVENTS:
        raise ValueError(token)
    return Action(name, int(number) if number else 0)


def parse(text: str) -> Counterexample:
    """The counterexample that a text names; raises ``ValueError`` if it names none."""
    where, colon, path = text.partition(":")
    configuration, _, mutant = where.strip().partition("/")
    known = configuration in CONFIGURATIONS and (not mutant or mutant in NAMED)
    if not (colon and known):
        raise ValueError(text)
    actors = [actor.name for actor in CONFIGURATIONS[configuration].build().actors]
    actions = tuple(_action(token, actors) for token in path.split())
    return Counterexample(configuration, mutant, actions)


def read(given: str) -> Counterexample:
    """The counterexample in a file, or in the text itself."""
    try:
        return parse(given)
    except ValueError:
        if ":" in given and not Path(given).exists():
            raise UserError(
                f"{given!r} is no counterexample: a thread or name in it is unknown"
            ) from None
    try:
        return parse(json.loads(Path(given).read_text(encoding="utf-8"))["replay"])
    except OSError as error:
        raise UserError(f"cannot read {given}: {error.strerror}") from None
    except (AttributeError, LookupError, TypeError, ValueError):
        raise UserError(
            f"{given} is no counterexample that `cloister check --save` wrote"
        ) from None


def save(folder: Path, found: list[Counterexample]) -> None:
    """Write each to a file of its own."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            path = folder / f"{one.mutant or one.configuration}.json"
            path.write_text(json.dumps(one.saved(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
