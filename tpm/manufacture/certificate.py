"""An endorsement key's certificate (section 3.2 of the profile; RFC 5280)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from tpm.manufacture.issuer import NEVER, Issuer
from tpm.tpm20 import crypto
from tpm.tpm20.constants import ALG, PT, TPMA_OBJECT
from tpm.tpm20.structures import Public

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

TPM_MANUFACTURER: Final = ObjectIdentifier("2.23.133.2.1")
TPM_MODEL: Final = ObjectIdentifier("2.23.133.2.2")
TPM_VERSION: Final = ObjectIdentifier("2.23.133.2.3")
EK_CERTIFICATE: Final = ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate."""
SUBJECT_DIRECTORY_ATTRIBUTES: Final = ObjectIdentifier("2.5.29.9")
_TPM_SPECIFICATION: Final = bytes((0x67, 0x81, 0x05, 0x02, 0x10))
"""tcg-at-tpmSpecification, 2.23.133.2.16, as DER has it."""
_INTEGER, _OID, _UTF8, _SEQUENCE, _SET = 0x02, 0x06, 0x0C, 0x30, 0x31


class Facts(NamedTuple):
    """What the certificate says of the TPM."""

    manufacturer: str
    """``id:`` and the vendor's four characters in hexadecimal."""
    model: str
    version: str
    """``id:`` and the firmware's version in hexadecimal."""
    family: str
    level: int
    revision: int
    """Of the library specification, times 100."""

    @classmethod
    def of(cls, properties: dict[int, int]) -> Facts:
        """The facts as the TPM's fixed properties give them."""
        vendor = range(PT.VENDOR_STRING_1, PT.VENDOR_STRING_4 + 1)
        return cls(
            manufacturer=f"id:{properties[PT.MANUFACTURER]:08X}",
            model=_text(*[properties[one] for one in vendor]),
            version=f"id:{properties[PT.FIRMWARE_VERSION_1]:08X}",
            family=_text(properties[PT.FAMILY_INDICATOR]),
            level=properties[PT.LEVEL],
            revision=properties[PT.REVISION],
        )


def _text(*words: int) -> str:
    octets = b"".join([word.to_bytes(4, "big") for word in words])
    return octets.replace(b"\0", b"").decode("ascii", "replace").strip()


def public_key(public: Public) -> PublicKey:
    """The key of a public area."""
    if public.type == ALG.RSA:
        return crypto.rsa_public(public)
    return crypto.ecc_public(public.parameters.curve, public.unique)


def issue(issuer: Issuer, public: Public, facts: Facts, subject: str = "") -> bytes:
    """The certificate of an endorsement key, in DER; ``subject`` names the machine, if anything."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(issuer.certificate.subject)
        .public_key(public_key(public))
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC))
        .not_valid_after(min(NEVER, issuer.certificate.not_valid_after_utc))
        # Where there is no subject, this says who it is (RFC 5280, 4.2.1.6).
        .add_extension(_alternative_name(facts), critical=not subject)
        .add_extension(_specification(facts), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(public), critical=True)
        .add_extension(x509.ExtendedKeyUsage([EK_CERTIFICATE]), critical=False)
        .add_extension(issuer.key_identifier, critical=False)
    )
    return builder.sign(issuer.key, issuer.hash).public_bytes(Encoding.DER)


def _alternative_name(facts: Facts) -> x509.SubjectAlternativeName:
    attributes = (
        (TPM_MANUFACTURER, facts.manufacturer),
        (TPM_MODEL, facts.model),
        (TPM_VERSION, facts.version),
    )
    name = x509.Name([x509.NameAttribute(kind, text) for kind, text in attributes])
    return x509.SubjectAlternativeName([x509.DirectoryName(name)])


def _usage(public: Public) -> x509.KeyUsage:
    decrypts = bool(public.attributes & TPMA_OBJECT.DECRYPT)
    return x509.KeyUsage(
        digital_signature=bool(public.attributes & TPMA_OBJECT.SIGN),
        content_commitment=False,
        key_encipherment=decrypts and public.type == ALG.RSA,
        data_encipherment=False,
        key_agreement=decrypts and public.type == ALG.ECC,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _specification(facts: Facts) -> x509.UnrecognizedExtension:
    """The attribute TPM Specification: family, level and revision."""
    numbers = [_der(_INTEGER, _integer(number)) for number in (facts.level, facts.revision)]
    value = _der(_SEQUENCE, _der(_UTF8, facts.family.encode()), *numbers)
    attribute = _der(_SEQUENCE, _der(_OID, _TPM_SPECIFICATION), _der(_SET, value))
    return x509.UnrecognizedExtension(SUBJECT_DIRECTORY_ATTRIBUTES, _der(_SEQUENCE, attribute))


def _der(tag: int, *parts: bytes) -> bytes:
    """A value in DER that is shorter than 128 bytes."""
    content = b"".join(parts)
    assert len(content) < 128
    return bytes((tag, len(content))) + content


def _integer(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")
