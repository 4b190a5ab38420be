"""Programs that share an address space, in a description."""

from __future__ import annotations

from typing import Any

import pytest

from servers.init.description import (
    DescriptionError,
    Plan,
    decode,
)
from servers.init.planning import plan

MIB = 1 << 20


def planned(*processes: dict[str, Any]) -> Plan:
    table = {"name": "sample", "process": [{"program": "p", **each} for each in processes]}
    return plan(decode(table))[0]


def test_they_have_one_place_label_and_quota() -> None:
    found = planned(
        {"name": "host", "memory": "10MiB", "label": "here", "priority": 90},
        {"name": "part", "memory": "6MiB", "label": "there", "within": "host", "executable": True},
        {"name": "other"},
    )
    host, part, other = found.processes
    assert [each.within for each in found.processes] == [0, 0, 2]
    assert host.memory == 16 * MIB
    assert host.executable and not other.executable
    assert part.label == host.label
    assert part.priority == 90


@pytest.mark.parametrize(
    ("within", "sentence"),
    [
        ("nobody", "there is no [[process]] named 'nobody'"),
        ("part", "'part' is itself within another"),
    ],
)
def test_what_cannot_be_within_is_said(within: str, sentence: str) -> None:
    with pytest.raises(DescriptionError) as error:
        planned({"name": "a"}, {"name": "part", "within": "a"}, {"name": "c", "within": within})
    assert sentence in str(error.value)
