"""The differences between the two TPMs that are ours by decision.

Each row says which difference it is about, the paragraph that decides, and why. What no row
explains is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.tpm.differential.pair import Difference
from tests.tpm.differential.steps import NAMES


class Answers(NamedTuple):
    """A difference as the rows see it."""

    command: str
    """The command's name, or nothing for a code that there is none for."""
    what: str
    ours: int
    """The codes, if `what` is `code`."""
    theirs: int
    octets: bytes
    """What was sent."""


class Row(NamedTuple):
    """One decision."""

    applies: Callable[[Answers], bool]
    paragraph: str
    reason: str


def _code(ours: int, theirs: int, *commands: str) -> Callable[[Answers], bool]:
    """These two codes, from these commands or from any."""

    def applies(seen: Answers) -> bool:
        codes = (seen.what, seen.ours, seen.theirs)
        return codes == ("code", ours, theirs) and (not commands or seen.command in commands)

    return applies


DECIDED: dict[str, Row] = {
    "bad tag": Row(
        lambda seen: seen.what == "code" and seen.ours == 0x1E,
        "part 3, 5.2.1",
        "a tag that is none is TPM_RC_BAD_TAG, so that a TPM 1.2's software understands",
    ),
}


def answers(difference: Difference) -> Answers:
    """The difference as the rows see it."""
    what, ours, theirs = difference.mismatch
    octets = difference.command
    name = NAMES.get(int.from_bytes(octets[6:10], "big"), "")
    codes = (ours, theirs) if what == "code" else (0, 0)
    return Answers(name, what, codes[0], codes[1], octets)


def explanation(difference: Difference) -> str | None:
    """The name of the row that explains a difference."""
    seen = answers(difference)
    return next((name for name, row in DECIDED.items() if row.applies(seen)), None)
