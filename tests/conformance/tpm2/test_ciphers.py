"""Digests, MACs, encryption and key agreement, against `hashlib` and `cryptography`."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.conformance.tpm2.conftest import Client

DATA = bytes(range(256)) * 20
"""More than a buffer of the TPM holds, so that a sequence is needed."""
KEY_PARTS = ("-u", "key.pub", "-r", "key.priv")


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("size", [3, 5120], ids=["short", "sequence"])
def test_hash(tpm2: Client, name: str, size: int) -> None:
    found = tpm2("hash", "-C", "o", "-g", name, "--hex", given=DATA[:size])
    assert found.decode() == hashlib.new(name, DATA[:size]).hexdigest()


@pytest.mark.parametrize("size", [3, 5120], ids=["short", "sequence"])
def test_hmac_with_a_key_from_outside(tpm2: Client, size: int) -> None:
    key = bytes(range(32))
    tpm2("import", "-C", tpm2.primary(), "-G", "hmac", "-i", tpm2.write("k", key), *KEY_PARTS)
    tpm2("load", "-C", "p.ctx", *KEY_PARTS, "-c", "h.ctx")
    found = tpm2("hmac", "-c", "h.ctx", "-g", "sha256", "--hex", given=DATA[:size])
    assert found.decode() == hmac.new(key, DATA[:size], "sha256").hexdigest()


@pytest.mark.parametrize("scheme", ["rsaes", "oaep"])
def test_rsa_encryption_with_the_tpm_alone_and_from_outside(tpm2: Client, scheme: str) -> None:
    context = tpm2.key(tpm2.primary(), "rsa2048")
    tpm2("rsaencrypt", "-c", context, "-s", scheme, "-o", "inside", tpm2.write("m", b"message"))
    public = serialization.load_pem_public_key(tpm2.read(tpm2.pem(context)))
    assert isinstance(public, rsa.RSAPublicKey)
    sha256 = hashes.SHA256()
    oaep = padding.OAEP(padding.MGF1(sha256), sha256, label=None)
    how = padding.PKCS1v15() if scheme == "rsaes" else oaep
    tpm2.write("outside", public.encrypt(b"message", how))
    for name in ("inside", "outside"):
        assert tpm2("rsadecrypt", "-c", context, "-s", scheme, name) == b"message"


def test_rsa_decryption_of_what_is_no_ciphertext(tpm2: Client) -> None:
    context = tpm2.key(tpm2.primary(), "rsa2048")
    tpm2.refused("rsadecrypt", "-c", context, "-s", "oaep", tpm2.write("c", bytes(255) + b"\x02"))


@pytest.mark.parametrize("mode", ["cfb", "cbc", "ctr", "ofb"])
def test_symmetric_encryption(tpm2: Client, mode: str) -> None:
    """A key from outside, so that the ciphertext can be computed here."""
    key, iv, data = bytes(range(16)), bytes(range(16, 32)), DATA[:64]
    tpm2("import", "-C", tpm2.primary(), "-G", "aes", "-i", tpm2.write("k", key), *KEY_PARTS)
    tpm2("load", "-C", "p.ctx", *KEY_PARTS, "-c", "key.ctx")
    given = ("-c", "key.ctx", "-G", mode, "--iv", tpm2.write("iv", iv))
    tpm2("encryptdecrypt", *given, "-o", "cipher", tpm2.write("plain", data))
    used = {"cfb": modes.CFB, "cbc": modes.CBC, "ctr": modes.CTR, "ofb": modes.OFB}[mode](iv)
    encryptor = Cipher(algorithms.AES(key), used).encryptor()
    assert tpm2.read("cipher") == encryptor.update(data) + encryptor.finalize()
    tpm2("encryptdecrypt", "-d", *given, "-o", "back", "cipher")
    assert tpm2.read("back") == data


def test_ecdh_agrees_with_the_other_side(tpm2: Client) -> None:
    """The TPM's one-pass exchange: what it hands out lets its private key compute the same."""
    context = tpm2.key(tpm2.primary(), "ecc256:ecdh")
    tpm2("ecdhkeygen", "-c", context, "-u", "ephemeral", "-o", "one")
    tpm2("ecdhzgen", "-c", context, "-u", "ephemeral", "-o", "two")
    assert tpm2.read("one") == tpm2.read("two")


def test_ecdh_with_a_key_outside(tpm2: Client) -> None:
    context = tpm2.key(tpm2.primary(), "ecc256:ecdh")
    own = ec.generate_private_key(ec.SECP256R1())
    point = own.public_key().public_numbers()
    coordinates = [b"\x00\x20" + n.to_bytes(32, "big") for n in (point.x, point.y)]
    tpm2.write("point", b"\x00\x44" + b"".join(coordinates))
    tpm2("ecdhzgen", "-c", context, "-u", "point", "-o", "shared")
    public = serialization.load_pem_public_key(tpm2.read(tpm2.pem(context)))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert own.exchange(ec.ECDH(), public) == tpm2.read("shared")[4:36]


def test_the_parameters_of_a_curve(tpm2: Client) -> None:
    tpm2("geteccparameters", "ecc256", "-o", "parameters")
    order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
    assert bytes.fromhex(order) in tpm2.read("parameters")


def test_an_ephemeral_key_for_two_phases(tpm2: Client) -> None:
    tpm2("ecephemeral", "-u", "one", "-t", "counter.one", "ecc256")
    tpm2("ecephemeral", "-u", "two", "-t", "counter.two", "ecc256")
    assert tpm2.read("one") != tpm2.read("two")
    assert tpm2.read("counter.one") != tpm2.read("counter.two")


def test_a_commitment_of_ecdaa(tpm2: Client) -> None:
    context = tpm2.key(
        tpm2.primary(),
        "ecc256:ecdaa4-sha256",
        "-a",
        "sign|userwithauth|fixedtpm|fixedparent|sensitivedataorigin",
    )
    files = ("--eccpoint-K", "K", "--eccpoint-L", "L", "-u", "E", "-t", "counter")
    tpm2("commit", "-c", context, *files)
    first = tpm2.read("E")
    tpm2("commit", "-c", context, *files)
    assert tpm2.read("E") != first
