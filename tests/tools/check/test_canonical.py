"""States that count as one behave as one, and the world is put back as it was.

Both are compared with a world that got there from the start, without a snapshot in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from tools.check.canonical import digest
from tools.check.configurations import CONFIGURATIONS
from tools.check.model import Action, World
from tools.check.snapshot import Snapshot

Path = tuple[Action, ...]
Build = Callable[[], World]


def at(build: Build, path: Path) -> World:
    world = build()
    for action in path:
        world.perform(action)
    return world


def future(build: Build, path: Path) -> list[tuple[Action, bytes]]:
    """What can happen after a path, and the state that it leads to."""
    return sorted(
        (action, digest(at(build, (*path, action)))) for action in at(build, path).actions()
    )


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_states_that_count_as_one_behave_as_one(name: str) -> None:
    """Whenever another path leads to a state that is known, all that can come next is the same."""
    build, compared = CONFIGURATIONS[name].build, 0
    first = build()
    known: dict[bytes, Path] = {digest(first): ()}
    level: deque[Path] = deque([()])
    while level and compared < 25:
        path = level.popleft()
        for action, state in future(build, path):
            longer = (*path, action)
            if state not in known:
                known[state] = longer
                level.append(longer)
            elif compared < 25 and len(longer) > 1:
                assert _plain(future(build, longer)) == _plain(future(build, known[state]))
                compared += 1
    assert compared >= 20


def _plain(found: list[tuple[Action, bytes]]) -> list[bytes]:
    """Without the places of what the machine has to do, whose numbers may differ."""
    return sorted(state for _, state in found)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_world_is_put_back_as_it_was(name: str) -> None:
    """Jumping between the states of a search, in any order, is as going there from the start."""
    build = CONFIGURATIONS[name].build
    world = build()
    kept: list[tuple[Path, bytes, Snapshot]] = [((), digest(world), Snapshot(world))]
    for path, state, snapshot in kept:
        opened = snapshot.opened()
        opened.put_back()
        assert digest(world) == state
        for action in world.actions()[:3]:
            world.perform(action)
            found = digest(world)
            kept.append(((*path, action), found, opened.after()))
            assert digest(world) == state
        if len(kept) > 60:
            break
    for path, state, snapshot in [*kept[::-3], *kept[::5]]:
        snapshot.opened().put_back()
        there = at(build, path)
        assert digest(world) == digest(there) == state
        assert world.actions() == there.actions()
        world.check()


def test_a_slot_that_is_given_out_later_is_the_same() -> None:
    """Which number a capability has makes no difference, nor what objects were there before."""
    build = CONFIGURATIONS["any-memory"].build
    once, twice = build(), build()
    for world, times in ((once, 1), (twice, 3)):
        client = world.actors[-1]
        mint = next(i for i, call in enumerate(client.alphabet) if call.call == "cap_mint")
        for _ in range(times):
            world.perform(Action("run", 2, mint))
            if times > 1:
                world.do(client, "cap_drop", client.variables.pop("own"))
        if times > 1:
            world.perform(Action("run", 2, mint))
    assert once.actors[-1].variables["own"] != twice.actors[-1].variables["own"]
    assert digest(once) == digest(twice)


def test_rights_make_a_difference() -> None:
    build = CONFIGURATIONS["any-memory"].build
    one, other = build(), build()
    client = one.actors[-1]
    one.do(client, "cap_mint", client.variables["f"], 1, 0, 0)
    client = other.actors[-1]
    other.do(client, "cap_mint", client.variables["f"], 3, 0, 0)
    assert digest(one) != digest(other)
