"""CertifyX509: certificates that a library verifies, and what is refused as swtpm refuses it."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from tests.tpm.tpm20.client import (
    DECRYPTS,
    FIXED,
    NO_DA,
    NULL,
    RESTRICTED,
    SHA256,
    SIGNS,
    WITH_AUTH,
    Failed,
    Reply,
    b2,
    ecc_signing,
    ecc_storage,
    hmac_key,
    rsa_key,
    rsa_storage,
    started,
    template,
    u16,
    u32,
)
from tests.tpm.tpm20.oracle import AVAILABLE, Oracle
from tests.tpm.tpm20.test_against_swtpm import Side, compare

_USE = WITH_AUTH | NO_DA
_X509 = 1 << 19
_NO = u16(0x10)


def wrap(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    if len(content) < 256:
        return bytes((tag, 0x81, len(content))) + content
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


def pieces(usage: x509.KeyUsage, *more: x509.ExtensionType) -> list[bytes]:
    """Signature, issuer, validity, subject and extensions, from a certificate of the library's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(datetime.datetime(2026, 1, 1))
    builder = builder.not_valid_after(datetime.datetime(2036, 1, 1))
    builder = builder.add_extension(usage, critical=True)
    for one in more:
        builder = builder.add_extension(one, critical=False)
    content = list(split(only(builder.sign(key, hashes.SHA256()).tbs_certificate_bytes)))
    return [*content[2:6], content[-1]]


def only(octets: bytes) -> bytes:
    return next(iter(_parse(octets)))[1]


def split(octets: bytes) -> Iterator[bytes]:
    for whole, _ in _parse(octets):
        yield whole


def _parse(octets: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(octets):
        size, start = octets[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, start = int.from_bytes(octets[start : start + count], "big"), start + count
        yield octets[at : start + size], octets[start : start + size]
        at = start + size


_ALL = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in _ALL})


def partial(usages: x509.KeyUsage, *more: x509.ExtensionType) -> bytes:
    return wrap(0x30, *pieces(usages, *more)[1:])


def assembled(given: bytes, reply: Reply) -> x509.Certificate:
    """The certificate that the caller makes of what there is."""
    added, digest = reply.tpm2b(0), reply.tpm2b(1)
    version, serial, *algorithm, key = split(only(added))
    own = list(split(only(given)))
    extensions, names = own[-1], own[-4:-1]
    algorithm = algorithm or own[:1]
    tbs = wrap(0x30, version, serial, *algorithm, *names, key, extensions)
    assert hashlib.sha256(tbs).digest() == digest
    signature = reply.parameters[4 + len(added) + len(digest) :]
    kind, content = int.from_bytes(signature[:2], "big"), signature[4:]
    if kind == 0x18:
        r, s = content[2:34], content[36:]
        numbers = (int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        content = wrap(0x30, *map(_integer, numbers))
    else:
        content = content[2:]
    whole = wrap(0x30, tbs, *algorithm, wrap(3, b"\0" + content))
    return x509.load_der_x509_certificate(whole)


def _integer(number: int) -> bytes:
    return wrap(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def signer(scheme: bytes, kind: int) -> bytes:
    bits = FIXED | _USE | SIGNS | _X509
    if kind == 1:
        return template(1, bits, _NO + scheme + u16(2048) + u32(0), b2(b""))
    return template(0x23, bits, _NO + scheme + u16(3) + _NO, b2(b"") * 2)


@pytest.mark.parametrize(("kind", "scheme"), [(1, 0x14), (1, 0x16), (0x23, 0x18)])
@pytest.mark.parametrize("subject", ["ECC", "RSA"])
def test_the_certificate_is_one(kind: int, scheme: int, subject: str) -> None:
    _, client = started()
    key, made = client.create_primary(signer(u16(scheme) + u16(SHA256), kind))
    area = ecc_signing() if subject == "ECC" else rsa_key(FIXED | _USE | SIGNS)
    handle, _ = client.create_primary(area)
    given = partial(usage("digital_signature", "key_cert_sign", "content_commitment"))
    content = b2(b"") + _NO + b2(given)
    reply = client.call(0x197, [handle, key], content, [b"", b""])
    certificate = assembled(given, reply)
    assert certificate.serial_number > 0
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey if subject == "ECC" else rsa.RSAPublicKey)
    tbs, signature = certificate.tbs_certificate_bytes, certificate.signature
    if kind == 1:
        modulus = int.from_bytes(made[-256:], "big")
        verifier = rsa.RSAPublicNumbers(65537, modulus).public_key()
        form: padding.AsymmetricPadding = padding.PKCS1v15()
        if scheme == 0x16:
            form = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        verifier.verify(signature, tbs, form, hashes.SHA256())
    else:
        x, y = int.from_bytes(made[-66:-34], "big"), int.from_bytes(made[-32:], "big")
        point = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        point.verify(signature, tbs, ec.ECDSA(hashes.SHA256()))
    assert certificate.public_bytes(serialization.Encoding.DER)


def test_another_certificate_has_another_serial_number() -> None:
    _, client = started()
    key, _ = client.create_primary(signer(u16(0x18) + u16(SHA256), 0x23))
    handle, _ = client.create_primary(ecc_signing())
    numbers = set()
    for usages in (usage("digital_signature"), usage("key_cert_sign")):
        given = partial(usages)
        reply = client.call(0x197, [handle, key], b2(b"") + _NO + b2(given), [b"", b""])
        numbers.add(assembled(given, reply).serial_number)
    assert len(numbers) == 2


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (partial(usage("key_encipherment")), 0x182),  # ATTRIBUTES of the object
        (wrap(0x30, b""), 0x3C4),  # VALUE of the partial certificate
        (b"", 0x3D5),  # SIZE of it
    ],
)
def test_what_is_refused_names_what_is_wrong(given: bytes, code: int) -> None:
    _, client = started()
    key, _ = client.create_primary(signer(u16(0x18) + u16(SHA256), 0x23))
    handle, _ = client.create_primary(ecc_signing())
    with pytest.raises(Failed) as failed:
        client.call(0x197, [handle, key], b2(b"") + _NO + b2(given), [b"", b""])
    assert failed.value.code == code


