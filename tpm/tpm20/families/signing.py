"""Signing and signature verification (part 3, 20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import signatures, tickets
from tpm.tpm20.constants import ALG, RC, RH, ST, TPMA_OBJECT, H, P, TpmError, about
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import DIGEST_SIZE, Scheme, Signature, Ticket

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm


def verify_signature(tpm: Tpm, key: int, digest: bytes, signature: Signature) -> tuple[Ticket]:
    """Part 3, 20.1."""
    held = tpm.slot(key)
    if not isinstance(held, Object) or not held.has(TPMA_OBJECT.SIGN):
        raise TpmError(RC.ATTRIBUTES + H(1))
    try:
        signatures.verify(held, digest, signature)
    except TpmError as error:
        raise TpmError(about(error.code, P(2))) from None
    if held.hierarchy == RH.NULL or held.public.name_alg == ALG.NULL:
        return (tickets.null(ST.VERIFIED),)
    return (tickets.make(tpm, ST.VERIFIED, held.hierarchy, digest + held.name),)


def sign(
    tpm: Tpm, key: int, digest: bytes, in_scheme: Scheme, validation: Ticket
) -> tuple[Signature]:
    """Part 3, 20.2: a restricted key signs only what this TPM vouches for by a ticket."""
    held = signatures.signing_key(tpm, key, 1)
    assert held is not None
    if held.has(TPMA_OBJECT.X509_SIGN):
        raise TpmError(RC.ATTRIBUTES + H(1))
    scheme = signatures.chosen_scheme(held, in_scheme, 2)
    needs_ticket = validation.digest or held.has(TPMA_OBJECT.RESTRICTED)
    if needs_ticket and not tickets.is_hashcheck(tpm, validation, scheme.hash_alg, digest):
        raise TpmError(RC.TICKET + P(3))
    if len(digest) != DIGEST_SIZE[scheme.hash_alg]:
        raise TpmError(RC.SIZE + P(1))
    return (signatures.sign(tpm, held, scheme, digest),)
