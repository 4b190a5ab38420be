"""Who signs the certificates of endorsement keys.

Somebody who runs a certification authority hands in its key and certificate.  Everybody else gets
an authority of their own, made on first use: what it certifies is worth something to those who
have fetched its certificate from here.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from tpm.manufacture.client import ManufactureError
from tpm.store.files import Folder, open_file
from tpm.store.journal import StoreError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEY, CERTIFICATE = "key.pem", "certificate.pem"
"""The files of an authority of one's own."""
NEVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""When a certificate ends that has no end (RFC 5280, 4.1.2.5)."""
_LARGEST: Final = 1 << 20
_SMALLEST_RSA: Final = 2048
_NAME: Final = "Cloister TPM issuer"


class Issuer(NamedTuple):
    """An authority's key, and its certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    @property
    def hash(self) -> hashes.SHA256 | hashes.SHA384:
        """What it signs with."""
        bits = self.key.key_size if isinstance(self.key, ec.EllipticCurvePrivateKey) else 256
        return hashes.SHA256() if bits <= 256 else hashes.SHA384()

    @property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """How its certificates name it: as its own certificate does, if that says so."""
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def given(text: str) -> Issuer:
    """The authority of ``KEY,CERTIFICATE``, two files; raises ``ManufactureError``."""
    key_path, comma, certificate_path = text.partition(",")
    if not (comma and key_path and certificate_path):
        raise ManufactureError(f"an issuer is given as KEY,CERTIFICATE, not as {text!r}")
    key = _private_key(_read(key_path), key_path)
    return _checked(Issuer(key, _certificate(_read(certificate_path), certificate_path)), text)


def of_ones_own(folder: Path) -> Issuer:
    """The authority in a folder, made there if there is none; raises ``ManufactureError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with Folder(str(folder)) as opened:
            if not opened.exists(KEY):
                made = ec.generate_private_key(ec.SECP256R1())
                pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                opened.create(KEY, pem)
            # Whose key it became, if two programs made one at the same time, the file says.
            key = _private_key(_contents(opened.open(KEY, os.O_RDONLY)), str(folder / KEY))
            if not opened.exists(CERTIFICATE):
                opened.create(CERTIFICATE, _self_signed(key).public_bytes(Encoding.PEM))
            pem = _contents(opened.open(CERTIFICATE, os.O_RDONLY))
    except StoreError as error:
        raise ManufactureError(str(error)) from None
    except OSError as error:
        raise ManufactureError(f"the issuer's folder {folder}: {error.strerror}") from None
    issuer = Issuer(key, _certificate(pem, str(folder / CERTIFICATE)))
    return _checked(issuer, str(folder))


def _self_signed(key: PrivateKey) -> x509.Certificate:
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    text = f"{_NAME} {identifier.digest.hex()[:16]}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC))
        .not_valid_after(NEVER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _contents(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read(_LARGEST)


def _read(path: str) -> bytes:
    try:
        return _contents(open_file(path, os.O_RDONLY))
    except StoreError as error:
        raise ManufactureError(str(error)) from None
    except OSError as error:
        raise ManufactureError(f"cannot read {path}: {error.strerror}") from None


def _private_key(pem: bytes, path: str) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise ManufactureError(f"the key in {path} is encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ManufactureError(f"there is no private key in PEM in {path}") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _SMALLEST_RSA:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size >= 256:
        return key
    raise ManufactureError(f"the key in {path} is neither RSA of 2048 bits or more nor ECC of 256")


def _certificate(pem: bytes, path: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ManufactureError(f"there is no certificate in PEM in {path}") from None


def _checked(issuer: Issuer, where: str) -> Issuer:
    """The issuer, if its certificate is the key's and lets it issue certificates today."""
    certificate = issuer.certificate
    if certificate.public_key() != issuer.key.public_key():
        raise ManufactureError(f"key and certificate of the issuer {where} do not belong together")
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ManufactureError(f"the issuer's certificate in {where} is not valid now")
    try:
        extensions = certificate.extensions
        authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        authority = False
    if not authority:
        raise ManufactureError(f"the issuer's certificate in {where} is not an authority's")
    try:
        may_sign = extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        may_sign = True
    if not may_sign:
        raise ManufactureError(f"the issuer's key in {where} may not sign certificates")
    return issuer
