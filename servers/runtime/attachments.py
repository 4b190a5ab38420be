"""The streams that clients attached to a service, and those that a client keeps attached.

A service that takes packet streams has an ``Attachments``: which client has which bit of the
notification that wakes the service, and what is attached.  A client has a thread that runs
``keep_attached``.

How a client learns that its server was replaced: a signal to a server that is gone goes nowhere,
and the next server knows nothing of the client.  So a thread of the client waits in ``attend``, a
call that ends when the server does.  The alternative, a timeout on each request, cannot tell a
dead server from a slow one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from kernel.abi import Right
from servers.runtime.errors import (
    Busy,
    Cancelled,
    KernelError,
    ReceiverFull,
    ServerDied,
    ServiceError,
)

if TYPE_CHECKING:
    from servers.runtime.environment import Environment
    from servers.runtime.handles import Notification
    from servers.runtime.server import Deferred
    from servers.runtime.stream import StreamClient, StreamOffer

CLIENTS: Final = 48
"""Clients of a service at most: each has a bit in the notification that wakes it."""
PAUSE: Final = 10_000_000
"""Nanoseconds before attaching again to a server that gave the stream up but lives."""


class Attached(Protocol):
    """What a service has of a client."""

    def work(self) -> bool:
        """Carry out requests, one ring full at most; whether there may be more.

        Raises ``Failed`` if the ring makes no sense, ``KernelError`` if the client is gone.
        """

    def close(self) -> None:
        """Detach from the stream."""


A = TypeVar("A", bound=Attached)


class Attachments(Generic[A]):
    """A service's."""

    def __init__(self, env: Environment, what: str) -> None:
        """``what`` the service is, for those who are refused."""
        self._env = env
        self._what = what
        self._signal = env.listen()
        self._bits: dict[Hashable, int] = {}  # client -> its bit's number
        self._wakes: dict[int, Notification] = {}  # bit's number -> what its client signals
        self._attending: dict[int, Deferred] = {}
        self.attached: dict[int, A] = {}
        """By the client's number."""

    def attach(
        self, client: Hashable, offer: StreamOffer, make: Callable[[StreamOffer], A]
    ) -> Notification:
        """Attach a client's stream in place of one that it had; what it is to signal.

        Raises ``Busy``, or what ``make`` raises, which then has given the offer's capabilities up.
        """
        if client not in self._bits and len(self._bits) == CLIENTS:
            for capability in (offer.frame, offer.to_client):
                capability.drop()
            raise Busy(f"the {self._what} has {CLIENTS} clients already")
        attachment = make(offer)
        number = self._bits.setdefault(client, len(self._bits))
        self.detach(number)
        self.attached[number] = attachment
        if number not in self._wakes:
            self._wakes[number] = self._signal.mint(Right.SEND | Right.GRANT, 1 << number)
        return self._wakes[number]

    def number(self, client: Hashable) -> int | None:
        """The number of a client that has attached."""
        return self._bits.get(client)

    @property
    def signal(self) -> Notification:
        """What wakes the service; bits from ``CLIENTS`` on are its own."""
        return self._signal

    def wake(self, bits: int) -> Notification:
        """A capability that wakes the service with its own bits."""
        return self._signal.mint(Right.SEND | Right.GRANT, bits)

    def attend(self, client: Hashable) -> None:
        """The answer to a client that waits until it has no stream attached."""
        number = self._bits.get(client, CLIENTS)
        if number not in self.attached:
            return None
        self._stop_attending(number)
        self._attending[number] = self._env.defer()
        return self._attending[number]  # type: ignore[return-value]

    def notify(self, bits: int) -> None:
        """Serve the clients that signalled."""
        for number in range(len(self._bits)):
            if bits >> number & 1:
                self.serve(number)

    def serve(self, number: int) -> None:
        """Serve one client, and detach it if it broke its ring, or took it away."""
        if number not in self.attached:
            return
        try:
            more = self.attached[number].work()
        except (ServiceError, KernelError):
            self.detach(number)
            return
        if more:
            self._signal.signal(1 << number)  # after the others

    def detach(self, number: int) -> None:
        """Give a client's stream up, and tell who attends."""
        attachment = self.attached.pop(number, None)
        if attachment is not None:
            self._stop_attending(number)
            attachment.close()

    def _stop_attending(self, number: int) -> None:
        attending = self._attending.pop(number, None)
        if attending is not None:
            attending.answer()


def keep_attached(
    env: Environment,
    stream: StreamClient,
    attach: Callable[[], Notification],
    attend: Callable[[], None],
    begin: Callable[[Notification], bool],
    end: Callable[[], None],
) -> None:
    """Attach a stream, and attach it again whenever its server was replaced; returns when it never
    will be attached again.

    ``begin`` gets what to signal when there are requests, puts those again that were not answered,
    and says whether the stream is still wanted; ``end`` is called before the rings are emptied.
    Raises what the first ``attach`` raises.
    """

    def once() -> bool:
        while True:
            try:
                return begin(attach())
            except ServerDied:
                stream.reset()

    wanted = once()
    while wanted and _attended(env, attend):
        end()
        stream.reset()
        with suppress(KernelError, ServiceError):  # else it is tried again, from ``attend`` on
            wanted = once()


def _attended(env: Environment, attend: Callable[[], None]) -> bool:
    """Wait until the stream is not attached; False if it never will be again."""
    try:
        attend()
    except ServerDied:
        return True
    except (Cancelled, ReceiverFull, ServiceError):
        pass
    except KernelError:  # the capability is gone
        return False
    env.sleep(PAUSE)
    return True
