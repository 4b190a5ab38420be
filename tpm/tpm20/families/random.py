"""Random numbers (part 3, 16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20.constants import MAX_DIGEST_SIZE

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


def get_random(tpm: Tpm, bytes_requested: int) -> tuple[bytes]:
    """Part 3, 16.1: as many as were asked for, but no more than the largest digest has."""
    return (tpm.random(min(bytes_requested, MAX_DIGEST_SIZE)),)


def stir_random(tpm: Tpm, in_data: bytes) -> None:
    """Part 3, 16.2: the source of randomness is the host's and takes no input."""
