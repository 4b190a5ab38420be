"""The frame decoder: any bytes are a system call or ``Malformed``, and nothing else."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernel.abi import CALLS, FOREVER, MAX_CAPS, MAX_FRAME, MAX_PAYLOAD, CallSpec
from kernel.wire import Malformed, check, decode, pack
from tools.check.harness import SPECS

NUMBERS = st.integers(0, (1 << 64) - 1)
ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {
    "timeout": st.just(FOREVER) | NUMBERS,
    "bytes": st.binary(max_size=100),
    "text": st.text(max_size=60),
    "caps": st.lists(NUMBERS, max_size=MAX_CAPS),
}
CALL, CLOCK = SPECS["call"].number, SPECS["clock"].number


def requests(spec: CallSpec) -> st.SearchStrategy[list[Any]]:
    """Well-formed requests of one call."""
    arguments = [ARGUMENTS.get(kind, NUMBERS) for _, kind in spec.arguments]
    return st.tuples(st.just(spec.number), *arguments).map(list)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats()
    | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=30,
)  # fmt: skip


def bad(frame: bytes) -> None:
    """The frame is refused with a sentence."""
    with pytest.raises(Malformed, match=r"\w+ \w+"):
        decode(frame)


def decodes_or_is_malformed(frame: bytes) -> None:
    try:
        check(decode(frame))
    except Malformed:
        pass


@given(st.sampled_from(CALLS).flatmap(requests))
def test_round_trip(request: list[Any]) -> None:
    assert decode(pack(request)) == request


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
def test_any_bytes(frame: bytes) -> None:
    decodes_or_is_malformed(frame)


@given(ANY)
def test_any_value(value: Any) -> None:
    decodes_or_is_malformed(msgpack.packb(value))


@given(st.sampled_from(CALLS).flatmap(requests), st.data())
@settings(max_examples=300)
def test_damaged_requests(request: list[Any], data: st.DataObject) -> None:
    frame = bytearray(pack(request))
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_is_malformed(bytes(frame[: data.draw(st.integers(0, len(frame)))]))


@given(st.sampled_from(CALLS).flatmap(requests), st.data())
def test_one_argument_of_another_type(request: list[Any], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(request) - 1))
    other = data.draw(ANY.filter(lambda value: type(value) is not type(request[index])))
    bad(msgpack.packb([*request[:index], other, *request[index + 1 :]]))


@pytest.mark.parametrize(
    "frame",
    [
        b"\x91" * 60_000,
        b"\x91" * 100_000,
        b"\x81\xc0" * 30_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x92\x00\xc6\xff\xff\xff\xff",
        b"\x92\x00\xdb\xff\xff\xff\xff",
        b"\xdc\xff\xff" + b"\x00" * 65_535,
        b"\xc7\x00\x05",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\x91" + bytes([CLOCK]) + b"\x00",
        b"\x00" * (MAX_FRAME + 1),
    ],
    ids=[
        "deep", "deeper", "deep maps", "huge array", "huge map", "huge bin", "huge text",
        "long array", "extension", "timestamp", "more behind it", "too long",
    ],
)  # fmt: skip
def test_bombs(frame: bytes) -> None:
    bad(frame)


@pytest.mark.parametrize(
    "value",
    [
        [],
        5,
        {},
        [-1],
        [len(CALLS)],
        [1 << 63],
        [True],
        [float(CLOCK)],
        [CLOCK, 0],
        [CALL, 1, 0, b"", [], True],
        [CALL, 1, 0, b"", [], -2],
        [CALL, 1, 0, "text", [], 0],
        [CALL, 1, 0, b"", [-1], 0],
        [CALL, 1, 0, b"", [False], 0],
        [CALL, 1, 0, b"", [[1]], 0],
        [CALL, 1, 0, b"", None, 0],
        [CALL, 1, 0, b"", list(range(20)), 0],
        [CALL, 1, 0, b"x" * (MAX_PAYLOAD + 1), [], 0],
        [SPECS["thread_exit"].number, 0, "x" * 257],
    ],
    ids=repr,
)
def test_what_is_no_request(value: Any) -> None:
    bad(msgpack.packb(value))


def test_text_is_utf8() -> None:
    number = SPECS["thread_exit"].number
    for text in (b"\xff", b"\xed\xb0\x80", b"\xc0\x80"):
        bad(bytes([0x93, number, 0, 0xA0 + len(text)]) + text)


def test_check_refuses_what_no_frame_can_carry() -> None:
    """The sim machine's programs can pass any object."""
    for request in (None, (CLOCK,), [CLOCK, 0], ["clock"], [CALL, 1, 0, bytearray(), [], 0]):
        with pytest.raises(Malformed):
            check(request)
