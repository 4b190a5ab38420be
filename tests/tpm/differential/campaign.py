"""Many sequences, each from a seed, and what is wrong with them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tests.tpm.differential import decided, shrink
from tests.tpm.differential.author import PROLOGUE, Author, Plan
from tests.tpm.differential.pair import Difference, Pair
from tests.tpm.differential.spoil import edits
from tests.tpm.differential.steps import Earlier, HandleOf, Step
from tests.tpm.differential.stories import ENDING, STORIES

LENGTH = 120
"""Steps of a sequence."""
_EDITED = 1_000_000
"""The numbers of edited steps begin here."""


@dataclass
class Tally:
    """What came of some sequences."""

    steps: int = 0
    succeeded: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    """How often each row of `decided` explained something."""


@dataclass
class Finding:
    """A difference that nothing explains."""

    seed: int
    edited: bool
    difference: Difference
    steps: list[Step]
    """The sequence up to it."""

    again: bool = False
    """It can be repeated, and the steps are those that it takes."""

    def __str__(self) -> str:
        option = " --edits" if self.edited else ""
        lines = [f"seed {self.seed}: {self.difference}"]
        if self.again:
            lines += ["  after", *(f"    {step}" for step in self.steps[:-1])]
        else:
            lines.append(f"  after {len(self.steps)} steps, and not when they are repeated")
        lines.append(f"  again: python -m tests.tpm.differential --seed {self.seed}{option}")
        return "\n".join(lines)


def run(
    pair: Pair, seed: int, tally: Tally, with_edits: bool = False, length: int = LENGTH
) -> Finding | None:
    """Run the sequence of a seed until it ends, or until something cannot be explained."""
    pair.begin()
    done: list[Step] = []
    script = _edited(pair, seed, length) if with_edits else _written(seed, length)
    step = next(script)
    try:
        while True:
            done.append(step)
            outcome, differences = pair.run(step)
            tally.steps += 1
            (tally.failed if outcome.code else tally.succeeded)[step.name] += 1
            for one in differences:
                row = decided.explanation(one)
                if row is None:
                    return Finding(seed, with_edits, one, done)
                tally.rows[row] += 1
            if pair.parted or any(one.parts_ways for one in differences):
                return None
            step = script.send(outcome.code == 0)
    except StopIteration:
        return None


def _written(seed: int, length: int) -> Plan[None]:
    return Author(seed, STORIES, ENDING).steps(length)


def _edited(pair: Pair, seed: int, length: int) -> Plan[None]:
    """Every step comes after some that are made of its octets, edited."""
    dice = random.Random(seed)
    number = _EDITED
    script = _written(seed, length)
    step = next(script)
    while True:
        for _ in range(dice.choice((0, 1, 2, 6)) if len(pair.same) >= PROLOGUE else 0):
            other = dice.choice(pair.same)
            changes = edits(dice, other)
            keep_size = dice.random() < 0.03
            number += 1
            wrong = replace(step, number=number, edits=changes, keep_size=keep_size, info=None)
            if (yield wrong) and pair.ours.made_handle(number):
                number += 1
                yield Step(number, "FlushContext", (), (HandleOf(Earlier(number - 1)),))
        try:
            step = script.send((yield step))
        except StopIteration:
            return


def reduced(pair: Pair, finding: Finding) -> Finding:
    """The same finding with as few steps as show it."""

    def shows(steps: Sequence[Step]) -> Difference | None:
        pair.begin()
        for step in steps:
            _, differences = pair.run(step)
            for one in differences:
                same = one.signature == finding.difference.signature
                if same and decided.explanation(one) is None:
                    return one
            if any(one.parts_ways for one in differences):
                return None
        return None

    first, rest = finding.steps[:PROLOGUE], finding.steps[PROLOGUE:]
    steps = first + shrink.shrunk(rest, lambda steps: shows([*first, *steps]) is not None)
    difference = shows(steps)
    if difference is None:
        return finding
    return replace(finding, steps=steps, difference=difference, again=True)
