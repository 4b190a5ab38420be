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
from servers.runtime.errors import Failed, ServerDied, ServiceError
from servers.runtime.handles import Endpoint
from servers.runtime.interface import ERROR, Interface, Method, drop_all

if TYPE_CHECKING:
    from servers.runtime.syscalls import Syscalls

S = TypeVar("S", bound=Interface)

_classes: dict[type[Interface], type[Interface]] = {}
_error = msgspec.msgpack.Decoder(tuple[str, str])


def _stub(method: Method) -> Callable[..., Any]:
    pack, index, decode = method.pack, method.index, method.result.decode

    def stub(self: Any, *args: Any, **kwargs: Any) -> Any:
        data, slots = pack(args, kwargs)
        system, attempts = self.system, self.retries
        while True:
            try:
                label, answer, caps = system.call(self.slot, index, data, slots, self.timeout)
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
        except (msgspec.MsgspecError, ValueError) as error:
            text = f"the answer of {method.name} does not fit the interface: {error}"
            raise Failed(text) from None
        raise ServiceError.of(name, text)

    stub.__name__ = method.name
    return stub


class _Client:
    """What a client has beside the protocol's methods."""

    def __init__(self, system: Syscalls, slot: int, timeout: int, retries: int) -> None:
        self.system = system
        self.slot = slot
        self.timeout = timeout  # of each call, in ns
        self.retries = retries


def client(
    interface: type[S], system: Syscalls, slot: int, timeout: int = FOREVER, retries: int = 0
) -> S:
    """A client of ``interface`` that calls through the capability in ``slot``."""
    protocol = interface.protocol
    found = _classes.get(protocol)
    if found is None:
        stubs = {method.name: _stub(method) for method in protocol.methods()}
        found = type(f"{protocol.__name__}Client", (_Client, protocol), stubs)
        _classes[protocol] = found
    return cast(S, cast(Any, found)(system, slot, timeout, retries))


def endpoint_of(service: Interface) -> Endpoint:
    """The capability behind a client, to be passed on."""
    behind = cast(_Client, service)
    return Endpoint(behind.system, behind.slot)


def with_system(service: S, system: Syscalls) -> S:
    """The same client for use by another thread, which has a channel of its own."""
    behind = cast(_Client, service)
    return client(type(service), system, behind.slot, behind.timeout, behind.retries)
