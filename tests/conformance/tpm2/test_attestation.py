"""Attestation: quotes, certificates of objects, times and audits; another program verifies them."""

from __future__ import annotations

import hashlib

import pytest

from tests.conformance.tpm2.conftest import Client

NONCE = "a0a1a2a3a4a5a6a7"
ATTEST, SIGNED = ("-m", "attest"), ("-s", "sig")


def attestation_key(tpm2: Client, algorithm: str = "ecc") -> str:
    """An attestation key under an endorsement key, as the profile has it."""
    tpm2("createek", "-c", "ek.ctx", "-G", "ecc", "-u", "ek.pub")
    scheme = {"ecc": "ecdsa", "rsa": "rsassa"}[algorithm]
    parts = ("-u", "ak.pub", "-f", "pem", "-r", "ak.priv", "-n", "ak.name")
    kind = ("-G", algorithm, "-g", "sha256", "-s", scheme)
    tpm2("createak", "-C", "ek.ctx", "-c", "ak.ctx", *kind, *parts)
    return "ak.ctx"


@pytest.mark.parametrize("algorithm", ["ecc", "rsa"])
def test_a_quote_says_what_the_pcrs_hold(tpm2: Client, algorithm: str) -> None:
    context = attestation_key(tpm2, algorithm)
    tpm2("pcrextend", "16:sha256=" + "33" * 32)
    values = ("-o", "pcrs", "-q", NONCE, "-g", "sha256")
    tpm2("quote", "-c", context, "-l", "sha256:1,16", *ATTEST, *SIGNED, *values)
    tpm2("pcrread", "sha256:1,16", "-o", "raw")
    digest = hashlib.sha256(tpm2.read("raw")).digest()
    assert tpm2.read("attest").startswith(b"\xffTCG\x80\x18")
    assert tpm2.read("attest").endswith(digest) and bytes.fromhex(NONCE) in tpm2.read("attest")
    check = ("checkquote", "-u", "ak.pub", *ATTEST, *SIGNED, "-f", "pcrs", "-g", "sha256", "-q")
    tpm2(*check, NONCE)
    tpm2.refused(*check, "a0a1")


def test_a_quote_that_was_changed(tpm2: Client) -> None:
    context = attestation_key(tpm2)
    tpm2("quote", "-c", context, "-l", "sha256:1", *ATTEST, *SIGNED, "-q", NONCE)
    tpm2.write("attest", tpm2.read("attest")[:-1] + b"?")
    tpm2.refused("checkquote", "-u", "ak.pub", *ATTEST, *SIGNED, "-g", "sha256", "-q", NONCE)


def test_a_restricted_key_signs_nothing_that_looks_like_an_attestation(tpm2: Client) -> None:
    context = attestation_key(tpm2)
    made = tpm2.write("made", b"\xffTCG made up")
    hashing = ("hash", "-C", "o", "-g", "sha256", "-o", "digest", "-t", "ticket")
    signing = ("sign", "-c", context, "-g", "sha256", "-d", "-o", "sig", "-t", "ticket", "digest")
    tpm2(*hashing, made)
    tpm2.refused(*signing)
    tpm2(*hashing, tpm2.write("harmless", b"harmless"))
    tpm2(*signing)


def test_certify(tpm2: Client) -> None:
    parent = tpm2.primary()
    subject = tpm2.key(parent, "ecc256", name="subject")
    signer = tpm2.key(parent, "ecc256", name="signer")
    given = ("-c", subject, "-C", signer, "-g", "sha256", "-f", "plain")
    tpm2("certify", *given, "-o", "attest", "-s", "sig")
    tpm2("readpublic", "-c", subject, "-n", "name")
    assert tpm2.read("name") in tpm2.read("attest")
    tpm2.verified(signer, "sig", tpm2.read("attest"))


def test_certifycreation(tpm2: Client) -> None:
    tpm2(*("createprimary", "-C", "o", "-G", "ecc", "-c", "p.ctx"), *("-d", "hash", "-t", "ticket"))
    signer = tpm2.key("p.ctx", "ecc256", name="signer")
    given = ("-C", signer, "-c", "p.ctx", "-d", "hash", "-g", "sha256", "-s", "ecdsa")
    files = ("-f", "plain", "-o", "sig", "--attestation", "attest")
    tpm2("certifycreation", *given, "-t", "ticket", *files)
    assert tpm2.read("hash")[-32:] in tpm2.read("attest")
    tpm2.verified(signer, "sig", tpm2.read("attest"))
    ticket = tpm2.read("ticket")
    tpm2.write("ticket", ticket[:-1] + bytes([ticket[-1] ^ 1]))
    assert "ticket" in tpm2.refused("certifycreation", *given, "-t", "ticket", *files)


