"""The differences between the two TPMs that are ours by decision.

Each row says which difference it is about, the paragraph that decides, and why. What no row
explains is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.tpm.differential.pair import Difference
from tests.tpm.differential.steps import NAMES, ROWS
from tpm.tpm20.constants import RC, H, P


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


def _base(code: int) -> int:
    """A format-one code without what it is about."""
    return code & 0xBF if code & 0x80 else code


def _handle_area(seen: Answers) -> list[int]:
    count = len(ROWS[seen.command].handles) if seen.command else 0
    octets = seen.octets[10 : 10 + 4 * count]
    return [int.from_bytes(octets[at : at + 4], "big") for at in range(0, len(octets) - 3, 4)]


DECIDED: dict[str, Row] = {
    "bad tag": Row(
        lambda seen: seen.what == "code" and seen.ours == RC.BAD_TAG,
        "part 3, 5.2.1",
        "a tag that is none is TPM_RC_BAD_TAG, which software for TPM 1.2 understands too",
    ),
    "persistent objects take no slot": Row(
        lambda seen: (
            (seen.theirs == RC.OBJECT_MEMORY or seen.what == "handle")
            and any(handle >> 24 == 0x81 for handle in _handle_area(seen))
        ),
        "part 1, 30.4",
        "theirs needs a free slot for the time in which a persistent object is used",
    ),
    "curves": Row(
        lambda seen: seen.what == "code" and _base(seen.ours) == RC.CURVE,
        "part 2, 6.4",
        "which curves there are is the TPM's affair: theirs has P-192, P-224, BN P-256 and SM2",
    ),
    "key exchanges": Row(
        lambda seen: seen.command == "ZGen_2Phase" and _base(seen.ours) == RC.SCHEME,
        "part 2, 11.2.2.1",
        "which exchanges there are is the TPM's affair: theirs has ECMQV and SM2",
    ),
    "salt": Row(
        _code(0, RC.VALUE + P(2), "StartAuthSession"),
        "part 1, B.10.2",
        "a salt is encrypted with OAEP, whatever the key's scheme: theirs refuses an RSAES key",
    ),
    "not a sequence": Row(
        _code(RC.MODE + H(1), RC.MODE + P(1), "SequenceUpdate"),
        "part 3, 17.5.2",
        "the handle is wrong, theirs blames the parameter",
    ),
    "orderly memory": Row(
        _code(0, RC.NV_SPACE, "NV_DefineSpace"),
        "part 1, 37.2.4",
        "how much room there is is the TPM's affair: theirs keeps orderly Indices in 512 octets",
    ),
    "sequence for object": Row(
        lambda seen: seen.ours == RC.SEQUENCE and seen.theirs not in (0, RC.SEQUENCE),
        "part 2, 6.6.3",
        "theirs looks for the public area in a sequence, and complains about what it finds",
    ),
    "handles of CertifyX509": Row(
        lambda seen: (
            seen.command == "CertifyX509"
            and {H(1), H(2)} == {seen.ours & 0xF40, seen.theirs & 0xF40}
            and _base(seen.ours) == _base(seen.theirs)
        ),
        "part 3, 18.8.2",
        "the object's handle is the first, the key's the second; theirs says the contrary",
    ),
    "failure": Row(
        lambda seen: seen.theirs == RC.FAILURE,
        "part 3, 5.3",
        "theirs ran into a defect of its own and answers nothing any more",
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
