"""NV Indices of each type, their locks, policies and certificates."""

from __future__ import annotations

import hashlib

import pytest

from tests.conformance.tpm2.conftest import Client

INDEX = "0x01500001"
RIGHTS = "ownerread|ownerwrite|authread|authwrite"


def define(tpm2: Client, *more: str, attributes: str = RIGHTS) -> None:
    tpm2("nvdefine", "-C", "o", "-a", attributes, *more, INDEX)


def test_an_ordinary_index_holds_what_was_written(tpm2: Client) -> None:
    define(tpm2, "-s", "2000")
    data = bytes(range(250)) * 8
    tpm2("nvwrite", "-C", "o", "-i", tpm2.write("data", data), INDEX)
    assert tpm2("nvread", "-C", "o", INDEX) == data
    tpm2("nvwrite", "-C", "o", "--offset", "10", "-i", tpm2.write("part", b"part"), INDEX)
    assert tpm2("nvread", "-C", "o", "--offset", "9", "-s", "6", INDEX) == b"\x09part\x0e"


def test_an_index_is_gone_once_undefined(tpm2: Client) -> None:
    define(tpm2, "-s", "8")
    assert b"0x1500001" in tpm2("nvreadpublic", INDEX)
    tpm2("nvundefine", "-C", "o", INDEX)
    assert "handle" in tpm2.refused("nvreadpublic", INDEX)
    assert tpm2("getcap", "handles-nv-index") == b""


def test_what_was_never_written_is_not_read(tpm2: Client) -> None:
    define(tpm2, "-s", "8")
    assert "initialized" in tpm2.refused("nvread", "-C", "o", INDEX)


def test_an_index_has_a_password(tpm2: Client) -> None:
    define(tpm2, "-s", "4", "-p", "secret")
    tpm2("nvwrite", "-C", INDEX, "-P", "secret", "-i", tpm2.write("d", b"data"), INDEX)
    tpm2.refused("nvread", "-C", INDEX, "-P", "wrong", INDEX)
    assert tpm2("nvread", "-C", INDEX, "-P", "secret", INDEX) == b"data"


def test_changeauth_of_an_index(tpm2: Client) -> None:
    """The index's ADMIN role is its policy, which allows this one command."""
    policy = tpm2.policy(("policycommandcode", "TPM2_CC_NV_ChangeAuth"))
    define(tpm2, "-s", "4", "-L", policy, "-p", "old")
    tpm2("nvwrite", "-C", INDEX, "-P", "old", "-i", tpm2.write("d", b"data"), INDEX)
    session = tpm2.session(("policycommandcode", "TPM2_CC_NV_ChangeAuth"))
    tpm2("changeauth", "-c", INDEX, "-p", session, "new")
    assert tpm2("nvread", "-C", INDEX, "-P", "new", INDEX) == b"data"


def test_a_counter_counts_up(tpm2: Client) -> None:
    define(tpm2, attributes=f"{RIGHTS}|nt=counter")
    values = []
    for _ in range(3):
        tpm2("nvincrement", "-C", "o", INDEX)
        values.append(int.from_bytes(tpm2("nvread", "-C", "o", INDEX), "big"))
    assert values == [values[0] + i for i in range(3)]
    tpm2.refused("nvwrite", "-C", "o", "-i", tpm2.write("d", bytes(8)), INDEX)


def test_a_counter_made_again_does_not_go_back(tpm2: Client) -> None:
    values = []
    for _ in range(2):
        define(tpm2, attributes=f"{RIGHTS}|nt=counter")
        tpm2("nvincrement", "-C", "o", INDEX)
        tpm2("nvincrement", "-C", "o", INDEX)
        values.append(int.from_bytes(tpm2("nvread", "-C", "o", INDEX), "big"))
        tpm2("nvundefine", "-C", "o", INDEX)
    assert values[1] > values[0]


def test_bits_are_set_and_stay_set(tpm2: Client) -> None:
    define(tpm2, attributes=f"{RIGHTS}|nt=bits")
    for bits in ("0x5", "0x18"):
        tpm2("nvsetbits", "-C", "o", "-i", bits, INDEX)
    assert int.from_bytes(tpm2("nvread", "-C", "o", INDEX), "big") == 0x1D