def test_gettime(tpm2: Client) -> None:
    signer = tpm2.key(tpm2.primary(), "ecc256")
    files = ("-f", "plain", "-o", "sig", "--attestation", "attest")
    tpm2("gettime", "-c", signer, "-g", "sha256", "-s", "ecdsa", "-q", NONCE, *files)
    assert tpm2.read("attest")[:6] == b"\xffTCG\x80\x19"
    assert bytes.fromhex(NONCE) in tpm2.read("attest")
    tpm2.verified(signer, "sig", tpm2.read("attest"))


def test_the_audit_of_a_session(tpm2: Client) -> None:
    """The digest follows from the digests of the command's parameters and of the response's."""
    signer = tpm2.key(tpm2.primary(), "ecc256")
    tpm2("startauthsession", "--audit-session", "-S", "audit.session")
    tpm2(
        *("getrandom", "-S", "audit.session", "-o", "random"),
        *("--cphash", "cp", "--rphash", "rp"),
        "8",
    )
    given = ("-c", signer, "-g", "sha256", "-s", "sig", "-m", "attest", "-S", "audit.session")
    tpm2("getsessionauditdigest", *given)
    digest = hashlib.sha256(bytes(32) + tpm2.read("cp")[-32:] + tpm2.read("rp")[-32:]).digest()
    assert tpm2.read("attest").endswith(digest)


def test_the_audit_of_commands(tpm2: Client) -> None:
    signer = tpm2.key(tpm2.primary(), "ecc256")
    given = ("-c", signer, "-g", "sha256", "-s", "sig", "-m", "attest")
    tpm2("setcommandauditstatus", "TPM2_CC_GetRandom")
    try:
        tpm2("getcommandauditdigest", *given)
        tpm2("getrandom", "8", "-o", "random")
        tpm2("getcommandauditdigest", *given)
    finally:
        tpm2("setcommandauditstatus", "--clear-list", "TPM2_CC_GetRandom")
    assert tpm2.read("attest")[:6] == b"\xffTCG\x80\x15"


def test_a_credential_is_for_one_key_in_one_tpm(tpm2: Client) -> None:
    context = attestation_key(tpm2)
    name = tpm2.read("ak.name").hex()
    making = ("-u", "ek.pub", "-s", tpm2.write("secret", b"a secret"), "-o", "credential")
    tpm2("makecredential", *making, "-n", name)
    activating = ("-c", context, "-C", "ek.ctx", "-i", "credential", "-o", "found")
    endorsed = ("policysecret", "-c", "e")
    tpm2("activatecredential", *activating, "-P", tpm2.session(endorsed))
    assert tpm2.read("found") == b"a secret"
    other = name[:-2] + f"{int(name[-2:], 16) ^ 1:02x}"
    tpm2("makecredential", *making, "-n", other)
    tpm2("flushcontext", "policy.session")
    refusal = tpm2.refused("activatecredential", *activating, "-P", tpm2.session(endorsed))
    assert "integrity" in refusal


def test_a_key_is_duplicated_to_another_parent(tpm2: Client) -> None:
    old, new = tpm2.primary(name="old.ctx"), tpm2.primary(hierarchy="n", name="new.ctx")
    command = ("policycommandcode", "TPM2_CC_Duplicate")
    free = ("-L", tpm2.policy(command), "-a", "sensitivedataorigin|userwithauth|sign|decrypt")
    key = tpm2.key(old, "ecc256", *free)
    inner = ("-G", "aes", "-o", "inner")
    files = ("-r", "dup", "-s", "seed")
    tpm2("duplicate", "-C", new, "-c", key, *inner, *files, "-p", tpm2.session(command))
    parts = ("-u", "key.pub", "-r", "moved.priv")
    tpm2(
        "import",
        "-C",
        new,
        "-u",
        "key.pub",
        "-i",
        "dup",
        "-r",
        "moved.priv",
        "-s",
        "seed",
        "-k",
        "inner",
    )
    tpm2("load", "-C", new, *parts, "-c", "moved.ctx")
    tpm2(
        "sign", "-c", "moved.ctx", "-g", "sha256", "-f", "plain", "-o", "sig", tpm2.write("m", b"m")
    )
    tpm2.verified(key, "sig", b"m")


def test_a_key_that_is_fixed_is_not_duplicated(tpm2: Client) -> None:
    parent, new = tpm2.primary(), tpm2.primary(hierarchy="n", name="new.ctx")
    key = tpm2.key(parent, "ecc256", "-L", tpm2.policy(("policycommandcode", "TPM2_CC_Duplicate")))
    session = tpm2.session(("policycommandcode", "TPM2_CC_Duplicate"))
    given = ("-C", new, "-c", key, "-G", "null", "-r", "dup", "-s", "seed", "-p", session)
    assert "attributes" in tpm2.refused("duplicate", *given)
