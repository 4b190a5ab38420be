"""Links: a direct connection between a client and a server.

The kernel checks capabilities and labels as anywhere, hands each side one end, and stays out of the
way of what they say to each other; it keeps what it needs to sever the connection.  An end is
handed over once, through a capability with the right to it, SEND for the client's and RECEIVE for
the server's; a link ends for good with either capability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernel.abi import LINK_COST, Error, Right
from kernel.capability import Capability, KernelObject, require
from kernel.effects import Cut

if TYPE_CHECKING:
    from kernel.kernel import Space, Thread


class Link(KernelObject):
    """A connection with two ends."""

    def __init__(self, space: Space) -> None:
        super().__init__(space.kernel, space.label, space.account, LINK_COST)
        self.ends: dict[int, Capability[Link]] = {}  # through which each was handed over

    def lost(self, cap: Capability[Any]) -> None:
        if cap in self.ends.values() or not self.holders:
            self.kernel.effects.append(Cut(self))


def link_create(thread: Thread) -> None:
    thread.finish(Link(thread.space).create(thread.space))


def link_open(thread: Thread, link: Capability[Link], end: int) -> None:
    ends = link.object.ends
    require(end in (Right.SEND, Right.RECEIVE), Error.BAD_ARGUMENT)
    require(end & link.rights, Error.NO_RIGHT)
    require(end not in ends, Error.IN_USE)
    ends[end] = link
    thread.kernel.answer(thread, (0,), link.object, end == Right.RECEIVE)
