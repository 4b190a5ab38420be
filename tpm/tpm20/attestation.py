"""What all attestations have in common (part 1, 31; part 3, 18.1): structure and signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tpm.tpm20 import crypto, entities, signatures
from tpm.tpm20.codec import encode
from tpm.tpm20.constants import CONTEXT_HASH, GENERATED_VALUE, RH
from tpm.tpm20.objects import Object
from tpm.tpm20.properties import FIRMWARE_VERSION, time_info
from tpm.tpm20.structures import Attest, ClockInfo, Scheme, Signature

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

Attested = tuple[bytes, Signature]
"""A TPMS_ATTEST and its signature."""

FIRMWARE = FIRMWARE_VERSION[0] << 32 | FIRMWARE_VERSION[1]

_WORD = 0xFFFFFFFF
_OPEN_HIERARCHIES = (RH.PLATFORM, RH.ENDORSEMENT)
"""Keys of the others learn the counters and the firmware's version in a disguise only."""


class Signer(NamedTuple):
    """The key that signs an attestation, None for TPM_RH_NULL, and its scheme."""

    handle: int
    key: Object | None
    scheme: Scheme

    @classmethod
    def of(cls, tpm: Tpm, handle: int, number: int, given: Scheme, parameter: int) -> Signer:
        """The signer of the `number`th handle; `TPM_RC_KEY`, or `TPM_RC_SCHEME` for `given`."""
        key = signatures.signing_key(tpm, handle, number)
        return cls(handle, key, signatures.chosen_scheme(key, given, parameter))

    @property
    def is_anonymous(self) -> bool:
        """Nothing in the attestation tells which key signed it."""
        return signatures.is_anonymous(self.scheme.scheme)

    @property
    def _qualified_name(self) -> bytes:
        if self.key is None:
            return RH.NULL.to_bytes(4, "big")
        return b"" if self.is_anonymous else self.key.qualified_name

    def attest(self, tpm: Tpm, kind: int, data: bytes, attested: Any) -> Attested:
        """A signed TPMS_ATTEST of that TPM_ST with the caller's qualifying data."""
        clock, firmware = self._clock_and_firmware(tpm)
        extra = b"" if self.is_anonymous else data
        attest = Attest(
            GENERATED_VALUE, kind, self._qualified_name, extra, clock, firmware, attested
        )
        octets = encode(Attest, attest)
        digest = crypto.digest(self.scheme.hash_alg, octets)
        if self.is_anonymous and data:
            digest = crypto.digest(self.scheme.hash_alg, data + digest)
        return octets, signatures.sign(tpm, self.key, self.scheme, digest)

    def _clock_and_firmware(self, tpm: Tpm) -> tuple[ClockInfo, int]:
        """What could tell two keys of the same TPM as such is disguised for a key of the owner's
        (part 1, 36.7): by the same numbers whenever that key signs."""
        clock = time_info(tpm).clock_info
        if self.key is not None and entities.hierarchy(tpm, self.handle) in _OPEN_HIERARCHIES:
            return clock, FIRMWARE
        name = self._qualified_name
        mask = crypto.kdfa(CONTEXT_HASH, tpm.state.owner_proof, b"OBFUSCATE", name, b"", 128)
        firmware = FIRMWARE + int.from_bytes(mask[:8], "big") & 0xFFFFFFFFFFFFFFFF
        resets = clock.reset_count + int.from_bytes(mask[8:12], "big") & _WORD
        restarts = clock.restart_count + int.from_bytes(mask[12:], "big") & _WORD
        return clock._replace(reset_count=resets, restart_count=restarts), firmware
