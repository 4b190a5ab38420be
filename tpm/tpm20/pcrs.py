"""Platform configuration registers (part 1, 17), with the attributes of the PC Client profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tpm.tpm20.constants import PCR_COUNT, PCR_SELECT_SIZE
from tpm.tpm20.crypto import HASH_FUNCTIONS, digest
from tpm.tpm20.structures import DIGEST_SIZE, PcrSelection

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


class Attributes(NamedTuple):
    """Localities are bit masks (TPMA_LOCALITY)."""

    saved: bool
    """Shutdown(STATE) and Startup(STATE) keep it."""
    reset: int
    """The localities that may reset it."""
    extend: int
    """The localities that may extend it."""
    counted: bool = True
    """A change to it increments the PCR update counter."""


_STATIC = Attributes(saved=True, reset=0x00, extend=0x1F)

ATTRIBUTES: tuple[Attributes, ...] = (
    *[_STATIC] * 16,
    Attributes(saved=False, reset=0x0F, extend=0x1F, counted=False),  # 16: debugging
    Attributes(saved=False, reset=0x10, extend=0x1C),  # 17 to 22: dynamic root of trust
    Attributes(saved=False, reset=0x10, extend=0x1C),
    Attributes(saved=False, reset=0x10, extend=0x0C),
    Attributes(saved=False, reset=0x14, extend=0x0E),
    Attributes(saved=False, reset=0x14, extend=0x04, counted=False),
    Attributes(saved=False, reset=0x14, extend=0x04, counted=False),
    Attributes(saved=False, reset=0x0F, extend=0x1F, counted=False),  # 23: applications
)

STATIC_COUNT = sum(one.saved for one in ATTRIBUTES)
_DRTM = 0x10


def _selected(select: bytes, pcr: int) -> bool:
    return bool(select[pcr >> 3] >> (pcr & 7) & 1)


def selected(select: bytes) -> list[int]:
    """The PCRs of a TPMS_PCR_SELECT."""
    bits = int.from_bytes(select, "little")
    return [pcr for pcr in range(PCR_COUNT) if bits >> pcr & 1]


def is_allocated(tpm: Tpm, bank: int, pcr: int) -> bool:
    """The PCR exists in the bank."""
    return bank in tpm.pcrs and tpm.pcrs[bank][pcr] != b""


def implemented(tpm: Tpm, selection: list[PcrSelection]) -> list[PcrSelection]:
    """The selection without the PCRs that no bank has."""
    return [
        PcrSelection(
            bank, select_octets(pcr for pcr in selected(bits) if is_allocated(tpm, bank, pcr))
        )
        for bank, bits in selection
    ]


def select_octets(pcrs: object) -> bytes:
    """The TPMS_PCR_SELECT of some PCRs."""
    bits = sum(1 << pcr for pcr in pcrs)  # type: ignore[attr-defined]
    return int(bits).to_bytes(PCR_SELECT_SIZE, "little")


def extend(tpm: Tpm, pcr: int, bank: int, value: bytes) -> None:
    """Extend one PCR in one bank, if it is there, and count the change."""
    values = tpm.pcrs.get(bank)
    if values is not None and values[pcr]:
        values[pcr] = HASH_FUNCTIONS[bank](values[pcr] + value).digest()
        changed(tpm, pcr)


def changed(tpm: Tpm, pcr: int) -> None:
    """Count a change of a PCR, which is also one of what Shutdown(STATE) keeps."""
    if ATTRIBUTES[pcr].counted:
        tpm.reset.pcr_counter += 1
    tpm.void_shutdown()


def reset(tpm: Tpm, pcr: int) -> None:
    """Set a PCR to zeros in every bank."""
    for values in tpm.pcrs.values():
        values[pcr] = bytes(len(values[pcr]))


def reset_dynamic(tpm: Tpm) -> None:
    """Set the PCRs that locality 4 resets to zeros."""
    for pcr, attributes in enumerate(ATTRIBUTES):
        if attributes.reset & _DRTM:
            reset(tpm, pcr)


def values_digest(tpm: Tpm, hash_alg: int, selection: list[PcrSelection]) -> bytes:
    """The digest of the selected PCRs that exist, bank after bank (part 1, 17.5)."""
    octets = b"".join(
        [
            b"".join([tpm.pcrs[bank][pcr] for pcr in selected(bits)])
            for bank, bits in selection
            if bank in tpm.pcrs
        ]
    )
    return digest(hash_alg, octets)


def initialize(tpm: Tpm, first: dict[int, bytes] | None, kept: dict[int, bytes]) -> None:
    """The PCRs at a startup; `kept` are the saved values of the static ones, by bank.

    `first` is PCR 0 of each bank where an H-CRTM has measured; otherwise the locality of
    TPM2_Startup is its last octet.
    """
    tpm.pcrs = {}
    for bank, select in tpm.pcr_allocation.items():
        if not any(select):
            continue
        size = DIGEST_SIZE[bank]
        values = [
            (b"\xff" if attributes.reset & _DRTM else b"\0") * size
            if _selected(select, pcr)
            else b""
            for pcr, attributes in enumerate(ATTRIBUTES)
        ]
        saved = kept.get(bank, b"")
        if len(saved) == size * STATIC_COUNT:
            for pcr in range(STATIC_COUNT):
                if values[pcr]:
                    values[pcr] = saved[pcr * size : (pcr + 1) * size]
        elif first is not None and values[0]:
            values[0] = first[bank]
        elif values[0]:
            values[0] = bytes(size - 1) + bytes((tpm.startup_locality,))
        tpm.pcrs[bank] = values


def save_static(tpm: Tpm) -> dict[int, bytes]:
    """What `initialize` takes as `kept`."""
    return {
        bank: b"".join(value or bytes(DIGEST_SIZE[bank]) for value in values[:STATIC_COUNT])
        for bank, values in tpm.pcrs.items()
    }
