"""Interfaces: what goes in at one end comes out at the other, and nothing else does."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.abi import MAX_PAYLOAD
from servers.runtime import (
    BadRequest,
    Environment,
    Failed,
    NotFound,
    ServiceError,
    TimedOut,
)
from tests.support.echo import (
    HOLDS,
    SECOND,
    Colour,
    Echo,
    Full,
    Point,
    Shared,
    system,
)

integers = st.integers(-(2**63), 2**63 - 1)

points = st.builds(
    Point, integers, st.floats(allow_nan=False), st.one_of(st.none(), st.text(max_size=20))
)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "integer": integers,
    "number": st.floats(allow_nan=False),
    "text": st.text(),
    "data": st.binary(max_size=MAX_PAYLOAD - 100),
    "flag": st.booleans(),
    "maybe": st.one_of(st.none(), integers),
    "colour": st.sampled_from(Colour),
    "points": st.lists(points, max_size=20),
    "mapping": st.dictionaries(st.text(max_size=10), st.lists(integers, max_size=5), max_size=9),
    "pair": st.tuples(integers, st.text()),
}

calls = st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))


@given(st.lists(calls, max_size=20))
@settings(max_examples=50, deadline=None)
def test_every_type_comes_back_as_it_was(made: list[tuple[str, Any]]) -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        echo = env.open(Echo, "echo")
        for name, value in made:
            found = getattr(echo, name)(value)
            assert found == value and type(found) is type(value)

    sim.run()


@given(st.integers(0, 30), st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_bytes_harm_a_server(label: int, data: bytes) -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        env.system.call(env.slot("echo"), label, data, [], SECOND)
        assert env.open(Echo, "echo").integer(5) == 5

    try:
        sim.run()
    except TimedOut:  # it was a good call of ``later``
        assert label == [m.name for m in Echo.methods()].index("later")
    assert not sim.processes["parrot"].ends


@pytest.mark.parametrize(
    ("method", "arguments", "complaint"),
    [
        ("integer", ["x"], r"integer: Expected `int`, got `str` - at `value`"),
        ("several", [1, 2, False], r"several: Expected `str`, got `int` - at `second`"),
        ("several", [1, "b", 3], r"several: Expected `bool`, got `int` - at `third`"),
        ("points", [[[1, 2.0], ["x", 1.0]]], r"points: .*got `str` - at `value\[1\]\[0\]`"),
        ("colour", [3], r"colour: Invalid enum value 3 - at `value`"),
        ("several", [1], r"several: Expected `array` of .*length 3"),
        ("integer", [1, 2], r"integer: Expected `array` of .*length 1"),
        ("share", [[4, "x"], []], r"share: .*did not come with the message - at `shared\[0\]`"),
        ("share", [["x", "x"], []], r"share: .* - at `shared\[0\]`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    method: str, arguments: list[Any], complaint: str
) -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        label = [m.name for m in Echo.methods()].index(method)
        data = msgpack.packb(arguments)
        kind, answer, _ = env.system.call(env.slot("echo"), label, data, [], SECOND)
        name, text = msgpack.unpackb(answer)
        assert (kind, name) == (1, "BadRequest")
        with pytest.raises(BadRequest, match=complaint):
            raise BadRequest(text)

    sim.run()


def test_unknown_methods_and_hidden_ones_are_refused() -> None:
    assert "_hidden" not in [method.name for method in Echo.methods()]
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        label = len(Echo.methods())
        _, answer, _ = env.system.call(env.slot("echo"), label, b"\x90", [], SECOND)
        assert msgpack.unpackb(answer) == ["BadRequest", f"Echo has no method {label}"]

    sim.run()


def test_defaults_are_the_protocols_and_keywords_work() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        echo = env.open(Echo, "echo")
        assert echo.several(1) == "1 b False"
        assert echo.several(third=True, first=2) == "2 b True"
        echo.nothing()
        with pytest.raises(TypeError):
            echo.several()  # type: ignore[call-arg]

    sim.run()


def test_capabilities_travel_in_parameters_and_results() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        echo = env.open(Echo, "echo")
        frame, word = env.frame(4096), env.notification()
        view = frame.map().view
        shared = echo.share(Shared(frame, "note", word), [word, word])
        assert bytes(view[:5]) == b"hello"
        assert word.poll() == 64 | 1 | 2
        assert shared.note == "NOTE" and shared.signal is not None
        shared.signal.signal(8)  # the same notification, through the server
        assert word.poll() == 8
        assert bytes(shared.frame.map().view[:5]) == b"hello"
        with pytest.raises(ValueError, match="9 capabilities in one message"):
            echo.share(Shared(frame, "", None), [word] * 8)
        with pytest.raises(TypeError, match="cannot be sent in a message"):
            echo.share(Shared(object(), ""), [])  # type: ignore[arg-type]

    sim.run()


def test_errors_cross_as_what_they_are() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        echo = env.open(Echo, "echo")
        with pytest.raises(Full, match=r"^no room$"):
            echo.fail("full")
        with pytest.raises(NotFound, match=r"^nothing there$"):
            echo.fail("missing")
        with pytest.raises(Failed, match=r"^ZeroDivisionError: division by zero$"):
            echo.fail("fault")
        with pytest.raises(Failed, match="KeyError"):
            echo.fail("unheard of")
        with pytest.raises(Failed, match="answer of lie does not fit the interface"):
            echo.lie()
        assert ServiceError.of("Unknown", "text").args == ("text",)

    sim.run()
    assert not sim.processes["parrot"].ends


def test_an_answer_that_no_message_carries_is_an_error() -> None:
    sim = system()

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        echo = env.open(Echo, "echo")
        assert len(echo.huge(MAX_PAYLOAD - 5)) == MAX_PAYLOAD - 5
        for size in (MAX_PAYLOAD, 10 * MAX_PAYLOAD):
            with pytest.raises(Failed, match=r"answer of huge has .* more than a message"):
                echo.huge(size)
        with pytest.raises(NotFound, match=r"^€{2000}$"):
            echo.fail("long")

    sim.run()
    assert not sim.processes["parrot"].ends


def test_unwanted_capabilities_do_not_fill_a_server() -> None:
    sim = system(memory=1 << 19)

    @sim.client(HOLDS)
    def client(env: Environment) -> None:
        word = env.notification()
        eight = [word.slot] * 8
        names = [method.name for method in Echo.methods()]
        share = msgpack.packb([[99, "x"], []])
        for _ in range(400):
            for label, data in (
                (names.index("integer"), b"\x91\x05"),
                (names.index("integer"), b"\x91\xa1x"),
                (names.index("share"), share),
                (names.index("share"), msgpack.packb([[0, 5], []])),
                (99, b"\x90"),
            ):
                env.system.call(env.slot("echo"), label, data, eight, SECOND)
        assert env.open(Echo, "echo").integer(1) == 1

    sim.run()
