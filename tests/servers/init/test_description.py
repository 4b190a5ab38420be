"""What a description says of time: budgets, weights, and who may schedule."""

from __future__ import annotations

from typing import Any

import pytest

from servers.init.description import (
    FROM_INIT,
    DescriptionError,
    decode,
    parse_budget,
)
from servers.init.planning import (
    plan,
)


def system(**entry: Any) -> dict[str, Any]:
    return {"name": "s", "process": [{"name": "p", "program": "q", **entry}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("20ms/100ms", 20_000 << 32 | 100_000),
        ("1500us / 10ms", 1500 << 32 | 10_000),
        ("10ms/10ms", 10_000 << 32 | 10_000),
    ],
)
def test_budget(text: str, value: int) -> None:
    resolved, _ = plan(decode(system(budget=text)))
    assert resolved.processes[0].budget == value


@pytest.mark.parametrize("text", ["20", "20ms", "20/100", "200ms/100ms", "1us/1ms", "1s/60s", "x"])
def test_bad_budgets_are_named(text: str) -> None:
    with pytest.raises(DescriptionError, match=r'\[\[process\]\] "p" budget: '):
        plan(decode(system(budget=text)))
    with pytest.raises(DescriptionError, match="here: "):
        parse_budget(text, "here")


def test_weights_are_of_virtual_machines() -> None:
    table = {"name": "s", "vm": [{"name": "v", "kernel": "k", "weight": 0}]}
    with pytest.raises(DescriptionError, match=r'\[\[vm\]\] "v" weight: 1 to 65535'):
        plan(decode(table))


def test_init_offers_scheduling_and_nothing_else() -> None:
    resolved, _ = plan(decode(system(holds=["init.scheduling"])))
    (hold,) = resolved.processes[0].holds
    assert (hold.name, hold.process, hold.offer) == ("scheduling", FROM_INIT, 1)
    for text in ("init.operator", "init", "init.x"):
        with pytest.raises(DescriptionError, match="init offers scheduling"):
            plan(decode(system(holds=[text])))
