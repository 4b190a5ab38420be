"""Interfaces: a protocol between processes is a class of annotated methods.

    class Greeter(Interface):
        def greet(self, name: str) -> str: ...

The class that subclasses ``Interface`` directly is the protocol.  A subclass of it that implements
the methods is a service; ``client`` makes the subclass that calls one through a capability.

On the wire a method is its place in the class (the message's label) and its arguments are one
msgpack array, decoded straight into the annotated types, so that a malformed message is answered
with an error that names the parameter and never reaches the method.  Capabilities among the
arguments and results travel beside the payload, which holds their index.  A payload of the answer
is the result (label ``ANSWER``), or an error's name and text (label ``ERROR``).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_args, get_type_hints

import msgspec
from msgspec.structs import astuple

from kernel.abi import MAX_CAPS
from servers.runtime.errors import BadRequest, KernelError
from servers.runtime.handles import Capability

if TYPE_CHECKING:
    from servers.runtime.syscalls import Syscalls

ANSWER = 0
"""Label of an answer whose payload is the result."""
ERROR = 1
"""Label of an answer whose payload is ``[error name, text]``."""
MISFIT = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding raises if a payload does not fit its type, or is nested too deeply to tell."""


def _has_capability(kind: object) -> bool:
    if isinstance(kind, type) and issubclass(kind, Capability):
        return True
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return any(_has_capability(hint) for hint in get_type_hints(kind).values())
    return any(_has_capability(inner) for inner in get_args(kind))


class Codec:
    """Encodes and decodes values of one type, with the capabilities in them."""

    __slots__ = ("has_caps", "kind", "plain_decode", "plain_encode")

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.has_caps = _has_capability(kind)
        # Of types without capabilities; ready to be called, as most calls use these alone.
        self.plain_encode = msgspec.msgpack.Encoder().encode
        self.plain_decode = None if self.has_caps else msgspec.msgpack.Decoder(kind).decode

    def encode(self, value: Any) -> tuple[bytes, list[int]]:
        """The payload and the capabilities to send beside it."""
        if not self.has_caps:
            return self.plain_encode(value), []
        slots: list[int] = []

        def hook(found: Any) -> int:
            if not isinstance(found, Capability):
                raise TypeError(f"a {type(found).__name__} cannot be sent in a message")
            slots.append(found.slot)
            return len(slots) - 1

        data = msgspec.msgpack.encode(value, enc_hook=hook)
        if len(slots) > MAX_CAPS:
            raise ValueError(f"{len(slots)} capabilities in one message, at most {MAX_CAPS} fit")
        return data, slots

    def decode(self, data: bytes, slots: list[int], system: Syscalls) -> Any:
        """The value; raises one of ``MISFIT``.

        Capabilities that came beside it and are not in the value are dropped, so that nobody can
        fill the receiver's table with what it did not ask for.
        """
        if not slots and self.plain_decode is not None:
            return self.plain_decode(data)
        unwanted = set(slots)

        def hook(kind: type, index: object) -> Capability:
            if not isinstance(index, int) or not 0 <= index < len(slots):
                raise ValueError("names a capability that did not come with the message")
            unwanted.discard(slots[index])
            return cast(Capability, kind(system, slots[index]))

        try:
            if self.plain_decode is not None:
                return self.plain_decode(data)
            return msgspec.msgpack.decode(data, type=self.kind, dec_hook=hook)
        except BaseException:
            unwanted.update(slots)
            raise
        finally:
            if unwanted:
                drop_all(unwanted, system)


def drop_all(slots: Iterable[int], system: Syscalls) -> None:
    """Give up capabilities that came with a message, of which some may be revoked already."""
    for slot in slots:
        with suppress(KernelError):
            system.cap_drop(slot)


class Method:
    """One method of a protocol: its number and how its arguments and result travel."""

    __slots__ = (
        *("_plain_decode", "arguments", "index", "name", "parameters", "plain", "result"),
        "signature",
    )

    def __init__(self, index: int, function: Callable[..., Any]) -> None:
        hints = get_type_hints(function)
        self.index = index
        self.name = function.__name__
        self.signature = inspect.signature(function)
        self.parameters = list(self.signature.parameters)[1:]
        fields = [(name, hints[name]) for name in self.parameters]
        # kw_only would let defaults travel; the client fills them in, so all fields are required
        self.arguments = Codec(
            msgspec.defstruct(self.name, fields, array_like=True, forbid_unknown_fields=True)
        )
        self.result = Codec(hints.get("return", type(None)))
        self._plain_decode = self.arguments.plain_decode
        self.plain = not self.arguments.has_caps and not self.result.has_caps

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, list[int]]:
        """Encode a call's arguments, defaults filled in."""
        if kwargs or len(args) != len(self.parameters):
            args = self.bind(args, kwargs)
        return self.arguments.encode(args)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments in their order, defaults filled in; raises ``TypeError``."""
        bound = self.signature.bind(None, *args, **kwargs)
        bound.apply_defaults()
        return tuple(bound.arguments.values())[1:]

    def unpack(self, data: bytes, slots: list[int], system: Syscalls) -> tuple[Any, ...]:
        """Decode a call's arguments; raises ``BadRequest`` that names what is wrong."""
        try:
            if self._plain_decode is not None and not slots:
                return astuple(self._plain_decode(data))
            return astuple(self.arguments.decode(data, slots, system))
        except MISFIT as error:
            raise BadRequest(f"{self.name}: {self._named(str(error))}") from None

    def _named(self, text: str) -> str:
        """The decoder's text with parameters named instead of counted."""

        def name(match: re.Match[str]) -> str:
            index = int(match.group(1))
            known = index < len(self.parameters)
            return f"`{self.parameters[index]}" if known else f"`argument {index}"

        return re.sub(r"`\$\[(\d+)\]", name, text)


class Interface:
    """The base of every protocol."""

    protocol: ClassVar[type[Interface]]
    """The class that defines the methods, shared by services and clients."""
    _methods: ClassVar[tuple[Method, ...] | None]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if Interface in cls.__bases__:
            cls.protocol = cls
            cls._methods = None

    @classmethod
    def methods(cls) -> tuple[Method, ...]:
        """The methods of the protocol, in the order of their numbers."""
        protocol = cls.protocol
        if protocol._methods is None:
            functions = [
                found
                for name, found in vars(protocol).items()
                if inspect.isfunction(found) and not name.startswith("_")
            ]
            protocol._methods = tuple(Method(i, found) for i, found in enumerate(functions))
        return protocol._methods
