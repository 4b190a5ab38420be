"""Hypothesis drives the kernel: random system calls by several threads, shrunk when a law breaks.

The same walker as in ``test_walk``, but each choice is drawn by hypothesis, so that a failure comes
with the shortest run that shows it.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kernel.abi import ThreadState
from tools.check.walk import Walker

NUMBERS = st.lists(st.integers(0, 999), max_size=12)


class KernelMachine(RuleBasedStateMachine):
    """Each rule takes one step of a kind; its numbers are the choices within."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self.walker = Walker(self._choose)

    def _choose(self, below: int) -> int:
        return self.numbers.pop() % below if self.numbers else below - 1

    def _free(self) -> bool:
        return any(
            actor.thread.state is ThreadState.RUNNING and actor.thread.held is None
            for actor in self.walker.actors
        )

    def _take(self, numbers: list[int], step: Callable[[], None]) -> None:
        self.numbers = numbers
        step()

    @initialize(numbers=NUMBERS)
    def families(self, numbers: list[int]) -> None:
        self._take(numbers, lambda: self.walker.family(len(numbers)))

    @rule(numbers=NUMBERS)
    def machine(self, numbers: list[int]) -> None:
        self._take(numbers, lambda: self.walker.take(Walker.machine))

    @precondition(_free)
    @rule(numbers=NUMBERS)
    def messages(self, numbers: list[int]) -> None:
        self._take(numbers, lambda: self.walker.act(Walker.messages))

    @precondition(_free)
    @rule(numbers=NUMBERS)
    def signals(self, numbers: list[int]) -> None:
        self._take(numbers, lambda: self.walker.act(Walker.signals))

    @precondition(_free)
    @rule(numbers=NUMBERS)
    def capabilities(self, numbers: list[int]) -> None:
        self._take(numbers, lambda: self.walker.act(Walker.capabilities))

    @precondition(_free)
    @rule(numbers=NUMBERS)
    def memory(self, numbers: list[int]) -> None:
        self._take(numbers, lambda: self.walker.act(Walker.memory))

    @precondition(_free)
    @rule(numbers=NUMBERS)
    def lives(self, numbers: list[int]) -> None:
        self._take(numbers, lambda: self.walker.act(Walker.lives))

    @precondition(_free)
    @rule(numbers=NUMBERS)
    def policy(self, numbers: list[int]) -> None:
        self._take(numbers, lambda: self.walker.act(Walker.policy))


TestKernel = KernelMachine.TestCase
TestKernel.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
