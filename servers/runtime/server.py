"""Servers: receiving calls and handing them to the objects they are meant for.

A server receives on one endpoint.  The badge of a message says which *session* it belongs to: a
badge that this server minted itself leads to the object that it was minted for.  Every other badge
was minted by init: its upper half says which of the process's offers was opened, and so which root
object is meant; its lower half is the client.  The kernel attaches badges, so nobody can forge one.

A method that cannot answer yet returns ``environment.defer()`` and lets the server go on; whoever
holds the ``Deferred`` answers later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from kernel.abi import FOREVER, LABEL_FAULT, LABEL_NOTIFICATION, MAX_PAYLOAD, NULL, Right
from servers.runtime.errors import BadRequest, Failed, KernelError, ServiceError
from servers.runtime.handles import Endpoint
from servers.runtime.interface import ANSWER, ERROR, Interface, Method, drop_all

if TYPE_CHECKING:
    from servers.runtime.syscalls import Syscalls

SESSION = 1 << 63
"""Set in every badge that a server mints for its sessions; init's badges are below."""
OFFER_SHIFT = 32
"""An offer's index in a badge minted by init is above this bit, the client's number below."""

LONGEST_TEXT = 2000
"""Characters of an error's text at most, so that it fits a message however it is encoded."""

_NONE: list[int] = []
_encode = msgspec.msgpack.Encoder().encode


def _error(name: str, text: str) -> bytes:
    """The payload of an error; a text that would not fit a message is cut off."""
    return _encode((name, text[:LONGEST_TEXT]))


_TAKEN_BACK = _error(Failed.__name__, "a capability of the answer was taken back meanwhile")


def _result(method: Method, result: Any) -> tuple[bytes, list[int]]:
    """The payload and capabilities of an answer; raises ``Failed`` if no message carries it."""
    data, slots = method.result.encode(result)
    if len(data) > MAX_PAYLOAD:
        raise Failed(f"the answer of {method.name} has {len(data)} bytes: more than a message")
    return data, slots


Reply = int | Callable[[int, bytes, list[int]], None]
"""How to answer a call: with a reply capability, or by a function of the answer's label, payload
and capabilities."""


class Deferred:
    """An answer that is still to come."""

    __slots__ = ("_method", "_reply", "_system")

    def __init__(self, system: Syscalls) -> None:
        self._system = system
        self._method: Method | None = None
        self._reply: Reply = NULL

    def attach(self, method: Method, reply: Reply) -> None:
        """The server says which call it belongs to."""
        self._method, self._reply = method, reply

    def answer(self, result: Any = None) -> None:
        """Answer the call; nothing happens if it was answered, or its caller is gone."""
        if self._method is not None:
            try:
                self._send(ANSWER, *_result(self._method, result))
            except ServiceError as error:
                self.fail(error)

    def fail(self, error: ServiceError) -> None:
        """Answer the call with an error."""
        self._send(ERROR, _error(type(error).__name__, str(error)), [])

    def _send(self, label: int, data: bytes, slots: list[int]) -> None:
        reply, self._reply = self._reply, NULL
        if not isinstance(reply, int):
            reply(label, data, slots)
        elif reply != NULL:
            try:
                self._system.reply(reply, label, data, slots)
            except KernelError:
                # Else the caller is gone, timed out or may not be talked to: it knows.
                if slots:
                    self._reply = reply
                    self._send(ERROR, _TAKEN_BACK, _NONE)


Answer = tuple[int, bytes, list[int]]
"""Label, payload and capabilities."""
Bound = tuple[Method, Callable[..., Any]]
"""A method of a protocol, and the function of an object that implements it."""


class Target:
    """An object that calls can be meant for."""

    __slots__ = ("methods", "service")

    def __init__(self, service: Interface) -> None:
        self.service = service
        self.methods: list[Bound] = [(m, getattr(service, m.name)) for m in service.methods()]


