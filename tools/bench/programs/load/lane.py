"""Both ends of a lane: numbered calls, of which none is lost and none carried out twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from servers.runtime import Failed, ServerDied
from tools.bench.programs.load.interface import Given, Stamp, Ticket


class Broken(Exception):
    """A call was lost, or carried out twice, or something came back changed."""


class Lane:
    """The client's end: calls to one server, one at a time."""

    def __init__(self, client: int, lane: int, counts: Counter[str]) -> None:
        self._client, self._lane, self._counts = client, lane, counts
        self.number = 0  # of the last call
        self._server = self._count = 0  # who answered it, and its how manieth it was

    def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Make the next call, again and again until a server lives long enough to answer."""
        self.number += 1
        ticket, died = Ticket(self._client, self._lane, self.number), False
        while True:
            try:
                answer = method(ticket, *arguments)
                break
            except ServerDied:
                self._counts["repeated"] += 1
                died = True
        self._check(answer.stamp if isinstance(answer, Given) else answer, died)
        self._counts["calls"] += 1
        return answer

    def _check(self, stamp: Stamp, died: bool) -> None:
        if stamp.number != self.number:
            raise Broken(f"call {self.number} was answered with the answer to {stamp.number}")
        same = stamp.server == self._server
        if same and died:
            raise Broken(f"call {self.number}: the server died, and answers")
        expected = self._count + 1 if same else 1
        if stamp.count != expected:
            raise Broken(f"call {self.number} was the server's {stamp.count}., not {expected}.")
        self._server, self._count = stamp.server, stamp.count


class Lanes:
    """The server's end."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._seen: dict[tuple[int, int], tuple[int, int, int]] = {}

    def stamp(self, badge: int, ticket: Ticket) -> Stamp:
        """Account for a call; raises ``Failed`` unless it is the next one of its lane."""
        place = badge, ticket.lane
        client, number, count = self._seen.get(place, (0, 0, 0))
        if client != ticket.client:
            count = 0
        elif ticket.number != number + 1:
            raise Failed(f"call {ticket.number} of lane {ticket.lane} came after call {number}")
        self._seen[place] = ticket.client, ticket.number, count + 1
        return Stamp(self._server, ticket.number, count + 1)
