"""The differences between the two TPMs that are ours by decision.

Each row says which difference it is about, the paragraph that decides, and why. What no row
explains is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.tpm.differential.pair import Difference
from tests.tpm.differential.steps import NAMES, ROWS
from tpm.tpm20.constants import CAP, EO, PT, RC, RH, TPMA_STARTUP_CLEAR, H, P


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
    values: tuple[Any, Any]
    """What is not alike, whatever it is."""


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


def _no_more_orderly(seen: Answers) -> bool:
    ours, theirs = seen.values
    if isinstance(ours, dict):
        changed = theirs.get(_STARTUP_CLEAR, 0) & ~TPMA_STARTUP_CLEAR.ORDERLY
        return seen.what == "capability_data" and {**theirs, _STARTUP_CLEAR: changed} == ours
    return _code(RC.VALUE + P(1), 0, "Startup")(seen)


_STARTUP_CLEAR = hex(PT.STARTUP_CLEAR)
_SIGNED = tuple(
    eo.to_bytes(2, "big") for eo in (EO.SIGNED_GT, EO.SIGNED_LT, EO.SIGNED_GE, EO.SIGNED_LE)
)
_REFERENCES = range(RC.REFERENCE_H0, RC.REFERENCE_H0 + 7)

DECIDED: dict[str, Row] = {
    "bad tag": Row(
        lambda seen: seen.what == "code" and seen.ours == RC.BAD_TAG,
        "part 3, 5.2.1",
        "a tag that is none is TPM_RC_BAD_TAG, which software for TPM 1.2 understands too",
    ),
    "persistent objects take no slot": Row(
        lambda seen: (
            (seen.theirs == RC.OBJECT_MEMORY or seen.what == "handle" or seen.ours in _REFERENCES)
            and any(handle >> 24 == 0x81 for handle in _handle_area(seen))
        ),
        "part 1, 30.4",
        "theirs needs a free slot for the time in which a persistent object is used; "
        "it then has a transient handle too, and what the command makes has the next one",
    ),
    "curves": Row(
        lambda seen: (
            (seen.what == "code" and _base(seen.ours) == RC.CURVE)
            or (seen.what == "problem" and seen.command == "ECC_Parameters")
        ),
        "part 2, 6.4",
        "which curves there are is the TPM's affair: theirs has P-192, P-224, BN P-256 and SM2",
    ),
    "key exchanges": Row(
        lambda seen: seen.command == "ZGen_2Phase" and _base(seen.ours) == RC.SCHEME,
        "part 2, 11.2.2.1",
        "which exchanges there are is the TPM's affair: theirs has ECMQV and SM2",
    ),
    "salt": Row(
        lambda seen: seen.command == "StartAuthSession" and seen.theirs == RC.VALUE + P(2),
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
        lambda seen: seen.ours == RC.SEQUENCE,
        "part 2, 6.6.3",
        "theirs looks for the public area in a sequence, and complains of what it finds, or not",
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
    "no key for a certificate": Row(
        lambda seen: seen.command == "CertifyX509" and _handle_area(seen)[1:] == [RH.NULL],
        "part 3, 18.8.1",
        "a certificate that nobody signs is none; theirs goes on and dies",
    ),
    "tags of tickets": Row(
        lambda seen: _base(seen.ours) == RC.TAG and _base(seen.theirs) == RC.VALUE,
        "part 2, 10.7.3 to 10.7.6",
        "the tag of another ticket or of none is TPM_RC_TAG; theirs has another for the latter",
    ),
    "counters of before": Row(
        _no_more_orderly,
        "part 3, 11.4",
        "a Shutdown does not hold after what would go back with it: a counter of ephemeral keys "
        "(or else a key is used twice), an audit digest (a command is hidden), the counter of PCR "
        "updates; theirs resumes",
    ),
    "signed comparison": Row(
        lambda seen: (
            seen.command in ("PolicyNV", "PolicyCounterTimer")
            and {seen.ours, seen.theirs} == {0, RC.POLICY}
            and seen.octets[-2:] in _SIGNED
        ),
        "part 2, 6.8",
        "theirs takes the greater of two negative numbers for the less, and the sign of no octets "
        "from what is in memory",
    ),
    "anonymous authorization": Row(
        _code(RC.HANDLE + P(5), RC.SCHEME + P(5), "PolicySigned"),
        "part 3, 23.3.2",
        "both are wrong: a key of which only the public area is there, and an ECDAA signature",
    ),
    "partial certificates": Row(
        lambda seen: (
            seen.command == "CertifyX509"
            and {seen.ours, seen.theirs} == {RC.SIZE + P(3), RC.VALUE + P(3)}
        ),
        "part 3, 18.8.2",
        "what is no SEQUENCE at all: the two codes are not told apart",
    ),
    "clock without power": Row(
        _code(RC.VALUE + P(1), 0, "ClockSet"),
        "part 1, 36.3",
        "the clock does not go back behind what ClockSet was told; theirs forgets it with power",
    ),
    "limit of a PIN": Row(
        lambda seen: (
            seen.what == "data"
            and seen.command == "NV_Read"
            and seen.values[0] == seen.values[1].replace("ff", "00")
        ),
        "part 1, 37.2.8",
        "what was not written of a count and its limit is zero: nobody gets in; theirs has ones",
    ),
    "allocation and Clear": Row(
        lambda seen: (
            seen.what == "capability_data"
            and getattr(seen.values[0], "capability", None) == CAP.PCRS
        ),
        "part 3, 24.6.1",
        "Clear does not touch what PCR_Allocate has prepared; theirs forgets it",
    ),
    "vendor's authorizations": Row(
        lambda seen: (
            seen.what == "code"
            and any(0x40000010 <= one <= 0x4000010F for one in _handle_area(seen))
        ),
        "part 2, 9.13",
        "TPM_RH_AUTH_00 to FF are a vendor's, if there are any: theirs passes them to the next "
        "check",
    ),
    "limits of buffers": Row(
        lambda seen: (
            {_base(seen.ours), _base(seen.theirs)} == {RC.SIZE, RC.INSUFFICIENT}
            and seen.ours & 0xF40 == seen.theirs & 0xF40
        ),
        "part 2, 10.4 and 12.2.6",
        "a buffer takes what the largest of its kind needs: theirs has longer coordinates, and "
        "shorter templates",
    ),
    "primes of other keys": Row(
        _code(RC.BINDING, 0, "Import"),
        "part 3, 13.3.1",
        "a prime that does not divide the modulus; theirs finds out when the key is loaded",
    ),
    "algorithms to test": Row(
        _code(RC.VALUE + P(1), 0, "IncrementalSelfTest"),
        "part 3, 10.3.1",
        "which algorithms there are is the TPM's affair: theirs has SM2, triple DES and Camellia",
    ),
    "reset at locality 4": Row(
        _code(0, RC.LOCALITY, "PCR_Reset"),
        "part 3, 22.8.1",
        "both say that locality 4 resets PCRs 17 to 22, theirs lets nothing but _TPM_Hash_Start",
    ),
    "symmetric algorithms": Row(
        lambda seen: seen.what == "code" and _base(seen.ours) == RC.SYMMETRIC,
        "part 2, 9.29",
        "which algorithms there are is the TPM's affair: theirs has triple DES and Camellia",
    ),
    "IV after a part of a block": Row(
        lambda seen: seen.command.startswith("EncryptDecrypt") and seen.what == "iv_out",
        "part 3, 15.2.1",
        "nothing can be chained to it; theirs fills it with the key stream's rest",
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
    return Answers(name, what, codes[0], codes[1], octets, (ours, theirs))


def explanation(difference: Difference) -> str | None:
    """The name of the row that explains a difference."""
    seen = answers(difference)
    return next((name for name, row in DECIDED.items() if row.applies(seen)), None)