class Server:
    """One endpoint, its root objects by the index of their offer, and its sessions."""

    def __init__(
        self,
        system: Syscalls,
        endpoint: Endpoint,
        roots: dict[int, Interface],
        notify: Callable[[int], None] | None = None,
        fault: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.system = system
        self.endpoint = endpoint
        self.badge = 0  # of the message that is being handled
        self._targets: dict[int, Target] = {i: Target(root) for i, root in roots.items()}
        self.special: dict[int, Bound] = {}  # beside the methods: label -> what takes the badge
        self._notify = notify
        self._fault = fault
        self._next = SESSION
        self._running = True

    def add(self, offer: int, root: Interface) -> None:
        """Serve another offer, by its index."""
        self._targets[offer] = Target(root)

    def session(self, service: Interface) -> Endpoint:
        """A capability whose holder's calls go to ``service``."""
        self._next += 1
        self._targets[self._next] = Target(service)
        return self.endpoint.mint(Right.SEND | Right.GRANT, self._next)

    def close(self, service: Interface) -> None:
        """Forget a session; calls to it are refused from now on."""
        kept = {b: target for b, target in self._targets.items() if target.service is not service}
        self._targets = kept

    def stop(self) -> None:
        """Return from ``run`` after the message that is being handled."""
        self._running = False

    def run(self) -> None:
        """Receive and answer until ``stop``."""
        system, slot = self.system, self.endpoint.slot
        reply, label, data = NULL, 0, b""
        caps: list[int] = []
        while self._running:
            try:
                badge, method, payload, slots, to = system.reply_recv(
                    reply, label, data, caps, slot, FOREVER
                )
            except KernelError:
                if not caps:
                    raise
                label, data, caps = ERROR, _TAKEN_BACK, _NONE
                continue
            reply = NULL
            if method == LABEL_NOTIFICATION:
                if self._notify is not None:
                    self._notify(badge)
            elif method == LABEL_FAULT:
                if self._fault is not None:
                    self._fault(badge, payload)
            else:
                self.badge = badge
                answer = self.handle(badge, method, payload, slots, to)
                if answer is not None:
                    reply = to
                    label, data, caps = answer
        if reply != NULL:
            system.reply(reply, label, data, caps)

    def handle(
        self, badge: int, label: int, data: bytes, slots: list[int], reply: Reply
    ) -> Answer | None:
        """Carry out one call; the answer to send, or None if it comes later or is not wanted."""
        target = self._targets.get(badge if badge & SESSION else badge >> OFFER_SHIFT)
        if target is not None and label < len(target.methods):
            return self.carry_out(target.methods[label], data, slots, reply)
        if target is not None and label in self.special:
            method, function = self.special[label]
            return self.carry_out((method, partial(function, badge)), data, slots, reply)
        drop_all(slots, self.system)
        text = "the session was closed"
        if target is not None:
            text = f"{target.service.protocol.__name__} has no method {label}"
        return (ERROR, _error(BadRequest.__name__, text), _NONE) if reply != NULL else None

    def carry_out(self, bound: Bound, data: bytes, slots: list[int], reply: Reply) -> Answer | None:
        """Call a method with what came in a message; the answer as of ``handle``.

        A method that raises has kept none of the capabilities that came: they are dropped.
        """
        method, function = bound
        try:
            result = function(*method.unpack(data, slots, self.system))
            if method.plain and reply != NULL and type(result) is not Deferred:
                payload = method.result.plain_encode(result)
                if len(payload) <= MAX_PAYLOAD:
                    return ANSWER, payload, _NONE  # as most answers are: the rest takes longer
            if isinstance(result, Deferred):
                result.attach(method, reply)
                return None
            if reply == NULL:
                return None
            return ANSWER, *_result(method, result)
        except ServiceError as error:
            data = _error(type(error).__name__, str(error))
        except Exception as error:  # a fault of the service is answered, and does not end it
            data = _error(Failed.__name__, f"{type(error).__name__}: {error}")
        drop_all(slots, self.system)
        return (ERROR, data, _NONE) if reply != NULL else None
