"""What the client of a TPM computes with keys: salts, signatures, credentials, duplicates.

All of it is about the known keys of `keys`, so that it can be computed here, on each side with
what that side gave.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from tests.tpm.differential import keys
from tests.tpm.differential.steps import Known
from tests.tpm.tpm20.client import SHA256, b2, u16, u32

_EPHEMERAL = 0x5DEECE66D


@dataclass(frozen=True)
class RsaSalt:
    """TPM2B_ENCRYPTED_SECRET of a salt for the known RSA key (part 1, B.10.2)."""

    salt: bytes = b"\x5a" * 32
    opaque: bool = True

    def resolve(self, side: Known) -> bytes:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"SECRET\0")
        return b2(keys.rsa_key().public_key().encrypt(self.salt, oaep))


@dataclass(frozen=True)
class EccSalt:
    """TPM2B_ENCRYPTED_SECRET of a salt for the known P-256 key (part 1, C.6.1)."""

    opaque: bool = True

    @property
    def salt(self) -> bytes:
        x = keys.coordinates()[0]
        z = ec.derive_private_key(_EPHEMERAL, ec.SECP256R1()).exchange(
            ec.ECDH(), keys.ecc_key().public_key()
        )
        return hashlib.sha256(u32(1) + z + b"SECRET\0" + self._point()[0] + x).digest()

    @staticmethod
    def _point() -> tuple[bytes, bytes]:
        point = ec.derive_private_key(_EPHEMERAL, ec.SECP256R1()).public_key().public_numbers()
        return point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")

    def resolve(self, side: Known) -> bytes:
        x, y = self._point()
        return b2(b2(x) + b2(y))


SALTS = (RsaSalt, EccSalt)


def rsassa(digest: bytes) -> bytes:
    """TPMT_SIGNATURE of a SHA-256 digest by the known RSA key."""
    scheme = utils.Prehashed(hashes.SHA256())
    signature = keys.rsa_key().sign(digest, padding.PKCS1v15(), scheme)
    return u16(0x14) + u16(SHA256) + b2(signature)


def ecdsa(digest: bytes) -> bytes:
    """TPMT_SIGNATURE of a SHA-256 digest by the known P-256 key."""
    scheme = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    r, s = utils.decode_dss_signature(keys.ecc_key().sign(digest, scheme))
    return u16(0x18) + u16(SHA256) + b2(r.to_bytes(32, "big")) + b2(s.to_bytes(32, "big"))


@dataclass(frozen=True)
class Authorization:
    """The signature that PolicySigned wants (part 3, 23.3)."""

    session: int
    """The step of the policy session whose nonce is signed; -1 for none."""
    expiration: bytes
    cp_hash: bytes
    policy_ref: bytes
    with_rsa: bool
    opaque: bool = True

    def resolve(self, side: Known) -> bytes:
        nonce = side.made(self.session, "nonce") or b2(b"")
        signed = nonce[2:] + self.expiration + self.cp_hash + self.policy_ref
        digest = hashlib.sha256(signed).digest()
        return rsassa(digest) if self.with_rsa else ecdsa(digest)


@dataclass(frozen=True)
class TicketOf:
    """A ticket that an earlier step gave, or the null ticket of the tag if it gave none."""

    step: int
    name: str
    tag: int
    opaque: bool = True

    def resolve(self, side: Known) -> bytes:
        return side.made(self.step, self.name) or u16(self.tag) + u32(0x40000007) + b2(b"")
