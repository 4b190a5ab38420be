"""A VNC password: the client proves that it knows it (RFC 6143, 7.2.2).

The cipher is DES with the bits of each of the key's octets turned around; a password has eight
octets.  It is what clients speak and no more than a lock on a door inside the house.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, modes

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # before version 43
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

LENGTH: Final = 8


def answer(password: bytes, challenge: bytes) -> bytes:
    """What a client that knows the password answers to a challenge."""
    padded = password[:LENGTH].ljust(LENGTH, b"\0")
    key = bytes(int(f"{octet:08b}"[::-1], 2) for octet in padded)
    algorithm: Any = TripleDES(key * 3)  # which with three equal keys is DES
    encryptor = Cipher(algorithm, modes.ECB()).encryptor()
    return bytes(encryptor.update(challenge) + encryptor.finalize())
