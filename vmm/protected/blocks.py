"""The cryptography of one block: AES-256 in XTS mode (IEEE 1619), and a keyed BLAKE2b (RFC 7693).

The block's number is the tweak of the one and goes into the other, so that a block is only right in
its own place.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from vmm.protected.geometry import CODE

Buffer = bytes | bytearray | memoryview
"""A block."""


class Blocks:
    """What is done to blocks on their way to a disk and back."""

    def __init__(self, secret: bytes, encrypt: bool) -> None:
        self._encrypt = AES(_derive(secret, b"encrypt", 64)) if encrypt else None
        self._code = _derive(secret, b"authenticate", 32)

    def code(self, block: int, stored: Buffer) -> bytes:
        """What only this content in this place has."""
        salt = block.to_bytes(16, "little")
        return hashlib.blake2b(stored, digest_size=CODE, key=self._code, salt=salt).digest()

    def seal(self, block: int, plain: Buffer) -> bytes:
        """What is stored."""
        if self._encrypt is None:
            return bytes(plain)
        return Cipher(self._encrypt, XTS(block.to_bytes(16, "little"))).encryptor().update(plain)

    def unseal(self, block: int, stored: Buffer) -> Buffer:
        """What was meant."""
        if self._encrypt is None:
            return stored
        return Cipher(self._encrypt, XTS(block.to_bytes(16, "little"))).decryptor().update(stored)


def _derive(secret: bytes, purpose: bytes, size: int) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869); the secret is random already."""
    found, last, number = b"", b"", 1
    while len(found) < size:
        last = hmac.digest(secret, last + b"cloister disk " + purpose + bytes([number]), "sha256")
        found, number = found + last, number + 1
    return found[:size]
