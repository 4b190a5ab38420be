"""Goes through all states of a configuration, breadth first, so that what it finds is shortest.

Two orders of the same actions that end in the same state are looked at once from there on.  In
addition, an action that nothing else can interfere with need not be tried in every place: where one
is possible, it alone is taken (an ample set of one).  ``reduce=False`` leaves that out.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kernel.abi import Error
from tools.check import canonical, invariants
from tools.check.model import Action, Step, World

Build = Callable[[], World]
LOCAL: Final = ("clock", "endpoint_create", "notification_create", "frame_create", "link_create")
"""Calls that touch nothing but their own space, whose order with other calls is all the same."""


class Violation(NamedTuple):
    """A law that was broken, and how."""

    law: str
    path: tuple[Action, ...]


class Found(NamedTuple):
    """What became of an exploration."""

    states: int
    """Distinct ones."""
    transitions: int
    ends: frozenset[bytes]
    """Digests of the states from which nothing can happen."""
    seconds: float
    complete: bool
    """Whether all states were reached; else only those within the depth or number asked for."""
    violation: Violation | None


def explore(
    build: Build,
    depth: int | None = None,
    most: int | None = None,
    reduce: bool = True,
    tell: Callable[[int], None] | None = None,
) -> Found:
    """Explore until all is seen, the ``depth`` in actions or number of states is reached, or a law
    is broken.  ``tell`` is told the number of states now and then."""
    began = time.monotonic()
    gc.collect()
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 20, 1000)  # what is thrown away is thrown away a world at a time
    try:
        return _explore(build, depth, most, reduce, tell, began)
    finally:
        gc.set_threshold(*thresholds)


def _explore(
    build: Build,
    depth: int | None,
    most: int | None,
    reduce: bool,
    tell: Callable[[int], None] | None,
    began: float,
) -> Found:
    world = build()
    first = canonical.digest(world)
    cameby: dict[bytes, tuple[bytes, Action] | None] = {first: None}
    level = [(first, world.save())]
    transitions, ends, complete, violation = 0, set(), True, None
    broken = _broken(world)
    if broken is not None:
        violation = Violation(broken, ())
    steps = 0
    while level and violation is None:
        if depth is not None and steps >= depth:
            complete = False
            break
        steps += 1
        following: list[tuple[bytes, bytes]] = []
        for at, saved in level:
            world = World.restore(saved)
            actions = _chosen(world, reduce)
            if not actions:
                ends.add(at)
            for number, action in enumerate(actions):
                world = World.restore(saved) if number else world
                transitions += 1
                broken = _performed(world, action)
                found = canonical.digest(world) if broken is None else b""
                if broken is None and found not in cameby:
                    broken = _broken(world)
                if broken is not None:
                    violation = Violation(broken, (*_path(cameby, at), action))
                    break
                if found not in cameby:
                    cameby[found] = (at, action)
                    following.append((found, world.save()))
                    if tell is not None and len(cameby) % 1000 == 0:
                        tell(len(cameby))
            if violation is not None:
                break
            if most is not None and len(cameby) >= most:
                complete, following = False, []
                break
        level = following
    took = time.monotonic() - began
    return Found(len(cameby), transitions, frozenset(ends), took, complete, violation)


def _chosen(world: World, reduce: bool) -> list[Action]:
    """The actions to try: all that are possible, or one that nothing else interferes with."""
    actions = world.actions()
    if reduce and world.undisturbed:
        for action in actions:
            if action.kind == "run" and action.choice < 0 and _next(world, action).call in LOCAL:
                return [action]
    return actions


def _next(world: World, action: Action) -> Step:
    actor = world.actors[action.which]
    return actor.script[actor.at]


def _performed(world: World, action: Action) -> str | None:
    """Let an action happen; the law that it breaks at once, if any."""
    try:
        world.perform(action)
    except AssertionError as error:
        return _words(error)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return f"the kernel fails: {type(error).__name__}: {error}"
    return None


def _broken(world: World) -> str | None:
    """The invariant that does not hold in a state, if any."""
    try:
        invariants.check(world.kernel)
        invariants.check_links({*world.cut}, invariants.objects(world.kernel))
    except AssertionError as error:
        return _words(error)
    return None


def _words(error: AssertionError) -> str:
    return str(error).partition("\n")[0] or "what the kernel keeps twice agrees"


def _path(cameby: dict[bytes, tuple[bytes, Action] | None], at: bytes) -> tuple[Action, ...]:
    path: list[Action] = []
    came = cameby[at]
    while came is not None:
        at, action = came
        path.append(action)
        came = cameby[at]
    return tuple(reversed(path))


def replayed(build: Build, path: tuple[Action, ...]) -> str | None:
    """The law that a path breaks at its end, if any; raises ``IndexError`` if it cannot be
    taken."""
    world = build()
    broken = _broken(world)
    for action in path:
        if broken is not None:
            break
        broken = _performed(world, action) or _broken(world)
    return broken


def _answer(answer: tuple[Any, ...]) -> str:
    if answer[0]:
        return Error(answer[0]).name.lower().replace("_", " ")
    return ", ".join(map(repr, answer[1:])) or "ok"


def told(build: Build, path: tuple[Action, ...]) -> list[str]:
    """A path as a script: each action in words, and what answers it brought."""
    world, lines = build(), []
    for action in path:
        line = world.describe(action)
        before = {id(actor): (actor.asked, actor.last) for actor in world.actors}
        broken = _performed(world, action)
        answers = [
            f"{actor.name} gets {_answer(actor.last)}"
            for actor in world.actors
            if before[id(actor)][1] is not actor.last
        ]
        lines.append("; ".join([line, *answers]) if answers else line)
        if broken is not None:
            break
    return lines
