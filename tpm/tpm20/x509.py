"""The certificates of TPM2_CertifyX509 (part 3, 18.8): what the caller brings, what the TPM adds.

A partial certificate is a SEQUENCE of the signature's AlgorithmIdentifier, which may be left out,
issuer, validity, subject and extensions, of RFC 5280's TBSCertificate.
"""

from __future__ import annotations

from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tpm.tpm20 import crypto, der
from tpm.tpm20.constants import ALG, RC, TPMA_OBJECT, TpmError
from tpm.tpm20.structures import DIGEST_SIZE, Public, Scheme

_VERSION_3 = der.element(der.context(0), der.integer(2))
_KEY_USAGE = der.object_identifier("2.5.29.15")
_TPMA_OBJECT = der.object_identifier("2.23.133.10.1.1.1")

_SIGN_USES = 1 << 31 | 1 << 26 | 1 << 25
"""digitalSignature, keyCertSign, cRLSign (RFC 5280, 4.2.1.3; part 2, TPMA_X509_KEY_USAGE)."""
_NON_REPUDIATION = 1 << 30
_KEY_AGREEMENT = 1 << 27
_DECRYPT_USES = 1 << 29 | 1 << 28 | _KEY_AGREEMENT | 1 << 24 | 1 << 23
"""keyEncipherment, dataEncipherment, keyAgreement, encipherOnly, decipherOnly."""

_USAGES = (
    (_SIGN_USES, TPMA_OBJECT.SIGN),
    (_DECRYPT_USES, TPMA_OBJECT.DECRYPT),
    (_NON_REPUDIATION, TPMA_OBJECT.FIXED_TPM),
    (_KEY_AGREEMENT, TPMA_OBJECT.RESTRICTED),
)
"""Bits of the key usage, and the attribute that a key needs for them."""

_HASH_OID = {
    ALG.SHA1: "1.3.14.3.2.26",
    ALG.SHA256: "2.16.840.1.101.3.4.2.1",
    ALG.SHA384: "2.16.840.1.101.3.4.2.2",
    ALG.SHA512: "2.16.840.1.101.3.4.2.3",
}
_SIGNATURE_OID = {
    (ALG.RSASSA, ALG.SHA1): "1.2.840.113549.1.1.5",
    (ALG.RSASSA, ALG.SHA256): "1.2.840.113549.1.1.11",
    (ALG.RSASSA, ALG.SHA384): "1.2.840.113549.1.1.12",
    (ALG.RSASSA, ALG.SHA512): "1.2.840.113549.1.1.13",
    (ALG.ECDSA, ALG.SHA1): "1.2.840.10045.4.1",
    (ALG.ECDSA, ALG.SHA256): "1.2.840.10045.4.3.2",
    (ALG.ECDSA, ALG.SHA384): "1.2.840.10045.4.3.3",
    (ALG.ECDSA, ALG.SHA512): "1.2.840.10045.4.3.4",
}
_NULL = der.element(der.NULL)


class Partial(NamedTuple):
    """What the caller brings, each piece encoded; `signature` is empty if it was left out."""

    signature: bytes
    names_and_validity: bytes
    extensions: bytes


def parse(octets: bytes) -> Partial:
    """A partial certificate's pieces; `TPM_RC_SIZE` or `TPM_RC_VALUE` if they are not there."""
    try:
        outline = list(der.elements(octets))
    except der.DerError:
        raise TpmError(RC.VALUE) from None
    if len(outline) != 1 or outline[0][0] != der.SEQUENCE:
        raise TpmError(RC.SIZE)
    try:
        pieces = list(der.elements(outline[0][1]))
    except der.DerError:
        raise TpmError(RC.VALUE) from None
    sequences = [whole for tag, _, whole in pieces if tag == der.SEQUENCE]
    extensions = [whole for tag, _, whole in pieces if tag == der.context(3)]
    if len(sequences) not in (3, 4) or len(extensions) != 1 or len(pieces) != len(sequences) + 1:
        raise TpmError(RC.VALUE)
    return Partial(b"".join(sequences[:-3]), b"".join(sequences[-3:]), extensions[0])


def check_extensions(extensions: bytes, public: Public) -> None:
    """Key usage and TPMA_OBJECT against the key; `TPM_RC_ATTRIBUTES` if they say too much."""
    try:
        usage = _extension(extensions, _KEY_USAGE)
        attributes = _extension(extensions, _TPMA_OBJECT)
    except der.DerError:
        raise TpmError(RC.VALUE) from None
    if usage is None:
        raise TpmError(RC.VALUE)
    if attributes is not None and attributes != public.attributes:
        raise TpmError(RC.ATTRIBUTES)
    if any(usage & bits and not public.attributes & needed for bits, needed in _USAGES):
        raise TpmError(RC.ATTRIBUTES)


def _extension(extensions: bytes, name: bytes) -> int | None:
    """The bits in an extension's value; None if there is no such extension."""
    content = der.only(der.only(extensions, der.context(3)), der.SEQUENCE)
    for tag, extension, _ in der.elements(content):
        if tag != der.SEQUENCE:
            raise der.DerError("an extension that is none")
        pieces = list(der.elements(extension))
        if not pieces or pieces[0][2] != name:
            continue
        if pieces[-1][0] != der.OCTET_STRING:
            raise der.DerError("an extension without a value")
        return der.bits(pieces[-1][1])
    return None


def algorithm_identifier(scheme: Scheme) -> bytes | None:
    """The AlgorithmIdentifier of a signature scheme; None if it has none."""
    if scheme.scheme == ALG.RSAPSS:
        function = der.element(
            der.SEQUENCE, der.object_identifier(_HASH_OID[scheme.hash_alg]), _NULL
        )
        mask = der.element(der.SEQUENCE, der.object_identifier("1.2.840.113549.1.1.8"), function)
        parameters = der.element(
            der.SEQUENCE,
            der.element(der.context(0), function),
            der.element(der.context(1), mask),
            der.element(der.context(2), der.integer(DIGEST_SIZE[scheme.hash_alg])),
        )
        return der.element(der.SEQUENCE, der.object_identifier("1.2.840.113549.1.1.10"), parameters)
    oid = _SIGNATURE_OID.get((scheme.scheme, scheme.hash_alg))
    if oid is None:
        return None
    parameters = _NULL if scheme.scheme == ALG.RSASSA else b""
    return der.element(der.SEQUENCE, der.object_identifier(oid), parameters)


def public_key(public: Public) -> bytes:
    """The SubjectPublicKeyInfo; `TPM_RC_ASYMMETRIC` for what is not an asymmetric key."""
    if public.type == ALG.RSA:
        return crypto.rsa_public(public).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    if public.type == ALG.ECC:
        key = crypto.ecc_public(public.parameters.curve, public.unique)
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raise TpmError(RC.ASYMMETRIC)


def complete(
    partial: Partial, signature: bytes, subject_key: bytes, serial: int
) -> tuple[bytes, bytes]:
    """What the TPM adds, and the whole TBSCertificate."""
    number = der.integer(serial)
    own_signature = b"" if partial.signature else signature
    added = der.element(der.SEQUENCE, _VERSION_3, number, own_signature, subject_key)
    whole = der.element(
        der.SEQUENCE,
        _VERSION_3,
        number,
        partial.signature or signature,
        partial.names_and_validity,
        subject_key,
        partial.extensions,
    )
    return added, whole
