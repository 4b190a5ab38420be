"""The interfaces of the load's programs."""

from __future__ import annotations

import msgspec

from servers.runtime import Frame, Interface, Notification
from servers.runtime.stream import StreamOffer

NOT_ATTACHED = -1
"""What ``unheard`` answers to a client that has no stream here."""


class Ticket(msgspec.Struct, array_like=True, frozen=True):
    """Which call it is."""

    client: int
    """When the calling process began, which no two of one name share."""
    lane: int
    number: int
    """Counted from 1 on each lane."""


class Stamp(msgspec.Struct, array_like=True, frozen=True):
    """Who answered."""

    server: int
    """When the server began, or its end of the link."""
    number: int
    """The ticket's."""
    count: int
    """Calls of the lane that this server has had, this one included."""


class Given(msgspec.Struct, array_like=True, frozen=True):
    """A frame of the server's."""

    stamp: Stamp
    frame: Frame


class Worker(Interface):
    """A server under load.  Frames that it gets are its to give up."""

    def step(self, ticket: Ticket) -> Stamp:
        """Nothing else."""

    def tell(self, ticket: Ticket, word: Notification) -> Stamp:
        """Signal the low bits of the ticket's number, or 1."""

    def fill(self, ticket: Ticket, frame: Frame) -> Stamp:
        """Find ``mark(number)`` all over the frame, and put ``mark(number + 1)`` in its place."""

    def relay(self, ticket: Ticket, frame: Frame) -> Stamp:
        """Have the next server do that."""

    def keep(self, ticket: Ticket, frame: Frame) -> Stamp:
        """Map the frame and keep it mapped, until it is taken away."""

    def give(self, ticket: Ticket) -> Given:
        """A new frame with ``mark(number)`` all over it."""

    def attach(self, offer: StreamOffer) -> Notification:
        """Serve a packet stream in place of the one that the caller attached before."""

    def unheard(self) -> int:
        """Serve the packets of which no signal told; how many there were, or ``NOT_ATTACHED``."""

    def release(self) -> None:
        """Give up everything that the caller has here."""


def mark(number: int) -> int:
    """A byte that tells calls apart."""
    return number % 251


class Status(msgspec.Struct, array_like=True, frozen=True):
    """What the tally knows."""

    ready: int
    """Clients that wait for the beginning."""
    done: int
    """Clients that have given up everything and rest."""
    counts: dict[str, int]
    faults: list[str]


class Tally(Interface):
    """Adds up what the clients report, and tells them when to begin and when to end."""

    def begin(self) -> bool:
        """Answered at the beginning: whether there is something to do."""

    def report(self, counts: dict[str, int]) -> bool:
        """Add to the counts; whether to go on."""

    def fault(self, text: str) -> None:
        """Something that must not happen has happened."""

    def rest(self) -> None:
        """Everything is given up; never answered."""

    def start(self) -> None:
        """Let the clients begin."""

    def stop(self) -> None:
        """Let them end."""

    def status(self) -> Status: ...
