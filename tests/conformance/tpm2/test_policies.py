"""Sealed data under policies: what satisfies the policy opens it, what does not is refused."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.conformance.tpm2.conftest import Client

SECRET = b"thirty-two octets that are sealed"
PCRS = "sha256:16"


def seal(tpm2: Client, *more: str) -> str:
    """Sealed data; its context."""
    parent = tpm2.primary()
    parts = ("-u", "seal.pub", "-r", "seal.priv")
    data = tpm2.write("secret", SECRET)
    tpm2("create", "-Q", "-C", parent, *parts, "-i", data, *more)
    tpm2("load", "-Q", "-C", parent, *parts, "-c", "seal.ctx")
    return "seal.ctx"


def test_sealed_data_comes_back(tpm2: Client) -> None:
    assert tpm2("unseal", "-c", seal(tpm2)) == SECRET


def test_sealed_data_with_a_password(tpm2: Client) -> None:
    context = seal(tpm2, "-p", "hex:001122")
    assert tpm2("unseal", "-c", context, "-p", "hex:001122") == SECRET
    assert "auth" in tpm2.refused("unseal", "-c", context, "-p", "hex:001123")


def test_an_hmac_session_authorizes(tpm2: Client) -> None:
    context = seal(tpm2, "-p", "secret")
    tpm2("startauthsession", "--hmac-session", "-S", "h.session")
    assert tpm2("unseal", "-c", context, "-p", "session:h.session+secret") == SECRET
    tpm2.refused("unseal", "-c", context, "-p", "session:h.session+wrong")


def test_policy_pcr(tpm2: Client) -> None:
    tpm2("pcrreset", "16")
    command = ("policypcr", "-l", PCRS)
    context = seal(tpm2, "-L", tpm2.policy(command))
    assert tpm2("unseal", "-c", context, "-p", f"pcr:{PCRS}") == SECRET
    tpm2("pcrextend", "16:sha256=" + "11" * 32)
    assert "policy" in tpm2.refused("unseal", "-c", context, "-p", f"pcr:{PCRS}")


def test_a_pcr_that_changes_after_the_policy_command(tpm2: Client) -> None:
    """PCR 10 counts in the update counter that the session remembers; PCR 16 does not."""
    command = ("policypcr", "-l", "sha256:10")
    context = seal(tpm2, "-L", tpm2.policy(command))
    session = tpm2.session(command)
    tpm2("pcrextend", "10:sha256=" + "22" * 32)
    assert "PCR have changed" in tpm2.refused("unseal", "-c", context, "-p", session)


@pytest.mark.parametrize(
    "command", [("policypassword",), ("policyauthvalue",)], ids=["password", "authvalue"]
)
def test_policies_that_ask_for_the_password(tpm2: Client, command: tuple[str, ...]) -> None:
    context = seal(tpm2, "-L", tpm2.policy(command), "-p", "secret")
    session = tpm2.session(command)
    tpm2.refused("unseal", "-c", context, "-p", f"{session}+wrong")
    tpm2("flushcontext", "policy.session")
    assert tpm2("unseal", "-c", context, "-p", f"{tpm2.session(command)}+secret") == SECRET


def test_policy_command_code(tpm2: Client) -> None:
    context = seal(tpm2, "-L", tpm2.policy(("policycommandcode", "TPM2_CC_Unseal")))
    other = tpm2.session(("policycommandcode", "TPM2_CC_Sign"))
    tpm2.refused("unseal", "-c", context, "-p", other)
    tpm2("flushcontext", "policy.session")
    session = tpm2.session(("policycommandcode", "TPM2_CC_Unseal"))
    assert tpm2("unseal", "-c", context, "-p", session) == SECRET


def test_policy_or(tpm2: Client) -> None:
    unseal, sign = (("policycommandcode", f"TPM2_CC_{name}") for name in ("Unseal", "Sign"))
    branches = [tpm2.policy(unseal, name="one.policy"), tpm2.policy(sign, name="two.policy")]
    either = ("policyor", f"sha256:{','.join(branches)}")
    context = seal(tpm2, "-L", tpm2.policy(unseal, either))
    assert tpm2("unseal", "-c", context, "-p", tpm2.session(unseal, either)) == SECRET
    tpm2("policyrestart", "-S", "policy.session")
    tpm2.refused("unseal", "-c", context, "-p", "session:policy.session")
    tpm2.refused("policyor", "-S", "policy.session", *either[1:])


def test_policy_secret(tpm2: Client) -> None:
    tpm2("changeauth", "-c", "o", "owner")
    tpm2("createprimary", "-Q", "-C", "o", "-P", "owner", "-G", "ecc", "-c", "p.ctx")
    command = ("policysecret", "-c", "o", "owner")
    files = ("-u", "s.pub", "-r", "s.priv")
    policy = tpm2.policy(command)
    tpm2("create", "-C", "p.ctx", *files, "-i", tpm2.write("s", SECRET), "-L", policy)
    tpm2("load", "-C", "p.ctx", *files, "-c", "s.ctx")
    assert tpm2("unseal", "-c", "s.ctx", "-p", tpm2.session(command)) == SECRET
    tpm2.refused("policysecret", "-S", "policy.session", "-c", "o", "wrong")


def signer(tpm2: Client) -> rsa.RSAPrivateKey:
    """A key outside the TPM, whose public part is loaded: signer.ctx, named in signer.name."""
    private = rsa.generate_private_key(65537, 2048)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, spki)
    loading = ("-C", "o", "-G", "rsa", "-u", tpm2.write("signer.pem", pem))
    tpm2("loadexternal", *loading, "-c", "signer.ctx", "-n", "signer.name")
    return private


def test_policy_signed(tpm2: Client) -> None:
    private = signer(tpm2)
    tpm2.write("sig", private.sign(bytes(4), padding.PKCS1v15(), hashes.SHA256()))
    tpm2.write("bad", private.sign(bytes(5), padding.PKCS1v15(), hashes.SHA256()))
    given = ("policysigned", "-c", "signer.ctx", "-g", "sha256", "-f", "rsassa")
    context = seal(tpm2, "-L", tpm2.policy((*given, "-s", "sig")))
    assert tpm2("unseal", "-c", context, "-p", tpm2.session((*given, "-s", "sig"))) == SECRET
    assert "signature" in tpm2.refused(*given, "-S", "policy.session", "-s", "bad")


def test_policy_authorize(tpm2: Client) -> None:
    """A policy that its signer can change later."""
    private = signer(tpm2)
    command = ("policycommandcode", "TPM2_CC_Unseal")
    approved = tpm2.policy(command, name="approved.policy")
    tpm2.write("sig", private.sign(tpm2.read(approved), padding.PKCS1v15(), hashes.SHA256()))
    verifying = ("-c", "signer.ctx", "-g", "sha256", "-f", "rsassa", "-s", "sig", "-m", approved)
    tpm2("verifysignature", *verifying, "-t", "ticket")
    by = ("policyauthorize", "-i", approved, "-n", "signer.name")
    context = seal(tpm2, "-L", tpm2.policy(by))
    session = tpm2.session(command, (*by, "-t", "ticket"))
    assert tpm2("unseal", "-c", context, "-p", session) == SECRET
    tpm2("policyrestart", "-S", "policy.session")
    tpm2.refused(*by, "-t", "ticket", "-S", "policy.session")


def test_policy_locality(tpm2: Client) -> None:
    context = seal(tpm2, "-L", tpm2.policy(("policylocality", "three")))
    session = tpm2.session(("policylocality", "three"))
    assert "locality" in tpm2.refused("unseal", "-c", context, "-p", session)


def test_policy_counter_timer(tpm2: Client) -> None:
    """No clock of a TPM that was cleared says more than an hour."""
    command = ("policycountertimer", "--ult", "clock=3600000")
    context = seal(tpm2, "-L", tpm2.policy(command))
    assert tpm2("unseal", "-c", context, "-p", tpm2.session(command)) == SECRET
    late = ("policycountertimer", "-S", "policy.session", "--ugt", "clock=3600000")
    assert "policy" in tpm2.refused(*late)


def test_policy_nv(tpm2: Client) -> None:
    """Data that opens while an NV Index says so."""
    index = "0x01500010"
    attributes = "ownerread|ownerwrite|policywrite|authread|authwrite"
    tpm2("nvdefine", "-C", "o", "-s", "1", "-a", attributes, index)
    tpm2("nvwrite", "-C", "o", "-i", tpm2.write("five", b"\x05"), index)
    command = ("policynv", "-C", "o", "-i", tpm2.write("six", b"\x06"), index, "ult")
    context = seal(tpm2, "-L", tpm2.policy(command))
    assert tpm2("unseal", "-c", context, "-p", tpm2.session(command)) == SECRET
    tpm2("nvwrite", "-C", "o", "-i", "six", index)
    assert "policy" in tpm2.refused(command[0], "-S", "policy.session", *command[1:])


def test_policy_template(tpm2: Client) -> None:
    """The owner's password is given away for one template alone."""
    tpm2("createprimary", "-C", "o", "-G", "ecc", "-c", "t.ctx", "--template-data", "template")
    digest = hashlib.sha256(tpm2.read("template")).digest()
    command = ("policytemplate", "--template-hash", tpm2.write("digest", digest))
    tpm2("setprimarypolicy", "-C", "o", "-L", tpm2.policy(command), "-g", "sha256")
    made = ("createprimary", "-C", "o", "-c", "new.ctx")
    tpm2(*made, "-P", tpm2.session(command), "-G", "ecc")
    tpm2("policyrestart", "-S", "policy.session")
    tpm2(*command, "-S", "policy.session")
    tpm2.refused(*made, "-P", "session:policy.session", "-G", "ecc384")


def test_createpolicy_and_getpolicydigest_agree(tpm2: Client) -> None:
    tpm2("createpolicy", "--policy-pcr", "-l", PCRS, "-L", "one.policy")
    tpm2.session(("policypcr", "-l", PCRS))
    tpm2("getpolicydigest", "-S", "policy.session", "-o", "two.policy")
    assert tpm2.read("one.policy") == tpm2.read("two.policy") != bytes(32)
