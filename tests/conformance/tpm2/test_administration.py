"""What owners and platforms do: hierarchies, lockout, clocks, PCRs, capabilities, self-tests."""

from __future__ import annotations

import hashlib

import pytest

from tests.conformance.tpm2.conftest import Client


def pcr(tpm2: Client, number: int, bank: str = "sha256") -> bytes:
    tpm2("pcrread", f"{bank}:{number}", "-o", "value")
    return tpm2.read("value")


@pytest.mark.parametrize("bank", ["sha1", "sha256", "sha384"])
def test_a_pcr_is_extended(tpm2: Client, bank: str) -> None:
    tpm2("pcrreset", "23")
    value = bytes(hashlib.new(bank).digest_size)
    assert pcr(tpm2, 23, bank) == value
    tpm2("pcrextend", f"23:{bank}=" + "5a" * len(value))
    assert pcr(tpm2, 23, bank) == hashlib.new(bank, value + b"\x5a" * len(value)).digest()


def test_an_event_is_hashed_into_every_bank(tpm2: Client) -> None:
    tpm2("pcrreset", "16")
    text = tpm2("pcrevent", "16", tpm2.write("event", b"an event")).decode()
    for bank in ("sha256", "sha384"):
        digest = hashlib.new(bank, b"an event").digest()
        assert f"{bank}: {digest.hex()}" in text
        assert pcr(tpm2, 16, bank) == hashlib.new(bank, bytes(len(digest)) + digest).digest()


def test_a_pcr_of_the_firmware_is_not_reset(tpm2: Client) -> None:
    assert "locality" in tpm2.refused("pcrreset", "0")


def test_pcrallocate_takes_effect_with_the_next_reset(tpm2: Client) -> None:
    before = tpm2("getcap", "pcrs")
    try:
        tpm2("pcrallocate", "sha1:none+sha256:all+sha384:all+sha512:none")
        assert tpm2("getcap", "pcrs") == before
    finally:
        tpm2("pcrallocate", "sha1:all+sha256:all+sha384:all+sha512:all")


def test_random_octets_differ(tpm2: Client) -> None:
    drawn = [tpm2("getrandom", "--hex", "32") for _ in range(3)]
    assert len(set(drawn)) == 3 and {len(text) for text in drawn} == {64}


def test_stirring_is_taken(tpm2: Client) -> None:
    tpm2("stirrandom", given=bytes(100))
    tpm2.refused("stirrandom", given=bytes(129))


def test_the_tpm_names_itself(tpm2: Client) -> None:
    fixed = tpm2("getcap", "properties-fixed").decode()
    assert 'value: "2.0"' in fixed.split("TPM2_PT_FAMILY_INDICATOR:")[1][:60]
    assert "TPM2_PT_MANUFACTURER" in fixed


@pytest.mark.parametrize(
    ("capability", "holds"),
    [
        ("algorithms", "ecdsa"),
        ("commands", "TPM2_CC_CreatePrimary"),
        ("properties-variable", "TPM2_PT_LOCKOUT_COUNTER"),
        ("ecc-curves", "TPM2_ECC_NIST_P256"),
        ("handles-permanent", "0x40000001"),
        ("handles-pcr", "0x17"),
        ("pcrs", "sha256"),
    ],
)
def test_capabilities(tpm2: Client, capability: str, holds: str) -> None:
    assert holds in tpm2("getcap", capability).decode()


def test_a_loaded_session_is_listed(tpm2: Client) -> None:
    assert tpm2("getcap", "handles-saved-session") == b""
    tpm2("startauthsession", "-S", "s.session")
    assert b"000000" in tpm2("getcap", "handles-saved-session")
    tpm2("flushcontext", "s.session")
    assert tpm2("getcap", "handles-saved-session") == b""


@pytest.mark.parametrize("algorithm", ["rsa2048", "ecc256", "aes128cfb", "ecc256:ecdsa", "hmac"])
def test_parameters_that_the_tpm_takes(tpm2: Client, algorithm: str) -> None:
    tpm2("testparms", algorithm)


def test_parameters_that_the_tpm_does_not_take(tpm2: Client) -> None:
    tpm2.refused("testparms", "rsa4097")
    tpm2.refused("testparms", "camellia512cfb")


def test_the_self_tests_pass(tpm2: Client) -> None:
    tpm2("selftest", "--fulltest")
    assert b"success" in tpm2("gettestresult")
    assert b"complete" in tpm2("incrementalselftest", "rsa", "ecc", "sha256")


def clock(tpm2: Client) -> int:
    """The clock's milliseconds."""
    text = tpm2("readclock").decode()
    return int(text.split("clock:")[1].split()[0])


