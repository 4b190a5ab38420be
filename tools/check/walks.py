"""Walks that can be repeated: by the seed they had, or by the numbers that hypothesis drew.

As text a walk of hypothesis is ``KIND:NUMBER,NUMBER KIND ...``, a word for each step.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator

from kernel.abi import ThreadState
from tools.check.walk import Walker
from tools.errors import UserError

ACTS = ("messages", "signals", "capabilities", "memory", "lives", "policy")
"""The kinds of steps in which a thread makes a system call."""
KINDS = ("family", "machine", *ACTS)


class Numbered:
    """A walk whose choices are numbers that are handed in with each step."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._log: list[str] = []
        self._walker = Walker(self._choose)

    def _choose(self, below: int) -> int:
        return self._numbers.pop() % below if self._numbers else below - 1

    def free(self) -> bool:
        """Whether a thread can make a system call."""
        return any(
            actor.thread.state is ThreadState.RUNNING and actor.thread.held is None
            for actor in self._walker.actors
        )

    def take(self, kind: str, numbers: list[int]) -> None:
        """Take a step of a kind; a law that it breaks comes with the command that repeats it."""
        self._log.append(f"{kind}:{','.join(map(str, numbers))}" if numbers else kind)
        self._numbers = [*numbers]
        try:
            if kind == "family":
                self._walker.family(len(numbers))
            elif kind == "machine":
                self._walker.take(Walker.machine)
            else:
                self._walker.act(getattr(Walker, kind))
        except AssertionError as error:
            error.add_note(f"./cloister check --walk {shlex.quote(' '.join(self._log))}")
            raise


def seeded(seed: int, steps: int) -> Iterator[None]:
    """The steps of a random walk; raises ``AssertionError`` at the one that breaks a law."""
    try:
        walker = Walker(random.Random(seed).randrange)
        for _ in range(steps):
            walker.step()
            yield
    except AssertionError as error:
        error.add_note(f"./cloister check --seed {seed} --steps {steps}")
        raise


def repeated(text: str) -> Iterator[None]:
    """The steps of a walk that a test's failure named."""
    for number, (kind, numbers) in enumerate([_step(word) for word in text.split()]):
        if number == 0:
            walk = Numbered()
        if kind in ACTS and not walk.free():
            raise UserError(f"step {number + 1} cannot be taken: no thread can make a call")
        walk.take(kind, numbers)
        yield


def _step(word: str) -> tuple[str, list[int]]:
    kind, _, numbers = word.partition(":")
    try:
        if kind not in KINDS:
            raise ValueError(kind)
        return kind, [int(number) for number in numbers.split(",") if number]
    except ValueError:
        raise UserError(f"{word!r} is no step of a walk, such as messages:3,1") from None
