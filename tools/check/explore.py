"""Goes through all states of a configuration, breadth first, so that what it finds is shortest.

Two orders of the same actions that end in the same state are looked at once from there on.  In
addition, an action that nothing else can interfere with need not be tried in every place: where one
is possible, it alone is taken (an ample set of one).  ``reduce=False`` leaves that out.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from tools.check import canonical
from tools.check.invariants import Broken
from tools.check.model import Action, Step, World
from tools.check.snapshot import Snapshot

Tell = Callable[[int], None]
LOCAL: Final = ("clock", "endpoint_create", "notification_create", "frame_create", "link_create")
"""Calls that touch nothing but their own space, whose order with other calls is all the same."""
FAILS: Final = "failure"
"""What stands for a law where the kernel raises an exception."""
_BUGS: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_TELLING: Final = 1000
"""States after which the progress is told."""


class Violation(NamedTuple):
    """A law that was broken, and how."""

    law: str
    """Its name."""
    text: str
    """What is wrong, with the name of the law before it."""
    path: tuple[Action, ...]


class Found(NamedTuple):
    """What became of an exploration."""

    states: int
    """Distinct ones."""
    transitions: int
    ends: frozenset[bytes]
    """Digests of the states from which nothing can happen."""
    seconds: float
    """Of processor time."""
    complete: bool
    """Whether all states were reached; else only those within the depth or number asked for."""
    violation: Violation | None


def explore(
    world: World,
    depth: int | None = None,
    most: int | None = None,
    reduce: bool = True,
    tell: Tell | None = None,
) -> Found:
    """Explore what can come of a world, until all is seen, the ``depth`` in actions or number of
    states is reached, or a law is broken; the world is used up.

    ``tell`` is told the number of states now and then.
    """
    began = time.process_time()
    search = _Search(world, reduce, tell)
    with _undisturbed():
        search.go(depth, most)
    return Found(
        len(search.came),
        search.transitions,
        frozenset(search.ends),
        time.process_time() - began,
        search.complete,
        search.violation,
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Have the garbage collector look rarely, and not at what is there already."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class _Search:
    """A search under way; its one world is put into one state after the other."""

    def __init__(self, world: World, reduce: bool, tell: Tell | None) -> None:
        self.world, self.reduce, self.tell = world, reduce, tell
        self.first = canonical.digest(world)
        self.came: dict[bytes, tuple[bytes, Action] | None] = {self.first: None}
        self.transitions = 0
        self.ends: set[bytes] = set()
        self.complete = True
        self.violation: Violation | None = None

    def go(self, depth: int | None, most: int | None) -> None:
        level = [(self.first, Snapshot(self.world))]
        steps = 0
        if not self._holds(self.world.check, self.first, None):
            return
        while level:
            steps += 1
            following: list[tuple[bytes, Snapshot]] = []
            level.reverse()
            while level:
                at, snapshot = level.pop()  # so that what is done with takes no memory
                self._expand(at, snapshot, following, keep=steps != depth)
                if self.violation is not None:
                    return
                if most is not None and len(self.came) >= most:
                    self.complete = False
                    return
            level = following

    def _expand(
        self, at: bytes, snapshot: Snapshot, following: list[tuple[bytes, Snapshot]], keep: bool
    ) -> None:
        """Take each action that is possible in a state; ``keep`` what comes of it for later."""
        world, opened, came = self.world, snapshot.opened(), self.came
        opened.put_back()
        actions = _chosen(world, self.reduce)
        if not actions:
            self.ends.add(at)
            self._holds(world.check_end, at, None)
            return
        back = True
        for action in actions:
            if not back:
                opened.put_back()
            back = False
            self.transitions += 1
            if not self._holds(lambda a=action: world.perform(a), at, action):  # type: ignore[misc]
                return
            found = canonical.digest(world)
            if found in came:
                continue
            if not self._holds(world.check, at, action):
                return
            came[found] = (at, action)
            if keep:
                following.append((found, opened.after()))
                back = True
            else:
                self.complete = False
            if self.tell is not None and len(came) % _TELLING == 0:
                self.tell(len(came))

    def _holds(self, look: Callable[[], None], at: bytes, action: Action | None) -> bool:
        """Whether no law is broken; else the violation is there, on the path that led to it."""
        broken = broken_by(look)
        if broken is None:
            return True
        path = self._path(at)
        self.violation = Violation(*broken, path if action is None else (*path, action))
        return False

    def _path(self, at: bytes) -> tuple[Action, ...]:
        path: list[Action] = []
        came = self.came[at]
        while came is not None:
            at, action = came
            path.append(action)
            came = self.came[at]
        return tuple(reversed(path))


def broken_by(look: Callable[[], None]) -> tuple[str, str] | None:
    """The law that is broken when something happens or is looked at, and what is wrong."""
    try:
        look()
    except Broken as broken:
        return broken.law, str(broken)
    except AssertionError as error:
        return FAILS, f"the kernel's own assertion fails: {error}"
    except _BUGS as error:
        return FAILS, f"the kernel fails: {type(error).__name__}: {error}"
    return None


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
