"""Hypothesis drives the kernel: random system calls by several threads, shrunk when a law breaks.

The same walker as in ``test_walk``, but each choice is drawn by hypothesis, so that a failure comes
with the shortest run that shows it, and the command that repeats it.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tools.check.walks import ACTS, Numbered

NUMBERS = st.lists(st.integers(0, 999), max_size=12)


class KernelMachine(RuleBasedStateMachine):
    """Each rule takes one step of a kind; its numbers are the choices within."""

    def __init__(self) -> None:
        super().__init__()
        self.walk = Numbered()

    def _free(self) -> bool:
        return self.walk.free()

    @initialize(numbers=NUMBERS)
    def families(self, numbers: list[int]) -> None:
        self.walk.take("family", numbers)

    @rule(numbers=NUMBERS)
    def machine(self, numbers: list[int]) -> None:
        self.walk.take("machine", numbers)

    @precondition(_free)
    @rule(kind=st.sampled_from(ACTS), numbers=NUMBERS)
    def act(self, kind: str, numbers: list[int]) -> None:
        self.walk.take(kind, numbers)


TestKernel = KernelMachine.TestCase
TestKernel.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
