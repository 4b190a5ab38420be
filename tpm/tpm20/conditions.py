"""The comparisons of PolicyNV and PolicyCounterTimer (part 2, 6.8)."""

from __future__ import annotations

from collections.abc import Callable

from tpm.tpm20.constants import EO


def _signed(octets: bytes) -> int:
    return int.from_bytes(octets, "big", signed=True)


def _bits(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


# Octets of one length compare as the unsigned numbers that they are, big end first.
_HOLDS: dict[int, Callable[[bytes, bytes], bool]] = {
    EO.EQ: lambda a, b: a == b,
    EO.NEQ: lambda a, b: a != b,
    EO.SIGNED_GT: lambda a, b: _signed(a) > _signed(b),
    EO.UNSIGNED_GT: lambda a, b: a > b,
    EO.SIGNED_LT: lambda a, b: _signed(a) < _signed(b),
    EO.UNSIGNED_LT: lambda a, b: a < b,
    EO.SIGNED_GE: lambda a, b: _signed(a) >= _signed(b),
    EO.UNSIGNED_GE: lambda a, b: a >= b,
    EO.SIGNED_LE: lambda a, b: _signed(a) <= _signed(b),
    EO.UNSIGNED_LE: lambda a, b: a <= b,
    EO.BITSET: lambda a, b: _bits(a) & _bits(b) == _bits(b),
    EO.BITCLEAR: lambda a, b: not _bits(a) & _bits(b),
}


def holds(operation: int, operand_a: bytes, operand_b: bytes) -> bool:
    """Whether `operand_a` TPM_EO `operand_b`; both are of one length."""
    return _HOLDS[operation](operand_a, operand_b)
