"""The endorsement keys of the profile: templates, policies and places (sections 2.2 and B).

Templates of the low range (L) have a policy alone and a unique field of zeros; those of the high
range (H) can be used with an authValue too, have policy B, and an empty unique field.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tpm.tpm20.codec import encode
from tpm.tpm20.constants import ALG, CC, ECC, RH, TPMA_NV, TPMA_OBJECT
from tpm.tpm20.crypto import digest
from tpm.tpm20.structures import (
    DIGEST_SIZE,
    NO_SCHEME,
    NO_SYMMETRIC,
    EccParms,
    EccPoint,
    NvPublic,
    Public,
    RsaParms,
    SymDefObject,
)


def policy_a(hash_alg: int) -> bytes:
    """PolicySecret of the endorsement hierarchy (B.6.2)."""
    first = _extended(hash_alg, CC.PolicySecret, RH.ENDORSEMENT.to_bytes(4, "big"))
    return digest(hash_alg, first)  # policyRef is empty


POLICY_INDICES: Final = {ALG.SHA256: 0x01C07F01, ALG.SHA384: 0x01C07F02, ALG.SHA512: 0x01C07F03}
"""Where an owner may keep a policy of their own for the high range (B.6.3)."""
_POLICY_INDEX_BITS: Final = (
    TPMA_NV.POLICYWRITE
    | TPMA_NV.WRITEALL
    | TPMA_NV.PPREAD
    | TPMA_NV.OWNERREAD
    | TPMA_NV.AUTHREAD
    | TPMA_NV.POLICYREAD
    | TPMA_NV.NO_DA
    | TPMA_NV.WRITTEN
)


def policy_b(hash_alg: int) -> bytes:
    """Policy A, or what the owner has written into the policy's Index (B.6.5)."""
    first = policy_a(hash_alg)
    index = POLICY_INDICES[hash_alg]
    size = 2 + DIGEST_SIZE[hash_alg]
    public = encode(NvPublic, NvPublic(index, hash_alg, _POLICY_INDEX_BITS, first, size))
    name = hash_alg.to_bytes(2, "big") + digest(hash_alg, public)
    policy_c = _extended(hash_alg, CC.PolicyAuthorizeNV, name)
    return _extended(hash_alg, CC.PolicyOR, first + policy_c)


def _extended(hash_alg: int, code: int, content: bytes) -> bytes:
    """The policy digest after one command."""
    return digest(hash_alg, bytes(DIGEST_SIZE[hash_alg]) + code.to_bytes(4, "big") + content)


class EndorsementKey(NamedTuple):
    """A row of the profile's tables."""

    name: str
    template: str
    """What the profile calls it."""
    public: Public
    """The template for TPM2_CreatePrimary."""
    certificate_index: int
    template_index: int
    handle: int
    """Where the key is made persistent."""

    @property
    def is_rsa(self) -> bool:
        return bool(self.public.type == ALG.RSA)

    def signing(self, decrypts: bool) -> EndorsementKey:
        """The key that signs what it is given, and decrypts too if so wanted.

        That is not a template of the profile: it is written into an Index for templates.
        """
        attributes = self.public.attributes & ~TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.SIGN
        if not decrypts:
            attributes &= ~TPMA_OBJECT.DECRYPT
        parameters = self.public.parameters._replace(symmetric=NO_SYMMETRIC)
        return self._replace(
            template="", public=self.public._replace(attributes=attributes, parameters=parameters)
        )


_LOW: Final = (
    TPMA_OBJECT.FIXED_TPM
    | TPMA_OBJECT.FIXED_PARENT
    | TPMA_OBJECT.SENSITIVE_DATA_ORIGIN
    | TPMA_OBJECT.ADMIN_WITH_POLICY
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)
_HIGH: Final = _LOW | TPMA_OBJECT.USER_WITH_AUTH
_AES_BITS: Final = {ALG.SHA256: 128, ALG.SHA384: 256, ALG.SHA512: 256}
_FIRST_HANDLE: Final = 0x81010000
_HANDLES: Final = {0x01C00002: 0x81010001}
"""Persistent handles by the certificate's Index, if they do not end as it does."""


def _key(
    name: str, template: str, hash_alg: int, index: int, *, bits: int = 0, curve: int = 0
) -> EndorsementKey:
    low = template.startswith("L")
    zeros = bytes(bits // 8 if bits else 32) if low else b""
    symmetric = SymDefObject(ALG.AES, _AES_BITS[hash_alg], ALG.CFB)
    parameters: RsaParms | EccParms
    unique: bytes | EccPoint
    if bits:
        kind, unique = ALG.RSA, zeros
        parameters = RsaParms(symmetric, NO_SCHEME, bits, 0)
    else:
        kind, unique = ALG.ECC, EccPoint(zeros, zeros)
        parameters = EccParms(symmetric, NO_SCHEME, curve, NO_SCHEME)
    attributes, policy = (_LOW, policy_a(hash_alg)) if low else (_HIGH, policy_b(hash_alg))
    return EndorsementKey(
        name,
        template,
        Public(kind, hash_alg, attributes, policy, parameters, unique),
        certificate_index=index,
        template_index=index + 2 if low else index + 1,
        handle=_HANDLES.get(index, _FIRST_HANDLE + (index & 0xFF)),
    )


KEYS: Final = {
    key.name: key
    for key in (
        _key("rsa2048", "L-1", ALG.SHA256, 0x01C00002, bits=2048),
        _key("ecc256", "L-2", ALG.SHA256, 0x01C0000A, curve=ECC.NIST_P256),
        _key("rsa2048-high", "H-1", ALG.SHA256, 0x01C00012, bits=2048),
        _key("ecc256-high", "H-2", ALG.SHA256, 0x01C00014, curve=ECC.NIST_P256),
        _key("ecc384", "H-3", ALG.SHA384, 0x01C00016, curve=ECC.NIST_P384),
        _key("ecc521", "H-4", ALG.SHA512, 0x01C00018, curve=ECC.NIST_P521),
        _key("rsa3072", "H-6", ALG.SHA384, 0x01C0001C, bits=3072),
    )
}
"""Those of the profile that this TPM has algorithms for."""
USUAL: Final = ("rsa2048", "ecc256", "ecc384")
"""What verifiers look for."""
INDEX_BITS: Final = (
    TPMA_NV.PPWRITE
    | TPMA_NV.WRITEDEFINE
    | TPMA_NV.PPREAD
    | TPMA_NV.OWNERREAD
    | TPMA_NV.AUTHREAD
    | TPMA_NV.NO_DA
    | TPMA_NV.PLATFORMCREATE
)
"""Anybody may read the Indices; once locked, nobody may write them again."""
