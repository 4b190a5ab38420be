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
    from servers.runtime.syscalls import Syscalls

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
        self.signal = env.listen()
        """What wakes the service; bits from ``CLIENTS`` on are its own."""
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
            self._wakes[number] = self.wake(1 << number)
        return self._wakes[number]

    def number(self, client: Hashable) -> int | None:
        """The number of a client that has attached."""
        return self._bits.get(client)

    def wake(self, bits: int) -> Notification:
        """A capability that wakes the service, with these bits."""
        return self.signal.mint(Right.SEND | Right.GRANT, bits)

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
            self.signal.signal(1 << number)  # after the others

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


class Waker:
    """What a client signals when it has put requests: whichever server there is at the time."""

    def __init__(self, env: Environment, name: str, prompt: bool) -> None:
        """``prompt`` has a thread of the client's own signal, so that ``wake`` makes no system
        call; ``name`` is the client's."""
        self._system = env.system
        self._server: Notification | None = None
        self._wanted = env.event() if prompt else None
        if self._wanted is not None:
            env.thread(self._run, f"{name}-wake")

    def replace(self, server: Notification) -> Notification | None:
        """There is another server; what the last one was signalled with."""
        old, self._server = self._server, server
        return old

    def wake(self, system: Syscalls | None = None) -> None:
        """Wake it.  A thread other than the one that made this passes its own system calls, unless
        it is ``prompt``."""
        if self._wanted is not None:
            self._wanted.set()
        else:
            self._signal(system or self._system)

    def _run(self, env: Environment) -> None:
        assert self._wanted is not None
        while True:
            self._wanted.wait(None)
            self._signal(env.system)

    def _signal(self, system: Syscalls) -> None:
        server = self._server
        if server is not None:
            with suppress(KernelError):  # it is gone: the next one is told all
                server.bind(system).signal()


def keep_attached(
    env: Environment,
    stream: StreamClient,
    attach: Callable[[], Notification],
    attend: Callable[[], None],
    waker: Waker,
    begin: Callable[[], bool],
    end: Callable[[], None],
) -> None:
    """Attach a stream, and attach it again whenever its server was replaced; returns when it never
    will be attached again.

    ``begin`` puts those requests again that were not answered, and says whether the stream is
    still wanted; then the server, which ``waker`` knows by then, is woken.  ``end`` is called
    before the rings are emptied.  Raises what the first ``attach`` raises.
    """

    def once() -> bool:
        while True:
            try:
                server = attach()
                break
            except ServerDied:
                stream.reset()
        old = waker.replace(server)
        wanted = begin()
        if old is not None:
            with suppress(KernelError):
                old.drop()
        server.signal()
        return wanted

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
