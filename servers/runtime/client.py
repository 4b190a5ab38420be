"""Clients: calling a service through a capability as if it were here.

``client(Greeter, system, slot)`` is a ``Greeter`` whose methods are calls.  What the service raised
is raised here.  A call that is cut short because the server died is repeated as often as
``retries`` says: only for interfaces whose methods may be carried out twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from kernel.abi import FOREVER
from servers.runtime.direct import CONNECTING, FAILED, MOST_METHODS, Line
from servers.runtime.errors import Failed, ServerDied, ServiceError, TimedOut
from servers.runtime.handles import Endpoint
from servers.runtime.interface import ERROR, MISFIT, Interface, Method, drop_all

if TYPE_CHECKING:
    from servers.runtime.syscalls import Syscalls

S = TypeVar("S", bound=Interface)

_classes: dict[tuple[type[Interface], bool], type[Interface]] = {}
_error = msgspec.msgpack.Decoder(tuple[str, str])


def _stub(method: Method) -> Callable[..., Any]:
    """A method that calls through the kernel."""
    pack, index, decode = method.pack, method.index, method.result.decode

    def stub(self: Any, *args: Any, **kwargs: Any) -> Any:
        data, slots = pack(args, kwargs)
        system, attempts = self._system, self._retries
        while True:
            try:
                label, answer, caps = system.call(self._slot, index, data, slots, self._timeout)
                break
            except ServerDied:
                if not attempts:
                    raise
                attempts -= 1
        try:
            if label != ERROR:
                return decode(answer, caps, system)
            drop_all(caps, system)
            name, text = _error.decode(answer)
        except MISFIT as error:
            raise _misfit(method, error) from None
        raise ServiceError.of(name, text)

    stub.__name__ = method.name
    return stub


def _misfit(method: Method, error: Exception) -> Failed:
    return Failed(f"the answer of {method.name} does not fit the interface: {error}")


def _direct_stub(method: Method) -> Callable[..., Any]:
    """A method that calls over a link; through the kernel, if it carries capabilities."""
    decode, encode = method.result.plain_decode, method.arguments.plain_encode
    if not method.plain or decode is None or method.index >= MOST_METHODS:
        return _stub(method)
    prefix, count = bytes((method.index,)), len(method.parameters)

    def stub(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != count:
            args = method.bind(args, kwargs)
        request = prefix + encode(args)
        try:
            line = self._line or self._link()
            line.send(request)
            answer = line.receive()
        except OSError:
            answer = b""
        if not answer:
            answer = self._again(method.name, request, answer)
        try:
            return decode(answer)
        except MISFIT as error:
            if answer[:1] != FAILED:
                raise _misfit(method, error) from None
        try:
            name, text = _error.decode(answer[1:])
        except MISFIT as error:
            raise _misfit(method, error) from None
        raise ServiceError.of(name, text)

    stub.__name__ = method.name
    return stub


_connect = _stub(CONNECTING)


class _Client:
    """What a client has beside the protocol's methods, whose names never begin with a line."""

    def __init__(
        self, system: Syscalls, slot: int, timeout: int, retries: int, direct: bool
    ) -> None:
        self._system = system
        self._slot = slot
        self._timeout = timeout  # of each call, in ns
        self._retries = retries
        self._direct = direct  # whether to call over a link
        self._line: Line | None = None

    def _link(self) -> Line:
        """The link to the server, which is made at the first call."""
        self._line = Line(self._system, _connect(self), self._timeout)
        return self._line

    def _again(self, method: str, request: bytes, answer: bytes | None) -> bytes:
        """The answer to a call over a link that has failed, as often as ``retries`` allow."""
        attempts = self._retries
        while not answer:
            if self._line is not None:
                self._line.cut()
                self._line = None  # another link is made for the next call
            if answer is None:
                raise TimedOut(method)
            if not attempts:
                raise ServerDied(method)
            attempts -= 1
            answer = self._link().call(request)
        return answer


def client(
    interface: type[S],
    system: Syscalls,
    slot: int,
    timeout: int = FOREVER,
    retries: int = 0,
    direct: bool = False,
) -> S:
    """A client of ``interface`` that calls through the capability in ``slot``."""
    protocol = interface.protocol
    found = _classes.get((protocol, direct))
    if found is None:
        stub = _direct_stub if direct else _stub
        stubs = {method.name: stub(method) for method in protocol.methods()}
        found = type(f"{protocol.__name__}Client", (_Client, protocol), stubs)
        _classes[protocol, direct] = found
    return cast(S, cast(Any, found)(system, slot, timeout, retries, direct))


def endpoint_of(service: Interface) -> Endpoint:
    """The capability behind a client, to be passed on."""
    behind = cast(_Client, service)
    return Endpoint(behind._system, behind._slot)


def with_system(service: S, system: Syscalls) -> S:
    """The same client for use by another thread, which has a channel of its own."""
    behind = cast(_Client, service)
    return client(
        type(service), system, behind._slot, behind._timeout, behind._retries, behind._direct
    )
