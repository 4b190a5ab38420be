"""The tally."""

from __future__ import annotations

from collections import Counter

from servers.runtime import Deferred, Environment
from tools.bench.programs.load.interface import Status, Tally

MOST_FAULTS = 20
"""Faults that are kept; the rest is counted."""


class Adding(Tally):
    """The service."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._counts: Counter[str] = Counter()
        self._faults: list[str] = []
        self._begun = self._ended = False
        self._waiting: dict[int, Deferred] = {}  # by the client's badge
        self._resting: dict[int, Deferred] = {}

    def begin(self) -> bool:
        self._resting.pop(self._env.badge, None)  # that one was killed
        if self._begun:
            return not self._ended
        answer: Deferred = self._env.defer()
        self._waiting[self._env.badge] = answer
        return answer  # type: ignore[return-value]

    def report(self, counts: dict[str, int]) -> bool:
        self._counts.update(counts)
        return not self._ended

    def fault(self, text: str) -> None:
        self._counts["faults"] += 1
        if len(self._faults) < MOST_FAULTS:
            self._faults.append(f"{self._env.caller}: {text}")

    def rest(self) -> None:
        answer: Deferred = self._env.defer()
        self._resting[self._env.badge] = answer
        return answer  # type: ignore[return-value]

    def start(self) -> None:
        self._begun = True
        for answer in self._waiting.values():
            answer.answer(True)
        self._waiting.clear()

    def stop(self) -> None:
        self._ended = True

    def status(self) -> Status:
        counts = dict(self._counts)
        return Status(len(self._waiting), len(self._resting), counts, self._faults)


def main(env: Environment) -> None:
    env.serve(Adding(env), on="tally")
