"""What the public area of an object may say (part 1, 27.2; part 2, 8.3 and 12.2; part 3, 12).

Each check raises the code of part 3 without a parameter's number; the command adds whose it is.
"""

from __future__ import annotations

from tpm.tpm20 import crypto
from tpm.tpm20.constants import ALG, RC, TPMA_OBJECT, P, TpmError, about
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import (
    BLOCK_MODES,
    DIGEST_SIZE,
    ECC_EXCHANGES,
    ECC_SIGNATURES,
    NO_SYMMETRIC,
    RSA_CIPHERS,
    RSA_SIGNATURES,
    Public,
    Sensitive,
)

_FIXED_TPM = TPMA_OBJECT.FIXED_TPM
_FIXED_PARENT = TPMA_OBJECT.FIXED_PARENT
_ORIGIN = TPMA_OBJECT.SENSITIVE_DATA_ORIGIN
_RESTRICTED = TPMA_OBJECT.RESTRICTED
_DECRYPT = TPMA_OBJECT.DECRYPT
_SIGN = TPMA_OBJECT.SIGN
_ENCRYPTED_DUPLICATION = TPMA_OBJECT.ENCRYPTED_DUPLICATION

_SIGN_SCHEMES = {ALG.RSA: RSA_SIGNATURES, ALG.ECC: ECC_SIGNATURES}
_DECRYPT_SCHEMES = {ALG.RSA: RSA_CIPHERS, ALG.ECC: ECC_EXCHANGES}
_PARENT = _RESTRICTED | _DECRYPT
_SMALLEST_EXPONENT = 7
_MAX_DATA = 128


def check_creation(parent: Object | None, public: Public, data_size: int) -> None:
    """A template to create an object from; `parent` is None for a primary object."""
    bits = public.attributes
    if not bits & _ORIGIN and not data_size:
        raise TpmError(RC.ATTRIBUTES)
    if parent is not None and bits & _ORIGIN and data_size:
        raise TpmError(RC.ATTRIBUTES)
    if public.type in (ALG.RSA, ALG.ECC):
        wrong = not bits & _ORIGIN
    else:
        is_data = public.type == ALG.KEYEDHASH and not bits & (_SIGN | _DECRYPT)
        given_for_good = bits & _RESTRICTED and not bits & _ORIGIN
        wrong = bool(
            (is_data and bits & _ORIGIN) or (given_for_good and bits & (_FIXED_PARENT | _FIXED_TPM))
        )
    if wrong:
        raise TpmError(RC.ATTRIBUTES)
    check_public(parent, public)


def check_public(parent: Object | None, public: Public) -> None:
    """The attributes, and then the schemes, of an object with a sensitive area."""
    bits = public.attributes
    if public.name_alg == ALG.NULL:
        raise TpmError(RC.HASH)
    if public.auth_policy and len(public.auth_policy) != DIGEST_SIZE[public.name_alg]:
        raise TpmError(RC.SIZE)
    fixed_below = parent is None or parent.has(_FIXED_TPM)
    fixed_tpm, fixed_parent = bool(bits & _FIXED_TPM), bool(bits & _FIXED_PARENT)
    if fixed_tpm != fixed_parent if fixed_below else fixed_tpm:
        raise TpmError(RC.ATTRIBUTES)
    if bool(bits & _SIGN) == bool(bits & _DECRYPT):
        if bits & _RESTRICTED:
            raise TpmError(RC.ATTRIBUTES)
        if public.type != ALG.KEYEDHASH and not bits & _SIGN:
            raise TpmError(RC.ATTRIBUTES)
    encrypted = bool(bits & _ENCRYPTED_DUPLICATION)
    if fixed_tpm and encrypted:
        raise TpmError(RC.ATTRIBUTES)
    if parent is not None:
        if not fixed_below and encrypted != parent.has(_ENCRYPTED_DUPLICATION):
            raise TpmError(RC.ATTRIBUTES)
        if parent.is_derivation_parent and (
            fixed_tpm != parent.has(_FIXED_TPM) or not fixed_parent
        ):
            raise TpmError(RC.ATTRIBUTES)
    check_schemes(parent, public)


def check_schemes(parent: Object | None, public: Public) -> None:
    """The schemes of a public area against its attributes."""
    if public.type == ALG.KEYEDHASH:
        _check_keyed_hash(public)
        return
    if public.type == ALG.SYMCIPHER:
        symmetric = public.parameters
        if public.attributes & _DECRYPT and symmetric.mode not in (*BLOCK_MODES, ALG.NULL):
            raise TpmError(RC.SCHEME)
    else:
        symmetric = public.parameters.symmetric
        _check_asymmetric(public)
    if public.attributes & (_RESTRICTED | _DECRYPT) == _RESTRICTED | _DECRYPT:
        _check_parent(parent, public, symmetric)


def _check_keyed_hash(public: Public) -> None:
    scheme = public.parameters
    sign, decrypt = public.attributes & _SIGN, public.attributes & _DECRYPT
    wanted = ALG.HMAC if sign else ALG.XOR
    if bool(sign) == bool(decrypt):
        wanted = ALG.NULL
    if scheme.scheme != wanted:
        raise TpmError(RC.SCHEME)
    derives = wanted == ALG.XOR and public.attributes & _RESTRICTED
    if derives and scheme.kdf != ALG.KDF1_SP800_108:
        raise TpmError(RC.SCHEME)


