"""Direct calls: a client and a server that talk without the kernel in between.

A client that was told to asks the server for a *link*, with an ordinary call under the label
``CONNECT``.  The server creates one, keeps its end, and answers with a capability to the other;
from then on the methods that carry no capabilities go over it.  The kernel checked both sides when
the link was made, and cuts it when either capability goes.

On the link a call is the method's number, one byte, and the arguments as in a message; its answer
is the result as in a message, or the byte ``FAILED`` and the error.  There is one call at a time.

A link is served by a thread of its own, with an environment and a service object of its own: no two
threads use one channel to the kernel, and services need no locks for what they do not share.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from kernel.abi import FOREVER, LABEL_LIMIT, NULL, Right
from servers.runtime.errors import KernelError
from servers.runtime.handles import Capability
from servers.runtime.interface import ANSWER, Interface, Method
from servers.runtime.server import Target

if TYPE_CHECKING:
    from servers.runtime.channel import LinkEnd
    from servers.runtime.environment import Environment
    from servers.runtime.syscalls import Syscalls

CONNECT: Final = LABEL_LIMIT - 1
"""Label of a request for a link."""
MOST_METHODS: Final = 256
"""Of an interface that can be called over a link: a method is named by one byte."""

FAILED: Final = b"\xc1"
"""Precedes an error; no result begins so."""
_NONE: Final[list[int]] = []
_SENT: Final = Right.SEND | Right.GRANT


def _connect(self: object) -> Capability:  # the method behind ``CONNECT``
    raise NotImplementedError


CONNECTING: Final = Method(CONNECT, _connect)


class Links:
    """The links of one server, one for each client at most."""

    def __init__(self, env: Environment, service: Callable[[Environment], Interface]) -> None:
        self._env, self._service = env, service
        self._links: dict[int, int] = {}  # client's badge -> capability to its link

    def open(self, badge: int) -> Capability:
        """Make a link for the client with this badge; an older one of its is cut."""
        system = self._env.system
        if badge in self._links:
            _end(system, self._links.pop(badge))
        link = self._links[badge] = system.link_create()
        end = system.channel.link(system.link_open(link, Right.RECEIVE))
        self._env.thread(partial(self._serve, badge, link, end), "link")
        return Capability(system, system.cap_mint(link, _SENT, 0, NULL))

    def _serve(self, badge: int, link: int, end: LinkEnd, env: Environment) -> None:
        """Answer what comes over a link until it is cut, or makes no sense."""
        server = env.serving(badge)
        methods = Target(self._service(env)).methods
        send, receive, carry_out = end.send, end.receive, server.carry_out

        def answer(label: int, data: bytes, _: list[int]) -> None:
            with suppress(OSError):  # it was cut meanwhile
                send(data if label == ANSWER else FAILED + data)

        try:
            while request := receive():
                if request[0] >= len(methods):
                    return
                found = carry_out(methods[request[0]], request[1:], _NONE, answer)
                if found is not None:
                    label, data, _ = found
                    send(data if label == ANSWER else FAILED + data)
        except OSError:
            pass  # it was cut
        finally:
            _end(env.system, link)


def _end(system: Syscalls, link: int) -> None:
    with suppress(KernelError):
        system.cap_revoke(link)
        system.cap_drop(link)


class Line:
    """A client's end of a link: ``send`` a request and ``receive`` its answer.

    The answer is empty, or ``OSError`` is raised, once the link is cut; it is None if it did not
    come in time, and the link cannot be used any more then.
    """

    __slots__ = ("_end", "_link", "_timeout", "receive", "send")

    def __init__(self, system: Syscalls, link: Capability, timeout: int) -> None:
        """``timeout`` of each call, in ns."""
        self._link, self._timeout = link, timeout
        self._end = end = system.channel.link(system.link_open(link.slot, Right.SEND))
        self.send = end.send
        self.receive: Callable[[], bytes | None] = end.receive
        if timeout != FOREVER:
            self.receive = self._receive_in_time

    def call(self, request: bytes) -> bytes | None:
        """The answer to a request; empty if the link is cut."""
        try:
            self.send(request)
            return self.receive()
        except OSError:
            return b""

    def _receive_in_time(self) -> bytes | None:
        return self._end.receive() if self._end.wait(self._timeout) else None

    def cut(self) -> None:
        """Give it up."""
        with suppress(KernelError):
            self._link.drop()
