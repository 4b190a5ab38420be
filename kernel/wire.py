"""The frame around a system call: one short msgpack array, decoded with strict limits.

The limits come before the contents: a frame longer than ``MAX_FRAME`` is never decoded, maps and
extension types are refused outright, and an array longer than any call needs is refused before its
elements are looked at.  What passes is then checked against the table, type by type.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from kernel.abi import CALLS, KINDS, MAX_ARGUMENT, MAX_CAPS, MAX_FRAME, MAX_NAME

_LONGEST: Final = max(len(spec.arguments) for spec in CALLS) + 1
_TYPES: Final = tuple(
    (int, *(KINDS[kind] for _, kind in spec.arguments)) for spec in CALLS
)  # the exact types of each call's array; bool is not int here, on purpose
_TIMEOUTS: Final = tuple(
    tuple(i + 1 for i, (_, kind) in enumerate(spec.arguments) if kind == "timeout")
    for spec in CALLS
)
_TEXT_LIMIT: Final = 4 * MAX_NAME  # bytes; names are checked again, this bounds reasons

pack: Final = msgpack.Packer(autoreset=True).pack


class Malformed(Exception):
    """The frame does not decode to a system call; the text says what is wrong with it."""


def decode(frame: bytes) -> list[Any]:
    """Return ``[number, argument, ...]`` with the types that the table names.

    Raises ``Malformed`` and nothing else, whatever the bytes are.
    """
    if len(frame) > MAX_FRAME:
        raise Malformed(f"frame of {len(frame)} bytes, at most {MAX_FRAME} are allowed")
    try:
        request = msgpack.unpackb(
            frame,
            max_array_len=max(_LONGEST, MAX_CAPS),
            max_map_len=0,
            max_ext_len=0,
            max_str_len=_TEXT_LIMIT,
            max_bin_len=MAX_ARGUMENT,
        )
    except Exception as error:  # the decoder raises a dozen types; all mean the same here
        raise Malformed(f"not a msgpack array within the limits: {error}") from None
    check(request)
    return request  # type: ignore[no-any-return]


def check(request: Any) -> None:
    """Raise ``Malformed`` unless the decoded request has a known number and its exact types."""
    if type(request) is not list or not request or type(request[0]) is not int:
        raise Malformed("not an array that begins with a call number")
    number = request[0]
    if not 0 <= number < len(_TYPES):
        raise Malformed(f"there is no system call {number}")
    if tuple(map(type, request)) != _TYPES[number]:
        raise Malformed(f"the arguments of {CALLS[number].name} have other types")
    timeouts = _TIMEOUTS[number]
    for index, value in enumerate(request):
        kind = type(value)
        if kind is int:
            if value < 0 and not (value == -1 and index in timeouts):
                raise Malformed(f"argument {index} of {CALLS[number].name} is negative")
        elif kind is list:
            for slot in value:
                if type(slot) is not int or slot < 0:
                    raise Malformed(f"a capability of {CALLS[number].name} is not a number")
