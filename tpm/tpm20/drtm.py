"""The dynamic root of trust: _TPM_Hash_Start, _TPM_Hash_Data, _TPM_Hash_End (part 3, 22.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import pcrs
from tpm.tpm20.crypto import HASH_FUNCTIONS, digest

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

HCRTM_PCR = 0
DRTM_PCR = 17
_HCRTM_LOCALITY = 4


class Measurement:
    """A measurement under way, in every bank at once."""

    def __init__(self) -> None:
        self._hashes = {alg: function() for alg, function in HASH_FUNCTIONS.items()}

    def update(self, octets: bytes) -> None:
        for one in self._hashes.values():
            one.update(octets)

    def digests(self) -> dict[int, bytes]:
        """The digest for each bank's algorithm."""
        return {alg: one.digest() for alg, one in self._hashes.items()}


def finish(tpm: Tpm, measurement: Measurement) -> None:
    """The measurement is complete.

    Before TPM2_Startup it is the H-CRTM's and waits for the PCRs to be initialized; afterwards it
    resets the dynamic PCRs and is extended into PCR 17.
    """
    if not tpm.started:
        tpm.drtm_before_startup = measurement.digests()
        return
    pcrs.reset_dynamic(tpm)
    tpm.reset.restart_count += 1
    for alg, value in measurement.digests().items():
        pcrs.extend(tpm, DRTM_PCR, alg, value)


def hcrtm_value(alg: int, measured: bytes) -> bytes:
    """PCR 0 after an H-CRTM measurement (part 1, 34.2): extended onto the locality, 4."""
    start = bytes(len(measured) - 1) + bytes((_HCRTM_LOCALITY,))
    return digest(alg, start + measured)
