"""Keys: made, loaded, used, moved in and out of the TPM; what they sign OpenSSL verifies."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.conformance.tpm2.conftest import Client

MESSAGE = b"what is signed"


@pytest.mark.parametrize("algorithm", ["rsa2048", "ecc256", "ecc384"])
def test_a_primary_key_is_the_same_each_time(tpm2: Client, algorithm: str) -> None:
    if algorithm.startswith("rsa"):
        algorithm += ":null:aes128cfb"
    first = tpm2.read(tpm2.pem(tpm2.primary(algorithm, name="first.ctx")))
    second = tpm2.read(tpm2.pem(tpm2.primary(algorithm, name="second.ctx")))
    other = tpm2.read(tpm2.pem(tpm2.primary(algorithm, "e", name="other.ctx")))
    assert first == second != other


@pytest.mark.parametrize("hierarchy", ["o", "e", "p", "n"])
def test_each_hierarchy_has_primary_keys(tpm2: Client, hierarchy: str) -> None:
    context = tpm2.primary(hierarchy=hierarchy)
    assert b"fixedtpm|fixedparent" in tpm2("readpublic", "-c", context)


@pytest.mark.parametrize(
    ("algorithm", "scheme", "hash_name"),
    [
        ("rsa2048", "rsassa", "sha256"),
        ("rsa2048", "rsapss", "sha256"),
        ("rsa2048", "rsassa", "sha384"),
        ("ecc256", "ecdsa", "sha256"),
        ("ecc384", "ecdsa", "sha384"),
    ],
)
def test_a_signature_is_what_others_verify(
    tpm2: Client, algorithm: str, scheme: str, hash_name: str
) -> None:
    context = tpm2.key(tpm2.primary(), algorithm)
    signing = ("-c", context, "-g", hash_name, "-s", scheme)
    tpm2("sign", *signing, "-f", "plain", "-o", "signature", tpm2.write("message", MESSAGE))
    public = serialization.load_pem_public_key(tpm2.read(tpm2.pem(context)))
    by = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}[hash_name]
    if isinstance(public, ec.EllipticCurvePublicKey):
        public.verify(tpm2.read("signature"), MESSAGE, ec.ECDSA(by))
        return
    assert isinstance(public, rsa.RSAPublicKey)
    pss = padding.PSS(padding.MGF1(by), padding.PSS.AUTO)
    used = pss if scheme == "rsapss" else padding.PKCS1v15()
    public.verify(tpm2.read("signature"), MESSAGE, used, by)


def test_the_tpm_verifies_and_notices_another_message(tpm2: Client) -> None:
    context = tpm2.key(tpm2.primary(), "ecc256")
    tpm2("sign", "-c", context, "-g", "sha256", "-o", "sig", tpm2.write("message", MESSAGE))
    verifying = ("verifysignature", "-c", context, "-g", "sha256", "-s", "sig", "-t", "ticket")
    tpm2(*verifying, "-m", "message")
    assert tpm2.read("ticket")
    tpm2.refused(*verifying, "-m", tpm2.write("other", MESSAGE + b"?"))


def test_an_external_key_verifies_what_openssl_signed(tpm2: Client) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, spki)
    tpm2.write("sig", private.sign(MESSAGE, ec.ECDSA(hashes.SHA256())))
    tpm2("loadexternal", "-C", "o", "-G", "ecc", "-u", tpm2.write("k.pem", pem), "-c", "k.ctx")
    given = ("-c", "k.ctx", "-g", "sha256", "-f", "ecdsa", "-s", "sig", "-m")
    tpm2("verifysignature", *given, tpm2.write("message", MESSAGE))
    tpm2.refused("verifysignature", *given, tpm2.write("other", b"other"))


def test_a_private_key_from_outside_is_imported_and_signs(tpm2: Client) -> None:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    parent = tpm2.primary()
    files = ("-u", "key.pub", "-r", "key.priv")
    tpm2("import", "-C", parent, "-G", "rsa", "-i", tpm2.write("k.pem", pem), *files)
    tpm2("load", "-C", parent, *files, "-c", "key.ctx")
    signing = ("-c", "key.ctx", "-g", "sha256", "-f", "plain", "-o", "sig")
    tpm2("sign", *signing, tpm2.write("message", MESSAGE))
    public = private.public_key()
    public.verify(tpm2.read("sig"), MESSAGE, padding.PKCS1v15(), hashes.SHA256())


def test_a_key_with_a_password_needs_it(tpm2: Client) -> None:
    context = tpm2.key(tpm2.primary(), "ecc256", "-p", "secret")
    signing = ("sign", "-c", context, "-g", "sha256", "-o", "sig", tpm2.write("message", MESSAGE))
    assert "auth" in tpm2.refused(*signing, "-p", "wrong")
    tpm2(*signing, "-p", "secret")


def test_changeauth_changes_a_keys_password(tpm2: Client) -> None:
    parent = tpm2.primary()
    context = tpm2.key(parent, "ecc256", "-p", "old")
    tpm2("changeauth", "-C", parent, "-c", context, "-p", "old", "-r", "new.priv", "new")
    tpm2("load", "-C", parent, "-u", "key.pub", "-r", "new.priv", "-c", "new.ctx")
    signing = ("sign", "-c", "new.ctx", "-g", "sha256", "-o", "sig", tpm2.write("m", MESSAGE))
    tpm2.refused(*signing, "-p", "old")
    tpm2(*signing, "-p", "new")


def test_a_persistent_key_stays_until_it_is_evicted(tpm2: Client) -> None:
    parent = tpm2.primary()
    tpm2("evictcontrol", "-C", "o", "-c", parent, "0x81000001")
    assert b"0x81000001" in tpm2("getcap", "handles-persistent")
    assert tpm2.read(tpm2.pem("0x81000001")) == tpm2.read(tpm2.pem(parent))
    tpm2("evictcontrol", "-C", "o", "-c", "0x81000001")
    assert tpm2("getcap", "handles-persistent") == b""


def test_a_context_that_was_changed_is_refused(tpm2: Client) -> None:
    content = bytearray(tpm2.read(tpm2.primary()))
    content[80] ^= 1
    tpm2.write("changed.ctx", bytes(content))
    assert "integrity" in tpm2.refused("readpublic", "-c", "changed.ctx")


def test_a_child_of_another_parent_is_not_loaded(tpm2: Client) -> None:
    tpm2.key(tpm2.primary(), "ecc256")
    other = tpm2.primary(hierarchy="e", name="other.ctx")
    files = ("-u", "key.pub", "-r", "key.priv", "-c", "no.ctx")
    assert "integrity" in tpm2.refused("load", "-C", other, *files)


def test_createek_makes_the_keys_of_the_profile(tpm2: Client) -> None:
    tpm2("createek", "-c", "rsa.ctx", "-G", "rsa", "-u", "rsa.pub")
    tpm2("createek", "-c", "ecc.ctx", "-G", "ecc", "-u", "ecc.pub")
    policy = b"837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
    for name in ("rsa.ctx", "ecc.ctx"):
        assert policy in tpm2("readpublic", "-c", name)


def test_loading_a_session_encrypted(tpm2: Client) -> None:
    """A salted session encrypts the new key's password on its way."""
    parent = tpm2.primary()
    tpm2("startauthsession", "--hmac-session", "-c", parent, "-S", "s.session")
    tpm2("sessionconfig", "s.session", "--enable-decrypt", "--enable-encrypt")
    files = ("-u", "k.pub", "-r", "k.priv")
    tpm2("create", "-C", parent, "-P", "session:s.session", "-G", "ecc", "-p", "secret", *files)
    tpm2("flushcontext", "s.session")
    tpm2("load", "-C", parent, *files, "-c", "k.ctx")
    tpm2("sign", "-c", "k.ctx", "-p", "secret", "-o", "sig", tpm2.write("m", MESSAGE))
