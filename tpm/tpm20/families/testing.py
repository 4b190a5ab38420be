"""Self-test (part 3, 10).

Known answers are computed once, when they are first asked for; the algorithms are the libraries'
and are there from the start, so that there is never anything left to test.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache
from typing import TYPE_CHECKING

from tpm.tpm20 import crypto
from tpm.tpm20.constants import ALG, RC, P, TpmError
from tpm.tpm20.properties import ALGORITHMS

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_IMPLEMENTED = frozenset(alg for alg, _ in ALGORITHMS)
_ABC = {
    ALG.SHA1: "a9993e364706816aba3e25717850c26c9cd0d89d",
    ALG.SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
}
_AES_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
_AES_IV = bytes(range(16))
_AES_PLAIN = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
_AES_CFB = bytes.fromhex("3b3fd92eb72dad20333449f8e83cfb4a")


@cache
def _passed() -> bool:
    """Known answers of FIPS 180-4, SP 800-38A and RFC 4231."""
    digests = all(crypto.digest(alg, b"abc").hex() == answer for alg, answer in _ABC.items())
    cipher = crypto.cfb_encrypt(_AES_KEY, _AES_IV, _AES_PLAIN) == _AES_CFB
    mac = hmac.new(b"Jefe", b"what do ya want for nothing?", hashlib.sha256).hexdigest()
    return digests and cipher and mac.startswith("5bdcc146bf60754e6a042426089575c7")


def self_test(tpm: Tpm, full_test: int) -> None:
    """Part 3, 10.2."""
    if not _passed():
        raise TpmError(RC.FAILURE)


def incremental_self_test(tpm: Tpm, to_test: list[int]) -> tuple[list[int]]:
    """Part 3, 10.3: nothing is left to do; `TPM_RC_VALUE` for an algorithm that is not there."""
    if not _IMPLEMENTED.issuperset(to_test):
        raise TpmError(RC.VALUE + P(1))
    self_test(tpm, 0)
    return ([],)


def get_test_result(tpm: Tpm) -> tuple[bytes, int]:
    """Part 3, 10.4."""
    return b"", RC.SUCCESS if _passed() else RC.FAILURE
