"""State blobs that leave for another host, encrypted under a key that both have.

16  salt    12  nonce    AES-256-GCM of the blob, the salt and the magic authenticated with it
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tpm.interface import TpmError
from tpm.store.journal import Key

MAGIC: Final = b"cloister tpm blob 1"
_SALT, _NONCE, _TAG = 16, 12, 16


class BlobKey:
    """The migration key."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._salt = os.urandom(_SALT)
        self._cipher: AESGCM | None = None

    def _for(self, salt: bytes) -> AESGCM:
        return AESGCM(self._key if isinstance(self._key, bytes) else self._key(salt))

    def seal(self, blob: bytes) -> bytes:
        if self._cipher is None:
            self._cipher = self._for(self._salt)
        nonce = os.urandom(_NONCE)
        return self._salt + nonce + self._cipher.encrypt(nonce, blob, MAGIC + self._salt)

    def unseal(self, data: bytes) -> bytes:
        """Raises ``TpmError`` if it is no blob, or was encrypted under another key."""
        salt, nonce = data[:_SALT], data[_SALT : _SALT + _NONCE]
        if len(data) < _SALT + _NONCE + _TAG:
            raise TpmError("the encrypted state blob is too short")
        try:
            return self._for(salt).decrypt(nonce, data[_SALT + _NONCE :], MAGIC + salt)
        except InvalidTag:
            raise TpmError("the state blob was encrypted under another key") from None
