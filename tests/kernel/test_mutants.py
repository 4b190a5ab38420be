"""Broken kernels that the walk must find out: the checks are able to fail."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.kernel.test_state_machine import KernelMachine
from tools.check.mutants import (
    MUTANTS,
    Mutant,
    applied,
    fault_is_lost,
    link_is_not_cut,
    refund_is_forgotten,
    reply_is_not_used_up,
    rights_grow,
    timeout_is_forgotten,
)
from tools.check.walk import Walker

WALKS = 40
STEPS = 400


def walk() -> None:
    for seed in range(WALKS):
        walker = Walker(random.Random(seed).randrange)
        for _ in range(STEPS):
            walker.step()


RARE = (fault_is_lost, link_is_not_cut, timeout_is_forgotten)
"""What few walks come upon, or none; the explorer finds these out."""
WALKED = [mutant for mutant in MUTANTS if mutant not in RARE]


@pytest.mark.parametrize("mutant", WALKED, ids=lambda mutant: mutant.__name__)
def test_walk_finds(mutant: Mutant) -> None:
    with applied(mutant), pytest.raises(AssertionError):
        walk()


@pytest.mark.parametrize(
    "mutant", [refund_is_forgotten, rights_grow, reply_is_not_used_up], ids=lambda m: m.__name__
)
def test_hypothesis_finds(mutant: Mutant) -> None:
    only_find = settings(KernelMachine.TestCase.settings, phases=[Phase.generate], max_examples=200)
    with applied(mutant), pytest.raises(AssertionError):
        run_state_machine_as_test(KernelMachine, settings=only_find)


def test_a_mutant_is_undone() -> None:
    with applied(link_is_not_cut):
        pass
    Walker(random.Random(1).randrange).step()
