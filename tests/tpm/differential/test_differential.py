"""This TPM and swtpm answer alike, but for what is decided."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.tpm.differential import campaign
from tests.tpm.differential.pair import AVAILABLE, MISSING, Ours, Pair, Theirs

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=MISSING)

SEQUENCES = int(os.environ.get("CLOISTER_TPM_SEQUENCES", "60"))
"""How many: more take longer, and `python -m tests.tpm.differential` shows what they find."""


@pytest.fixture(name="pair")
def _pair() -> Iterator[Pair]:
    with Theirs() as theirs:
        yield Pair(Ours().machine, theirs.machine)


@pytest.mark.parametrize(("first", "with_edits"), [(1000, False), (3000, True)])
def test_they_answer_alike(pair: Pair, first: int, with_edits: bool) -> None:
    tally = campaign.Tally()
    count = SEQUENCES if not with_edits else SEQUENCES // 2
    for seed in range(first, first + count):
        finding = campaign.run(pair, seed, tally, with_edits)
        assert finding is None, str(campaign.reduced(pair, finding))
    assert tally.steps > 50 * count
    assert len(tally.succeeded) > 60  # of 110 commands
    assert tally.rows  # there are differences, and they were looked at
