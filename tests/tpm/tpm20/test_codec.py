"""Marshalling: round trips, and the code of part 2 for what is wrong."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import pytest

from tests.tpm.tpm20.client import aes_key, b2, ecc_storage, hmac_key, rsa_storage, sealed, u16, u32
from tpm.tpm20 import structures as t
from tpm.tpm20.codec import U8, U16, Union, buffer, codec, decode, encode, nothing
from tpm.tpm20.constants import ALG, RC, TpmError

PUBLICS = [rsa_storage(), ecc_storage(), sealed(), hmac_key(), aes_key()]


@pytest.mark.parametrize("octets", PUBLICS)
def test_public_areas_round_trip(octets: bytes) -> None:
    assert encode(t.Public, decode(t.Public, octets)) == octets
    assert encode(t.Public2B, decode(t.Public2B, b2(octets))) == b2(octets)


@pytest.mark.parametrize("octets", PUBLICS)
def test_a_cut_structure_is_insufficient(octets: bytes) -> None:
    for size in range(len(octets)):
        with pytest.raises(TpmError) as caught:
            decode(t.Public, octets[:size])
        assert caught.value.code == RC.INSUFFICIENT


@pytest.mark.parametrize(
    ("declared", "octets", "error"),
    [
        (t.AlgHash, u16(ALG.NULL), RC.HASH),
        (t.AlgHashNull, u16(0x99), RC.HASH),
        (t.AlgPublic, u16(ALG.SHA1), RC.TYPE),
        (t.AlgSymObject, u16(ALG.XOR), RC.SYMMETRIC),
        (t.AlgSymModeNull, u16(1), RC.MODE),
        (t.AlgKdf, u16(1), RC.KDF),
        (t.AlgSigSchemeNull, u16(ALG.OAEP), RC.SCHEME),
        (t.AlgRsaSchemeNull, u16(ALG.ECDSA), RC.VALUE),
        (t.AlgEccSchemeNull, u16(ALG.RSASSA), RC.SCHEME),
        (t.AlgKeyedHashNull, u16(ALG.RSASSA), RC.VALUE),
        (t.EccCurve, u16(0x99), RC.CURVE),
        (t.RsaKeyBits, u16(2047), RC.VALUE),
        (t.YesNo, b"\2", RC.VALUE),
        (t.DhObject, u32(0), RC.VALUE),
        (t.DhObject, u32(0x80000003), RC.VALUE),
        (t.ObjectAttributes, u32(1), RC.RESERVED_BITS),
        (t.ObjectAttributes, u32(0x80000000), RC.RESERVED_BITS),
        (t.NvAttributes, u32(0x00100000), RC.RESERVED_BITS),
        (t.Digest, u16(65) + bytes(65), RC.SIZE),
        (t.Digest, u16(64) + bytes(63), RC.INSUFFICIENT),
        (t.PcrSelect, b"\2\0\0", RC.VALUE),
        (t.PcrSelect, b"\3\0\0", RC.INSUFFICIENT),
        (t.PolicyOrList, u32(1) + b2(b""), RC.SIZE),
        (t.DigestValues, u32(5), RC.SIZE),
        (t.TkCreation, u16(0x8022) + u32(0x40000007) + b2(b""), RC.TAG),
        (t.TkCreation, u16(0x8021) + u32(0x40000009) + b2(b""), RC.VALUE),
        (t.SensitiveCreate2B, u16(0), RC.SIZE),
        (t.SensitiveCreate2B, u16(5) + b2(b"") * 2, RC.SIZE),
        (t.SensitiveCreate2B, u16(3) + b2(b"") * 2, RC.SIZE),
        (t.Public2B, u16(0), RC.SIZE),
        (t.Uint8, b"\0\0", RC.SIZE),
    ],
)
def test_the_code_names_the_fault(declared: object, octets: bytes, error: int) -> None:
    with pytest.raises(TpmError) as caught:
        decode(declared, octets)
    assert hex(caught.value.code) == hex(error)


def test_an_empty_sensitive_area_is_none() -> None:
    assert decode(t.Sensitive2B, u16(0)) is None
    assert encode(t.Sensitive2B, None) == u16(0)


def test_schemes_without_a_hash_take_no_octets_for_it() -> None:
    null = decode(t.SigScheme, u16(ALG.NULL))
    assert null == t.NO_SCHEME
    assert encode(t.SigScheme, null) == u16(ALG.NULL)
    ecdaa = u16(ALG.ECDAA) + u16(ALG.SHA256) + u16(7)
    assert decode(t.SigScheme, ecdaa).commit_count == 7
    assert encode(t.SigScheme, decode(t.SigScheme, ecdaa)) == ecdaa


class Sample(NamedTuple):
    kind: Annotated[int, U8]
    content: Annotated[object, Union("kind", {1: U16, 2: buffer(4), 3: nothing(None)})]


@pytest.mark.parametrize(
    ("value", "octets"),
    [((1, 0x1234), b"\1\x12\x34"), ((2, b"abc"), b"\2\0\3abc"), ((3, None), b"\3")],
)
def test_a_union_follows_its_selector(value: tuple[int, object], octets: bytes) -> None:
    assert decode(Sample, octets) == value
    assert isinstance(decode(Sample, octets), Sample)
    assert encode(Sample, Sample(*value)) == octets


def test_an_unknown_selector_is_a_selector_error() -> None:
    with pytest.raises(TpmError) as caught:
        decode(Sample, b"\4")
    assert caught.value.code == RC.SELECTOR


def test_every_declared_type_has_a_codec() -> None:
    for name, declared in vars(t).items():
        if name[0].isupper() and getattr(declared, "__metadata__", None):
            found = codec(declared)
            assert callable(found.read), name
            assert callable(found.write), name
