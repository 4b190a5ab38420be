"""The frame around a system call: one short msgpack array, decoded with strict limits.

The limits come before the contents: a frame longer than ``MAX_FRAME`` is never decoded, maps and
extension types are refused outright, and an array longer than any call needs is refused before its
elements are looked at.  What passes is then checked against the table, type by type.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from kernel import abi
from kernel.abi import CALLS, KINDS, MAX_FRAME, CallSpec


def _rule(spec: CallSpec) -> tuple[list[type], list[tuple[int, int]], list[int]]:
    kinds = list(enumerate((kind for _, kind in spec.arguments), start=1))
    return (
        [int, *(KINDS[kind] for _, kind in kinds)],  # bool is not int here, on purpose
        [(i, _LEAST[kind]) for i, kind in kinds if kind in _LEAST],
        [i for i, kind in kinds if kind == "caps"],
    )


_LEAST: Final = {"uint": 0, "rights": 0, "label": 0, "timeout": abi.FOREVER}
"""The least that a number of a kind can be; a negative capability names nothing anyway."""
_RULES: Final = [_rule(spec) for spec in CALLS]
"""Of each call's array: the exact types, where numbers are and the least they can be, and where
lists of capabilities are."""
_ARRAY: Final = max(max(len(spec.arguments) for spec in CALLS) + 1, abi.MAX_CAPS)
_TEXT: Final = 4 * abi.MAX_NAME  # bytes; names are checked again, this bounds reasons
_BYTES: Final = abi.MAX_ARGUMENT

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
            max_array_len=_ARRAY,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=_TEXT,
            max_bin_len=_BYTES,
        )
    except Exception as error:  # the decoder raises a dozen types; all mean the same here
        raise Malformed(f"not a msgpack array within the limits: {error}") from None
    check(request)
    return request  # type: ignore[no-any-return]


def check(request: Any) -> None:
    """Raise ``Malformed`` unless the decoded request has a known number and its exact types."""
    if type(request) is not list or not request or type(request[0]) is not int:
        raise Malformed("not an array that begins with a call number")
    if not 0 <= request[0] < len(_RULES):
        raise Malformed(f"there is no system call {request[0]}")
    types, numbers, lists = _RULES[request[0]]
    if [*map(type, request)] != types:
        raise Malformed(f"the arguments of {CALLS[request[0]].name} have other types")
    for index, least in numbers:
        if request[index] < least:
            raise Malformed(f"argument {index} of {CALLS[request[0]].name} is negative")
    for index in lists:
        for slot in request[index]:
            if type(slot) is not int or slot < 0:
                raise Malformed(f"a capability of {CALLS[request[0]].name} is not a number")
