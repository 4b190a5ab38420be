"""The client's side of every interface, answered by an evil server.

Promised is that a call returns a value of the method's type or raises ``ServiceError``, whatever
label, payload and capabilities come back, through the kernel or over a link; and that of the
capabilities that came with it the client keeps those in the result alone.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from servers.runtime import Capability, Endpoint, Frame, Notification, ServiceError
from servers.runtime.client import client
from servers.runtime.direct import FAILED
from servers.runtime.interface import ANSWER, ERROR, Method
from servers.runtime.syscalls import Syscalls
from tests.fuzz.calls import OFFERS, interface
from tests.fuzz.source import Source
from tests.fuzz.values import value

WORDS: Final = ("", "running", "BadRequest", "NotFound", "ServiceError", "object", "x" * 3000)
_KINDS: Final = (Frame, Notification, Endpoint)


class Evil:
    """Stands for the kernel: its ``call`` is answered by the script."""

    def __init__(self) -> None:
        self.label, self.data = ANSWER, b""
        self.given: list[int] = []
        self.dropped: list[int] = []

    def call(self, _slot: int, _label: int, *_: object) -> tuple[int, bytes, list[int]]:
        return self.label, self.data, list(self.given)

    def cap_drop(self, slot: int) -> None:
        assert slot in self.given, "it dropped what is not its"
        assert slot not in self.dropped, "it dropped a capability twice"
        self.dropped.append(slot)


class EvilLine:
    """Stands for a link."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def send(self, _request: bytes) -> None: ...

    def receive(self) -> bytes:
        return self._data

    def cut(self) -> None: ...


def _argument(kind: Any, system: Syscalls) -> Any:
    """A value of a parameter's type, for a call whose server does not look at it."""

    def hold(found: type, _source: Source) -> Any:
        return Capability(system, 1)

    found = value(kind, Source(bytes(64)), WORDS, hold, wild=1 << 30)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind(*found)
    return found


def _capabilities(found: Any) -> list[int]:
    """Those in a result."""
    if isinstance(found, Capability):
        return [found.slot]
    if isinstance(found, msgspec.Struct):
        found = msgspec.structs.astuple(found)
    if isinstance(found, dict):
        found = [*found, *found.values()]
    return [slot for item in found for slot in _capabilities(item)] if _many(found) else []


def _many(found: Any) -> bool:
    return isinstance(found, (list, tuple, set))


def _payload(method: Method, evil: Evil, source: Source) -> bytes:
    """What comes back: nearly a result, or nearly an error."""

    def hold(_kind: type, _source: Source) -> Any:
        return source.pick((0, 0, 1, 2, 9, -1, 1 << 40))

    kind = tuple[str, str] if evil.label == ERROR else method.result.kind
    if source.chance(8):
        return source.blob()
    try:
        data = msgspec.msgpack.encode(value(kind, source, WORDS, hold))
    except OverflowError:
        return source.blob()
    return source.edited(data) if source.chance(4) else data


def _ask(method: Method, offer: str, evil: Evil, direct: bool) -> None:
    """Make one call, and look at what is left of the capabilities."""
    system = cast(Syscalls, evil)
    service = client(interface(offer), system, 1, direct=direct)
    if direct:
        data = (FAILED if evil.label == ERROR else b"") + evil.data or b"\0"
        cast(Any, service)._line = EvilLine(data)
    hints = method.arguments.kind.__annotations__
    arguments = [_argument(kind, system) for kind in hints.values()]
    kept: list[int] = []
    try:
        kept = _capabilities(getattr(service, method.name)(*arguments))
    except ServiceError as error:
        assert "Traceback" not in str(error)
    if not (direct and method.plain):
        lost = set(evil.given) - set(evil.dropped) - set(kept)
        assert not lost, f"{method.name}: nobody has the capabilities {lost} any more"
        assert not set(evil.dropped) & set(kept), f"{method.name}: a result that was dropped"


def raw(data: bytes) -> None:
    """An answer by its number: offer, method, label, capabilities; the rest is the payload."""
    source, evil = Source(data), Evil()
    offer = source.pick(tuple(OFFERS))
    method = source.pick(interface(offer).methods())
    evil.label, evil.given = source.number(), [100 + i for i in range(source.count(8))]
    evil.data = source.rest()
    for direct in (False, True):
        evil.dropped.clear()
        _ask(method, offer, evil, direct)


def target(data: bytes) -> None:
    """One call and its answer."""
    source, evil = Source(data), Evil()
    offer = source.pick(tuple(OFFERS))
    method = source.pick(interface(offer).methods())
    evil.label = source.pick((ANSWER, ANSWER, ERROR, 2, (1 << 32) - 1))
    evil.given = [100 + i for i in range(source.count(3))]
    evil.data = _payload(method, evil, source)
    _ask(method, offer, evil, source.chance(3))
