"""An interface with every type in it, and a service that gives back what it gets."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from servers.runtime import (
    Busy,
    Deferred,
    Endpoint,
    Environment,
    Frame,
    Interface,
    NotFound,
    Notification,
    ServiceError,
)
from tests.support.simulation import Simulation

SECOND = 10**9


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


class Point(msgspec.Struct, array_like=True, frozen=True):
    x: int
    y: float
    name: str | None = None


class Shared(msgspec.Struct, array_like=True, frozen=True):
    frame: Frame
    note: str
    signal: Notification | None = None


class Full(ServiceError):
    """An error that only this interface knows."""


class Echo(Interface):
    """Gives back what it gets."""

    def integer(self, value: int) -> int: ...
    def number(self, value: float) -> float: ...
    def text(self, value: str) -> str: ...
    def data(self, value: bytes) -> bytes: ...
    def flag(self, value: bool) -> bool: ...
    def maybe(self, value: int | None) -> int | None: ...
    def colour(self, value: Colour) -> Colour: ...
    def points(self, value: list[Point]) -> list[Point]: ...
    def mapping(self, value: dict[str, list[int]]) -> dict[str, list[int]]: ...
    def pair(self, value: tuple[int, str]) -> tuple[int, str]: ...
    def several(self, first: int, second: str = "b", third: bool = False) -> str: ...
    def nothing(self) -> None: ...
    def share(self, shared: Shared, others: list[Notification]) -> Shared: ...
    def fail(self, kind: str) -> None: ...
    def later(self, value: int) -> int: ...
    def now(self) -> int: ...
    def lie(self) -> int: ...
    def huge(self, size: int) -> bytes: ...
    def session(self, name: str) -> Endpoint: ...
    def close(self) -> None: ...
    def _hidden(self) -> None: ...


class Parrot(Echo):
    """The service."""

    def __init__(self, env: Environment, name: str = "") -> None:
        self._env = env
        self._name = name
        self._waiting: list[tuple[Deferred, int]] = []
        self._sessions: list[Parrot] = []

    def several(self, first: int, second: str = "?", third: bool = True) -> str:
        return f"{self._name}{first} {second} {third}"

    def nothing(self) -> None:
        return None

    def share(self, shared: Shared, others: list[Notification]) -> Shared:
        mapping = shared.frame.map()
        mapping.view[:5] = b"hello"
        mapping.close()
        for number, other in enumerate(others):
            other.signal(1 << number)
        if shared.signal is not None:
            shared.signal.signal(64)
        return Shared(shared.frame, shared.note.upper(), shared.signal)

    def fail(self, kind: str) -> None:
        known: dict[str, Exception] = {
            "full": Full("no room"),
            "missing": NotFound("nothing there"),
            "fault": ZeroDivisionError("division by zero"),
            "long": NotFound("\u20ac" * 100_000),
        }
        raise known[kind]

    def later(self, value: int) -> int:
        answer: Deferred = self._env.defer()
        self._waiting.append((answer, value))
        return answer  # type: ignore[return-value]

    def now(self) -> int:
        for answer, value in self._waiting:
            if value == 666:
                answer.fail(Busy("not that one"))
            elif value == 777:
                answer.answer(bytes(100_000))
            answer.answer(value)
            answer.answer(value + 1)  # only the first counts
        count, self._waiting = len(self._waiting), []
        return count

    def lie(self) -> int:
        return "not a number"  # type: ignore[return-value]

    def huge(self, size: int) -> bytes:
        return bytes(size)

    def session(self, name: str) -> Endpoint:
        self._sessions.append(Parrot(self._env, name))
        return self._env.session(self._sessions[-1])

    def close(self) -> None:
        for session in self._sessions:
            self._env.close(session)


def _echo(_self: Parrot, value: Any) -> Any:
    return value


for _name in ("integer", "number", "text", "data", "flag", "maybe", "colour", "points"):
    setattr(Parrot, _name, _echo)
for _name in ("mapping", "pair"):
    setattr(Parrot, _name, _echo)


def parrot(env: Environment) -> None:
    env.serve(Parrot(env), on="echo")


def system(memory: int = 64 << 20) -> Simulation:
    sim = Simulation()
    sim.process("parrot", parrot, ["echo"], memory=memory)
    return sim


HOLDS = {"echo": "parrot.echo"}