def _outlines() -> dict[str, bytes]:
    signature, issuer, validity, subject, extensions = pieces(usage("digital_signature"))
    names = issuer + validity + subject
    good = wrap(0x30, names, extensions)
    return {
        "good": good,
        "with an algorithm": wrap(0x30, signature, names, extensions),
        "extensions first": wrap(0x30, extensions, names),
        "two algorithms": wrap(0x30, signature, signature, names, extensions),
        "no extensions": wrap(0x30, names),
        "extensions twice": wrap(0x30, names, extensions, extensions),
        "two names": wrap(0x30, issuer, validity, extensions),
        "something else": wrap(0x30, names, extensions, wrap(2, b"\1")),
        "empty": b"",
        "no sequence": wrap(0x31, names, extensions),
        "cut": good[:-1],
        "long": good + b"x",
        "empty sequence": wrap(0x30),
        "empty extensions": wrap(0x30, names, wrap(0xA3)),
        "no list": wrap(0x30, names, wrap(0xA3, wrap(0x31))),
        "no extension": wrap(0x30, names, wrap(0xA3, wrap(0x30))),
        "one tag": b"\x30",
    }


def tried(side: Side, title: str, handles: list[int], content: bytes) -> None:
    """Whether it succeeds: swtpm counts the handles of this command in another order."""
    try:
        side.client.call(0x197, handles, content, [b"", b""])
    except Failed:
        side.log.append((title, "failure"))
    else:
        side.log.append((title, "success"))


def certificates(side: Side) -> None:
    subject, _ = side.client.create_primary(ecc_signing())
    key, _ = side.client.create_primary(signer(_NO, 0x23))
    scheme = u16(0x18) + u16(SHA256)
    for title, outline in _outlines().items():
        content = b2(b"") + scheme + b2(outline)
        tried(side, title, [subject, key], content)
    good = _outlines()["good"]
    for given in (_NO, u16(0x1C) + u16(SHA256), u16(0x14) + u16(SHA256), scheme):
        tried(side, "scheme", [subject, key], b2(b"") + given + b2(good))
    tried(side, "reserved", [subject, key], b2(b"r") + scheme + b2(good))
    side.client.flush(key)
    unfit = (ecc_storage(), hmac_key(), rsa_key(FIXED | _USE | DECRYPTS, 1024))
    for area in (*unfit, ecc_signing(FIXED | _USE | SIGNS | RESTRICTED), ecc_signing()):
        other, _ = side.client.create_primary(area)
        for handles in ([subject, other], [other, subject]):
            tried(side, "unfit", handles, b2(b"") + scheme + b2(good))
        side.client.flush(other)


def usages(side: Side) -> None:
    key, _ = side.client.create_primary(signer(u16(0x18) + u16(SHA256), 0x23))
    for area in (
        ecc_signing(),
        ecc_signing(_USE | 0x20 | SIGNS),
        ecc_storage(),
        rsa_storage(bits=1024),
        rsa_key(FIXED | _USE | DECRYPTS, 1024),
        rsa_key(FIXED | _USE | DECRYPTS | SIGNS, 1024),
    ):
        subject, made = side.client.create_primary(area)
        for name in _ALL:
            more = ("key_agreement",) if name in ("encipher_only", "decipher_only") else ()
            content = b2(b"") + _NO + b2(partial(usage(name, *more)))
            tried(side, f"{name} {len(made)}", [subject, key], content)
        attributes = int.from_bytes(made[4:8], "big")
        for value in (attributes, attributes ^ 0x400):
            octets = wrap(3, b"\0" + value.to_bytes(4, "big"))
            oid = x509.ObjectIdentifier("2.23.133.10.1.1.1")
            extension = x509.UnrecognizedExtension(oid, octets)
            content = b2(b"") + _NO + b2(partial(usage("content_commitment"), extension))
            tried(side, f"attributes {len(made)}", [subject, key], content)
        side.client.flush(subject)
    tried(side, "no signer", [key, NULL], b2(b"") + _NO + b2(b""))


@pytest.mark.skipif(not AVAILABLE, reason="swtpm is not installed")
@pytest.mark.parametrize("scenario", [certificates, usages])
def test_both_answer_alike(scenario: object) -> None:
    with Oracle() as oracle:
        compare(scenario, oracle)  # type: ignore[arg-type]