def test_the_clock_goes_forward_alone(tpm2: Client) -> None:
    first = clock(tpm2)
    tpm2("setclock", str(first + 60_000))
    assert clock(tpm2) >= first + 60_000
    tpm2.refused("setclock", str(first))
    for rate in ("slower", "faster"):
        tpm2("clockrateadjust", *({"slower": "s", "faster": "f"}[rate],))


def test_a_hierarchys_password(tpm2: Client) -> None:
    tpm2("changeauth", "-c", "o", "new")
    made = ("createprimary", "-C", "o", "-G", "ecc", "-c", "p.ctx")
    assert "auth" in tpm2.refused(*made)
    tpm2(*made, "-P", "new")
    tpm2("clear", "-c", "p")
    tpm2(*made)


def test_clear_makes_another_owner(tpm2: Client) -> None:
    before = tpm2.read(tpm2.pem(tpm2.primary()))
    endorsement = tpm2.read(tpm2.pem(tpm2.primary(hierarchy="e", name="e.ctx")))
    tpm2("clear", "-c", "l")
    assert tpm2.read(tpm2.pem(tpm2.primary())) != before
    assert tpm2.read(tpm2.pem(tpm2.primary(hierarchy="e", name="e.ctx"))) == endorsement


def test_clearing_can_be_forbidden(tpm2: Client) -> None:
    tpm2("clearcontrol", "-C", "l", "s")
    assert "disabled" in tpm2.refused("clear", "-c", "l")
    tpm2.refused("clearcontrol", "-C", "l", "c")
    tpm2("clearcontrol", "-C", "p", "c")
    tpm2("clear", "-c", "l")


def test_a_hierarchy_is_switched_off_and_on(tpm2: Client) -> None:
    tpm2("hierarchycontrol", "-C", "o", "shEnable", "clear")
    assert "hierarchy" in tpm2.refused("createprimary", "-C", "o", "-G", "ecc", "-c", "p.ctx")
    tpm2("hierarchycontrol", "-C", "p", "shEnable", "set")
    tpm2.primary()


@pytest.mark.parametrize(("tool", "hierarchy"), [("changeeps", "e"), ("changepps", "p")])
def test_a_new_seed_makes_new_keys(tpm2: Client, tool: str, hierarchy: str) -> None:
    before = tpm2.read(tpm2.pem(tpm2.primary(hierarchy=hierarchy)))
    tpm2(tool)
    assert tpm2.read(tpm2.pem(tpm2.primary(hierarchy=hierarchy))) != before


def test_a_dictionary_attack_locks_out(tpm2: Client) -> None:
    """Two failures are allowed; then the right password is refused too, until a reset."""
    key = tpm2.key(tpm2.primary(), "ecc256", "-p", "secret")
    tpm2("dictionarylockout", "-s", "-n", "2", "-t", "1000", "-l", "1000")
    sign = ("sign", "-c", key, "-g", "sha256", "-o", "sig", tpm2.write("m", b"m"), "-p")
    for _ in range(2):
        tpm2.refused(*sign, "wrong")
    assert "lockout" in tpm2.refused(*sign, "secret")
    assert b"inLockout:                 1" in tpm2("getcap", "properties-variable")
    tpm2("dictionarylockout", "-c")
    tpm2(*sign, "secret")


def test_a_raw_command(tpm2: Client) -> None:
    command = tpm2.write("command", bytes.fromhex("8001 0000000c 0000017b 0008"))
    tpm2("send", "-o", "answer", command)
    answer = tpm2.read("answer")
    assert answer[:12] == bytes.fromhex("8001 00000014 00000000 0008") and len(answer) == 20


def test_shutdown_and_startup_again(tpm2: Client) -> None:
    tpm2("shutdown", "-c")
    tpm2("startup", "-c")
    tpm2.primary()


def test_an_endorsement_certificate_is_read_from_nv(tpm2: Client) -> None:
    """The tool takes the certificate from the index that the profile has for it."""
    certificate = bytes.fromhex("3082000a") + b"a certificate"
    index, rights = "0x01c00002", "ppread|ppwrite|authread|ownerread|platformcreate|no_da"
    tpm2("nvdefine", "-C", "p", "-s", str(len(certificate)), "-a", rights, index)
    try:
        tpm2("nvwrite", "-C", "p", "-i", tpm2.write("c", certificate), index)
        tpm2("getekcertificate", "-o", "rsa")
        assert tpm2.read("rsa") == certificate
    finally:
        tpm2("nvundefine", "-C", "p", index)
