"""Verification of signatures (part 1, 11.4; annexes B and C): what VerifySignature and PolicySigned
have in common."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from tpm.tpm20 import crypto
from tpm.tpm20.constants import ALG, RC, TpmError
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import Signature


def hash_alg(signature: Signature) -> int:
    """The hash algorithm that a signature names; it is not a NULL signature."""
    given = signature.signature
    return int(given[0] if signature.sig_alg == ALG.HMAC else given.hash)


def verify(key: Object, digest: bytes, signature: Signature) -> None:
    """Check that `key` signed `digest`.

    Raises `TPM_RC_SIGNATURE` if it did not, `TPM_RC_SCHEME` for a scheme that is not one of the
    key's type, `TPM_RC_HANDLE` for a symmetric key of which only the public area is loaded. Whether
    the key is one for signing is the caller's to check.
    """
    function = _VERIFIERS.get((key.public.type, signature.sig_alg))
    if function is None:
        raise TpmError(RC.SCHEME)
    try:
        function(key, digest, signature)
    except (InvalidSignature, ValueError):
        raise TpmError(RC.SIGNATURE) from None


def _rsassa(key: Object, digest: bytes, signature: Signature) -> None:
    _rsa(key, digest, signature, padding.PKCS1v15())


def _rsapss(key: Object, digest: bytes, signature: Signature) -> None:
    mask = padding.MGF1(crypto.HASH_CLASSES[signature.signature.hash]())
    _rsa(key, digest, signature, padding.PSS(mask, padding.PSS.AUTO))


def _rsa(
    key: Object, digest: bytes, signature: Signature, form: padding.PKCS1v15 | padding.PSS
) -> None:
    function = crypto.HASH_CLASSES[signature.signature.hash]()
    public = crypto.rsa_public(key.public)
    public.verify(signature.signature.sig, digest, form, utils.Prehashed(function))


def _ecdsa(key: Object, digest: bytes, signature: Signature) -> None:
    given = signature.signature
    pair = (int.from_bytes(given.r, "big"), int.from_bytes(given.s, "big"))
    public = crypto.ecc_public(key.public.parameters.curve, key.public.unique)
    form = ec.ECDSA(utils.Prehashed(crypto.HASH_CLASSES[given.hash]()))
    public.verify(utils.encode_dss_signature(*pair), digest, form)


def _hmac(key: Object, digest: bytes, signature: Signature) -> None:
    if key.sensitive is None:
        raise TpmError(RC.HANDLE)
    alg, given = signature.signature
    scheme = key.public.parameters
    if scheme.scheme == ALG.HMAC and scheme.hash_alg != alg:
        raise TpmError(RC.SIGNATURE)
    expected = crypto.hmac(alg, key.sensitive.sensitive, digest)
    if not crypto.equal(expected, given):
        raise TpmError(RC.SIGNATURE)


_VERIFIERS: dict[tuple[int, int], Callable[[Object, bytes, Signature], None]] = {
    (ALG.RSA, ALG.RSASSA): _rsassa,
    (ALG.RSA, ALG.RSAPSS): _rsapss,
    (ALG.ECC, ALG.ECDSA): _ecdsa,
    (ALG.KEYEDHASH, ALG.HMAC): _hmac,
}
