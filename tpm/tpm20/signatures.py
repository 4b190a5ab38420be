"""Making and verifying signatures (part 1, 11.4; annexes B and C), for all commands that do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from tpm.tpm20 import commits, crypto, schnorr
from tpm.tpm20.constants import ALG, RC, RH, TPMA_OBJECT, H, P, TpmError
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import NO_SCHEME, Scheme, Signature, SignatureEcc, SignatureRsa

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

NO_SIGNATURE = Signature(ALG.NULL, None)


def hash_alg(signature: Signature) -> int:
    """The hash algorithm that a signature names; it is not a NULL signature."""
    given = signature.signature
    return int(given[0] if signature.sig_alg == ALG.HMAC else given.hash)


def is_anonymous(scheme: int) -> bool:
    """Signatures by the scheme do not tell which key made them."""
    return scheme == ALG.ECDAA


# Which key, and how (part 3, 18.1 and 20.2).


def signing_key(tpm: Tpm, handle: int, number: int) -> Object | None:
    """The key of the `number`th handle, None for TPM_RH_NULL; `TPM_RC_KEY` if it cannot sign."""
    if handle == RH.NULL:
        return None
    held = tpm.slot(handle)
    if (
        not isinstance(held, Object)
        or not held.has(TPMA_OBJECT.SIGN)
        or held.public.type == ALG.SYMCIPHER
    ):
        raise TpmError(RC.KEY + H(number))
    return held


def chosen_scheme(key: Object | None, given: Scheme, number: int) -> Scheme:
    """The key's scheme, or the given one where the key leaves it open.

    Raises `TPM_RC_SCHEME` for the parameter of that number if there is none, if there are two of
    them, or if the key's type cannot sign like that.
    """
    if key is None:
        return NO_SCHEME
    own: Any = key.public.parameters
    if key.public.type != ALG.KEYEDHASH:
        own = own.scheme
    if own.scheme == ALG.NULL:
        if (key.public.type, given.scheme) in _SIGNERS:
            return given
    elif given.scheme == ALG.NULL:
        if not is_anonymous(own.scheme):
            return Scheme(own.scheme, own.hash_alg, 0)
    elif (own.scheme, own.hash_alg) == (given.scheme, given.hash_alg):
        return given
    raise TpmError(RC.SCHEME + P(number))


# Signing.


def sign(tpm: Tpm, key: Object | None, scheme: Scheme, digest: bytes) -> Signature:
    """Sign a digest by a scheme of `chosen_scheme`.

    Raises `TPM_RC_VALUE` for an ECDAA counter that was not committed to, or a digest that the key
    is too short for.
    """
    if key is None:
        return NO_SIGNATURE
    function = _SIGNERS[key.public.type, scheme.scheme]
    try:
        return Signature(scheme.scheme, function(tpm, key, scheme, digest))
    except ValueError:
        raise TpmError(RC.VALUE) from None


def _rsa_sign(
    key: Object, scheme: Scheme, digest: bytes, form: padding.PKCS1v15 | padding.PSS
) -> SignatureRsa:
    function = crypto.HASH_CLASSES[scheme.hash_alg]()
    made = key.private_key().sign(digest, form, utils.Prehashed(function))
    return SignatureRsa(scheme.hash_alg, made)


def _rsassa_sign(tpm: Tpm, key: Object, scheme: Scheme, digest: bytes) -> SignatureRsa:
    return _rsa_sign(key, scheme, digest, padding.PKCS1v15())


def _rsapss_sign(tpm: Tpm, key: Object, scheme: Scheme, digest: bytes) -> SignatureRsa:
    """The salt is as long as the digest, as FIPS 186-4 and TLS 1.3 ask (part 1, B.7), or shorter
    where the key has no room for that."""
    function = crypto.HASH_CLASSES[scheme.hash_alg]()
    room = len(key.public.unique) - len(digest) - 2
    form = padding.PSS(padding.MGF1(function), min(len(digest), room))
    return _rsa_sign(key, scheme, digest, form)


def _ecdsa_sign(tpm: Tpm, key: Object, scheme: Scheme, digest: bytes) -> SignatureEcc:
    form = ec.ECDSA(utils.Prehashed(crypto.HASH_CLASSES[scheme.hash_alg]()))
    pair = utils.decode_dss_signature(key.private_key().sign(digest, form))
    return _pair(key, scheme, *pair)


def _pair(key: Object, scheme: Scheme, r: int, s: int) -> SignatureEcc:
    size = crypto.CURVE_BYTES[key.public.parameters.curve]
    return SignatureEcc(scheme.hash_alg, r.to_bytes(size, "big"), s.to_bytes(size, "big"))


def _schnorr_sign(tpm: Tpm, key: Object, scheme: Scheme, digest: bytes) -> SignatureEcc:
    assert key.sensitive is not None
    curve = key.public.parameters.curve
    secret = int.from_bytes(key.sensitive.sensitive, "big")
    return _pair(key, scheme, *schnorr.sign(curve, secret, scheme.hash_alg, digest, tpm.random))


def _ecdaa_sign(tpm: Tpm, key: Object, scheme: Scheme, digest: bytes) -> SignatureEcc:
    assert key.sensitive is not None
    curve = key.public.parameters.curve
    committed = commits.waiting_scalar(tpm, scheme.commit_count, curve, key.name)
    if committed is None:
        raise ValueError("no such commitment")
    secret = int.from_bytes(key.sensitive.sensitive, "big")
    pair = schnorr.ecdaa_sign(curve, secret, committed, scheme.hash_alg, digest, tpm.random)
    commits.end(tpm, scheme.commit_count)
    return _pair(key, scheme, *pair)


def _hmac_sign(tpm: Tpm, key: Object, scheme: Scheme, digest: bytes) -> tuple[int, bytes]:
    assert key.sensitive is not None
    return scheme.hash_alg, crypto.hmac(scheme.hash_alg, key.sensitive.sensitive, digest)


_SIGNERS: dict[tuple[int, int], Callable[[Tpm, Object, Scheme, bytes], Any]] = {
    (ALG.RSA, ALG.RSASSA): _rsassa_sign,
    (ALG.RSA, ALG.RSAPSS): _rsapss_sign,
    (ALG.ECC, ALG.ECDSA): _ecdsa_sign,
    (ALG.ECC, ALG.ECSCHNORR): _schnorr_sign,
    (ALG.ECC, ALG.ECDAA): _ecdaa_sign,
    (ALG.KEYEDHASH, ALG.HMAC): _hmac_sign,
}


# Verification.


def verify(key: Object, digest: bytes, signature: Signature) -> None:
    """Check that `key` signed `digest`.

    Raises `TPM_RC_SIGNATURE` if it did not, `TPM_RC_SCHEME` for a scheme that is not one of the
    key's type, `TPM_RC_HANDLE` for a symmetric key of which only the public area is loaded. Whether
    the key is one for signing is the caller's to check.
    """
    if key.public.type == ALG.KEYEDHASH and key.sensitive is None:
        raise TpmError(RC.HANDLE)
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


def _numbers(signature: Signature) -> tuple[int, int]:
    given = signature.signature
    return int.from_bytes(given.r, "big"), int.from_bytes(given.s, "big")


def _ecdsa(key: Object, digest: bytes, signature: Signature) -> None:
    public = crypto.ecc_public(key.public.parameters.curve, key.public.unique)
    form = ec.ECDSA(utils.Prehashed(crypto.HASH_CLASSES[signature.signature.hash]()))
    public.verify(utils.encode_dss_signature(*_numbers(signature)), digest, form)


def _schnorr(key: Object, digest: bytes, signature: Signature) -> None:
    curve = key.public.parameters.curve
    alg = signature.signature.hash
    if not schnorr.verify(curve, key.public.unique, alg, digest, *_numbers(signature)):
        raise InvalidSignature


def _hmac(key: Object, digest: bytes, signature: Signature) -> None:
    assert key.sensitive is not None
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
    (ALG.ECC, ALG.ECSCHNORR): _schnorr,
    (ALG.KEYEDHASH, ALG.HMAC): _hmac,
}
