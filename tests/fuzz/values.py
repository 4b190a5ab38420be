"""Values for annotated types: mostly of the type, sometimes of another."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from servers.runtime import Capability
from tests.fuzz.source import Source

DEEPEST: Final = 4
"""Levels of a value that may be anything."""
Hold = Callable[[type, Source], Any]
"""Makes a value for a kind of capability."""


def anything(source: Source, depth: int = DEEPEST) -> Any:
    """A value that msgpack can carry."""
    choices = (source.integer, source.text, source.blob, lambda: None, lambda: source.chance(2))
    kind = source.number() % (len(choices) + 3)
    if kind < len(choices):
        return choices[kind]()
    if kind == len(choices):
        return source.integer() / 3
    if not depth:
        return []
    items = [anything(source, depth - 1) for _ in range(source.count(4))]
    return items if kind == len(choices) + 1 else {str(item): item for item in items}


def value(kind: Any, source: Source, words: tuple[str, ...], hold: Hold, wild: int = 24) -> Any:
    """A value of ``kind``; once in ``wild`` times anything.

    ``words`` are strings that mean something to whoever gets them.
    """
    if source.chance(wild):
        return anything(source)

    def inner(found: Any) -> Any:
        return value(found, source, words, hold, wild)

    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Capability):
        return hold(kind, source)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        return [inner(hints[field.name]) for field in msgspec.structs.fields(kind)]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return source.pick([member.value for member in kind])
    if origin in (list, tuple):
        if origin is tuple and arguments[-1] is not ...:
            return [inner(found) for found in arguments]
        return [inner(arguments[0]) for _ in range(source.count(3))]
    if origin is dict:
        keys = [str(inner(arguments[0])) for _ in range(source.count(3))]
        return {key: inner(arguments[1]) for key in keys}
    if origin is Literal:
        return source.pick(arguments)
    if arguments:  # a union
        return inner(source.pick(arguments))
    return _plain(kind, source, words)


def _plain(kind: Any, source: Source, words: tuple[str, ...]) -> Any:
    if kind is str:
        return source.text() if source.chance(3) else source.pick(words)
    makers: dict[Any, Callable[[], Any]] = {
        int: source.integer,
        float: lambda: source.integer() / 2,
        bytes: source.blob,
        bool: lambda: source.chance(2),
        type(None): lambda: None,
    }
    return makers.get(kind, lambda: anything(source))()