def test_an_index_that_is_extended(tpm2: Client) -> None:
    define(tpm2, "-g", "sha256", attributes=f"{RIGHTS}|nt=extend")
    expected = bytes(32)
    for event in (b"one", b"two"):
        tpm2("nvextend", "-C", "o", "-i", tpm2.write("event", event), INDEX)
        expected = hashlib.sha256(expected + event).digest()
    assert tpm2("nvread", "-C", "o", INDEX) == expected


def test_the_pin_of_a_fail_index_is_tried_so_often(tpm2: Client) -> None:
    attributes = "ownerread|ownerwrite|authread|no_da|nt=pinfail"
    define(tpm2, "-p", "pin", attributes=attributes)
    tpm2("nvwrite", "-C", "o", "-i", tpm2.write("d", bytes([0, 0, 0, 0, 0, 0, 0, 2])), INDEX)
    for _ in range(2):
        tpm2.refused("nvread", "-C", INDEX, "-P", "wrong", INDEX)
    assert tpm2("nvread", "-C", "o", INDEX) == bytes([0, 0, 0, 2, 0, 0, 0, 2])
    tpm2.refused("nvread", "-C", INDEX, "-P", "pin", INDEX)


@pytest.mark.parametrize("right", ["write", "read"])
def test_a_lock_holds_until_the_tpm_starts_again(tpm2: Client, right: str) -> None:
    define(tpm2, "-s", "4", attributes=f"{RIGHTS}|{right}_stclear")
    tpm2("nvwrite", "-C", "o", "-i", tpm2.write("d", b"data"), INDEX)
    tpm2(f"nv{right}lock", "-C", "o", INDEX)
    file = ("-i", "d") if right == "write" else ()
    assert "locked" in tpm2.refused(f"nv{right}", "-C", "o", *file, INDEX)


def test_all_indices_are_locked_at_once(tpm2: Client) -> None:
    define(tpm2, "-s", "4", attributes=f"{RIGHTS}|globallock")
    tpm2("nvwrite", "-C", "o", "-i", tpm2.write("d", b"data"), INDEX)
    tpm2("nvwritelock", "-C", "o", "--global")
    assert "locked" in tpm2.refused("nvwrite", "-C", "o", "-i", "d", INDEX)


def test_writing_under_a_policy(tpm2: Client) -> None:
    """An index that can be written once: its policy asks that it is not written yet."""
    command = ("policynvwritten", "c")
    policy = tpm2.policy(command)
    define(tpm2, "-s", "4", "-L", policy, attributes="ownerread|policywrite|authread")
    tpm2("nvwrite", "-C", INDEX, "-P", tpm2.session(command), "-i", tpm2.write("d", b"once"), INDEX)
    tpm2("flushcontext", "policy.session")
    tpm2.refused("nvwrite", "-C", INDEX, "-P", tpm2.session(command), "-i", "d", INDEX)
    assert tpm2("nvread", "-C", "o", INDEX) == b"once"


def test_platform_and_owner_have_their_own(tpm2: Client) -> None:
    attributes = "ppread|ppwrite|platformcreate|authread"
    tpm2("nvdefine", "-C", "p", "-s", "4", "-a", attributes, "0x01c10001")
    try:
        tpm2("nvwrite", "-C", "p", "-i", tpm2.write("d", b"data"), "0x01c10001")
        tpm2.refused("nvwrite", "-C", "o", "-i", "d", "0x01c10001")
        tpm2("clear", "-c", "p")
        assert tpm2("nvread", "-C", "p", "0x01c10001") == b"data"
    finally:
        tpm2("nvundefine", "-C", "p", "0x01c10001")


def test_clear_takes_the_owners_indices(tpm2: Client) -> None:
    define(tpm2, "-s", "4")
    tpm2("clear", "-c", "p")
    assert tpm2("getcap", "handles-nv-index") == b""


def test_nvcertify(tpm2: Client) -> None:
    define(tpm2, "-s", "4")
    tpm2("nvwrite", "-C", "o", "-i", tpm2.write("d", b"data"), INDEX)
    key = tpm2.key(tpm2.primary(), "ecc256")
    files = ("-o", "sig", "--attestation", "attest")
    signing = ("-C", key, "-g", "sha256", "-f", "plain", "-s", "ecdsa")
    tpm2("nvcertify", *signing, "-c", "o", "--size", "4", *files, INDEX)
    assert tpm2.read("attest").endswith(b"\x00\x00\x00\x04data")
    tpm2.verified(key, "sig", tpm2.read("attest"))