def _check_asymmetric(public: Public) -> None:
    scheme = public.parameters.scheme.scheme
    bits = public.attributes
    sign, decrypt, restricted = bits & _SIGN, bits & _DECRYPT, bits & _RESTRICTED
    if bool(sign) == bool(decrypt):
        allowed: tuple[int, ...] = (ALG.NULL,)
    elif sign:
        allowed = _SIGN_SCHEMES[public.type]
        if not restricted:
            allowed = (*allowed, ALG.NULL)
    else:
        allowed = (ALG.NULL,)
        if not restricted:
            allowed = (*allowed, *_DECRYPT_SCHEMES[public.type])
    if scheme not in allowed:
        raise TpmError(RC.SCHEME)
    if not (restricted and decrypt) and public.parameters.symmetric.algorithm != ALG.NULL:
        raise TpmError(RC.SYMMETRIC)
    if public.type == ALG.ECC and public.parameters.kdf.scheme != ALG.NULL:
        raise TpmError(RC.KDF)


def _check_parent(parent: Object | None, public: Public, symmetric: object) -> None:
    """A storage key; one that is fixed to its parent has its parent's algorithms."""
    if symmetric == NO_SYMMETRIC:
        raise TpmError(RC.SYMMETRIC)
    if parent is None or not public.attributes & _FIXED_PARENT:
        return
    if public.name_alg != parent.public.name_alg:
        raise TpmError(RC.HASH)
    held = parent.public.parameters
    if symmetric != (held if parent.public.type == ALG.SYMCIPHER else held.symmetric):
        raise TpmError(RC.SYMMETRIC)


# The key itself, where it did not come from this TPM (part 3, 12.3).


def check_key(public: Public, sensitive: Sensitive | None, in_public: int, in_private: int) -> None:
    """Public and sensitive area are keys and belong together.

    `in_public` and `in_private` are the numbers of the parameters to blame.
    """
    if sensitive is not None:
        if public.type != sensitive.type:
            raise TpmError(RC.TYPE + P(in_private))
        if len(sensitive.auth) > DIGEST_SIZE.get(public.name_alg, len(sensitive.auth)):
            raise TpmError(RC.SIZE + P(in_private))
    checks = {ALG.RSA: _check_rsa, ALG.ECC: _check_ecc}
    check = checks.get(public.type, _check_symmetric)
    check(public, sensitive, P(in_public), P(in_private))
    is_parent = public.attributes & _PARENT == _PARENT
    if sensitive is not None and is_parent and public.name_alg != ALG.NULL:
        size = DIGEST_SIZE[public.name_alg]
        if not size // 2 <= len(sensitive.seed) <= size:
            raise TpmError(RC.SIZE + P(in_private))


def _check_rsa(public: Public, sensitive: Sensitive | None, blame: int, blame_private: int) -> None:
    size = public.parameters.key_bits // 8
    if len(public.unique) != size or public.unique[0] < 0x80:
        raise TpmError(RC.KEY + blame)
    if 0 < public.parameters.exponent < _SMALLEST_EXPONENT:
        raise TpmError(RC.VALUE + blame)
    if sensitive is None:
        return
    if len(sensitive.sensitive) * 2 != size or sensitive.sensitive[0] < 0x80:
        raise TpmError(RC.KEY_SIZE + blame_private)
    try:
        crypto.private_key(public, sensitive.sensitive)
    except ValueError:
        raise TpmError(RC.BINDING) from None


def _check_ecc(public: Public, sensitive: Sensitive | None, blame: int, blame_private: int) -> None:
    curve = public.parameters.curve
    size = crypto.CURVE_BYTES[curve]
    if sensitive is None:
        if len(public.unique.x) != size or len(public.unique.y) != size:
            raise TpmError(RC.KEY + blame)
        try:
            if public.name_alg != ALG.NULL:
                crypto.ecc_public(curve, public.unique)
        except ValueError:
            raise TpmError(RC.ECC_POINT + blame) from None
        return
    try:
        point = crypto.ecc_point(crypto.ecc_private(curve, sensitive.sensitive).public_key(), curve)
    except ValueError:
        raise TpmError(RC.KEY_SIZE) from None
    given = [int.from_bytes(coordinate, "big") for coordinate in public.unique]
    made = [int.from_bytes(coordinate, "big") for coordinate in point]
    if public.name_alg != ALG.NULL and given != made:
        raise TpmError(RC.BINDING)


def symmetric_unique(public: Public, sensitive: Sensitive) -> bytes:
    """`unique` of a symmetric key or a keyed hash (part 1, 27.5.3.2).

    It is a digest, or an HMAC with the seed as key where the seed is also what protects children.
    """
    if public.attributes & _PARENT == _PARENT:
        return crypto.hmac(public.name_alg, sensitive.seed, sensitive.sensitive)
    return crypto.digest(public.name_alg, sensitive.seed + sensitive.sensitive)


def _check_symmetric(
    public: Public, sensitive: Sensitive | None, blame: int, blame_private: int
) -> None:
    size = DIGEST_SIZE.get(public.name_alg, 0)
    if sensitive is None:
        if len(public.unique) != size:
            raise TpmError(RC.KEY + blame)
        return
    try:
        check_symmetric_key(public, sensitive.sensitive)
    except TpmError as error:
        raise TpmError(about(error.code, blame_private)) from None
    if public.name_alg == ALG.NULL:
        return
    if len(sensitive.seed) != size:
        raise TpmError(RC.KEY_SIZE + blame_private)
    if public.unique != symmetric_unique(public, sensitive):
        raise TpmError(RC.BINDING)


def check_symmetric_key(public: Public, key: bytes) -> None:
    """The size of a symmetric key or of a keyed hash's data."""
    if public.type == ALG.SYMCIPHER:
        wrong = len(key) * 8 != public.parameters.key_bits
    else:
        limit = crypto.BLOCK_SIZE.get(public.parameters.hash_alg, _MAX_DATA)
        wrong = len(key) > limit
    if wrong:
        raise TpmError(RC.KEY_SIZE)
