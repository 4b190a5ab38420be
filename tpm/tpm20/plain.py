"""State as plain data: integers, octets, lists and dictionaries, and back with every check.

Whatever holds state is a dataclass; its fields' types say how they are written and what a blob that
is read may contain. A dataclass becomes a dictionary by field name, a wire structure its octets. A
blob comes from a disk or over a network: `restore` takes nothing for granted and raises
`StateError` for a key that is missing or unknown, a value of another type, or a structure that does
not unmarshal.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from tpm.tpm20.codec import decode, encode
from tpm.tpm20.constants import TpmError


class StateError(Exception):
    """A state blob does not hold what it must."""


class _Form(NamedTuple):
    save: Callable[[Any], Any]
    restore: Callable[[Any], Any]


def save(value: Any) -> dict[str, Any]:
    """A dataclass as plain data that shares nothing with it."""
    plain: dict[str, Any] = _form(type(value)).save(value)
    return plain


def restore(kind: type, plain: Any) -> Any:
    """The dataclass that `plain` holds."""
    return _form(kind).restore(plain)


def _form(kind: Any) -> _Form:
    return _made_form(kind)


@cache
def _made_form(kind: Any) -> _Form:
    if kind in (int, bytes, bool):
        return _Form(lambda value: value, lambda plain: _checked(kind, plain))
    if is_dataclass(kind):
        return _dataclass_form(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional_form(next(one for one in arguments if one is not type(None)))
    if origin is list:
        return _list_form(arguments[0])
    if origin is dict:
        return _dict_form(arguments[0], arguments[1])
    if origin is tuple:
        return _tuple_form(arguments)
    return _structure_form(kind)


def _checked(kind: type, plain: Any) -> Any:
    if type(plain) is not kind:
        raise StateError(f"{type(plain).__name__} instead of {kind.__name__}")
    return plain


def _structure_form(kind: Any) -> _Form:
    def restored(plain: Any) -> Any:
        try:
            return decode(kind, _checked(bytes, plain))
        except TpmError as error:
            raise StateError(f"not a {kind.__name__}: {error}") from None

    return _Form(lambda value: encode(kind, value), restored)


def _dataclass_form(kind: Any) -> _Form:
    hints = get_type_hints(kind)
    forms = {
        field.name: _form(hints[field.name])
        for field in fields(kind)
        if not field.name.startswith("_")
    }

    def saved(value: Any) -> dict[str, Any]:
        return {name: form.save(getattr(value, name)) for name, form in forms.items()}

    def restored(plain: Any) -> Any:
        _checked(dict, plain)
        if plain.keys() != forms.keys():
            wrong = sorted(map(str, plain.keys() ^ forms.keys()))
            raise StateError(f"{kind.__name__}: {', '.join(wrong)} missing or unknown")
        return kind(**{name: form.restore(plain[name]) for name, form in forms.items()})

    return _Form(saved, restored)


def _optional_form(inner: Any) -> _Form:
    form = _form(inner)
    return _Form(
        lambda value: None if value is None else form.save(value),
        lambda plain: None if plain is None else form.restore(plain),
    )


def _list_form(inner: Any) -> _Form:
    form = _form(inner)
    return _Form(
        lambda value: [form.save(one) for one in value],
        lambda plain: [form.restore(one) for one in _checked(list, plain)],
    )


def _dict_form(key: Any, inner: Any) -> _Form:
    form = _form(inner)
    return _Form(
        lambda value: {one: form.save(held) for one, held in value.items()},
        lambda plain: {
            _checked(key, one): form.restore(held) for one, held in _checked(dict, plain).items()
        },
    )


def _tuple_form(kinds: tuple[Any, ...]) -> _Form:
    forms = [_form(kind) for kind in kinds]

    def restored(plain: Any) -> tuple[Any, ...]:
        if type(plain) not in (list, tuple) or len(plain) != len(forms):
            raise StateError(f"not a tuple of {len(forms)}")
        return tuple(form.restore(one) for form, one in zip(forms, plain, strict=True))

    return _Form(
        lambda value: [form.save(one) for form, one in zip(forms, value, strict=True)], restored
    )


# Plain data as octets, for what leaves the TPM in one piece: a saved context.

_NONE, _FALSE, _TRUE, _INT, _BYTES, _LIST, _DICT = range(7)


def pack(value: Any) -> bytes:
    """Plain data as octets: a kind, a size and the content, for each value."""
    if value is None or isinstance(value, bool):
        return bytes((_NONE if value is None else _TRUE if value else _FALSE,))
    if isinstance(value, int):
        size = value.bit_length() // 8 + 1
        return bytes((_INT, size)) + value.to_bytes(size, "big", signed=True)
    if isinstance(value, bytes):
        return bytes((_BYTES,)) + len(value).to_bytes(2, "big") + value
    if isinstance(value, dict):
        content = b"".join(pack(key) + pack(held) for key, held in value.items())
        return bytes((_DICT,)) + len(value).to_bytes(2, "big") + content
    if isinstance(value, str):
        return pack(value.encode())
    return bytes((_LIST,)) + len(value).to_bytes(2, "big") + b"".join(map(pack, value))


def unpack(octets: bytes) -> Any:
    """The plain data of `pack`; the keys of its dictionaries are names or integers."""
    try:
        value, end = _unpack(octets, 0)
    except (IndexError, RecursionError):
        raise StateError("a context that ends early") from None
    if end != len(octets):
        raise StateError("a context with more behind it")
    return value


def _unpack(octets: bytes, at: int) -> tuple[Any, int]:
    kind = octets[at]
    if kind <= _TRUE:
        return (None, False, True)[kind], at + 1
    if kind == _INT:
        end = at + 2 + octets[at + 1]
        return int.from_bytes(octets[at + 2 : end], "big", signed=True), end
    count = int.from_bytes(octets[at + 1 : at + 3], "big")
    at += 3
    if kind == _BYTES:
        return octets[at : at + count], at + count
    if kind == _LIST:
        values = []
        for _ in range(count):
            value, at = _unpack(octets, at)
            values.append(value)
        return values, at
    held = {}
    for _ in range(count):
        key, at = _unpack(octets, at)
        held[key.decode() if isinstance(key, bytes) else key], at = _unpack(octets, at)
    return held, at
