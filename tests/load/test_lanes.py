"""Lanes: what is lost, or carried out twice, is noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from servers.runtime import Failed, ServerDied
from tools.bench.programs.load.interface import Stamp, Ticket
from tools.bench.programs.load.lane import Broken, Lane, Lanes

BADGE = 7


class World:
    """A lane, and the servers that come one after the other."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lane = Lane(100, 0, self.counts)
        self.born = 1
        self.server = Lanes(self.born)

    def replace(self) -> None:
        self.born += 1
        self.server = Lanes(self.born)

    def step(self, ticket: Ticket) -> Stamp:
        return self.server.stamp(BADGE, ticket)

    def dying(self, before: bool) -> Callable[..., Any]:
        """A method whose server dies in the first call, before or after it is carried out."""
        left = [True]

        def method(ticket: Ticket) -> Stamp:
            if left and left.pop():
                if not before:
                    self.step(ticket)
                self.replace()
                raise ServerDied("call")
            return self.step(ticket)

        return method


def test_calls_are_counted() -> None:
    world = World()
    for _ in range(3):
        world.lane.call(world.step)
    assert world.counts == {"calls": 3}


@pytest.mark.parametrize("before", [True, False])
def test_a_call_whose_server_died_is_made_again(before: bool) -> None:
    world = World()
    world.lane.call(world.step)
    world.lane.call(world.dying(before))
    world.lane.call(world.step)
    assert world.counts == {"calls": 3, "repeated": 1}


def test_a_server_that_is_replaced_between_two_calls_is_no_fault() -> None:
    world = World()
    world.lane.call(world.step)
    world.replace()
    world.lane.call(world.step)
    assert world.counts == {"calls": 2}


def test_a_server_that_died_and_answers() -> None:
    world, left = World(), [True]

    def method(ticket: Ticket) -> Stamp:
        if left and left.pop():
            raise ServerDied("call")
        return world.step(ticket)

    world.lane.call(world.step)
    with pytest.raises(Broken, match="the server died, and answers"):
        world.lane.call(method)


def test_a_call_that_is_carried_out_twice() -> None:
    world = World()

    def method(ticket: Ticket) -> Stamp:
        world.step(ticket)
        return world.step(ticket)

    world.lane.call(world.step)
    with pytest.raises(Failed, match="call 2 of lane 0 came after call 2"):
        world.lane.call(method)


def test_a_call_that_is_lost() -> None:
    world = World()
    world.lane.call(world.step)
    world.lane.number += 1
    with pytest.raises(Failed, match="call 3 of lane 0 came after call 1"):
        world.lane.call(world.step)


def test_an_answer_that_is_lost() -> None:
    world, kept = World(), []

    def method(ticket: Ticket) -> Stamp:
        kept.append(world.step(ticket))
        return kept[0]

    world.lane.call(method)
    with pytest.raises(Broken, match="call 2 was answered with the answer to 1"):
        world.lane.call(method)


def test_calls_of_somebody_else_in_between() -> None:
    world = World()
    world.lane.call(world.step)

    def method(ticket: Ticket) -> Stamp:
        found = world.step(ticket)
        return Stamp(found.server, found.number, found.count + 1)

    with pytest.raises(Broken, match=r"call 2 was the server's 3\., not 2\."):
        world.lane.call(method)


def test_a_client_that_begins_again_has_a_lane_of_its_own() -> None:
    world = World()
    for _ in range(3):
        world.lane.call(world.step)
    again = Lane(200, 0, world.counts)
    again.call(world.step)
    again.call(world.step)
    assert world.counts == {"calls": 5}
