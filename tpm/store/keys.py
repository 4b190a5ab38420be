"""Where the key comes from under which a TPM's state is encrypted.

A key that lies beside what it encrypts protects nothing from who reads both; a state that cannot be
read without somebody typing something cannot start by itself.  So:

* Whoever has a place for it, a key server, a TPM, a token, or just another file system, hands the
  key in: as a file (``key_file``) or a password (``password_file``).  The file may be removed once
  it is read.
* Without any, a random key is made in the state's folder, readable by its owner alone.  It keeps
  the state confidential where only the state file gets out (a backup of ``*.state``, a disk image
  with the key elsewhere), and makes any change of it evident.  ``serve`` says so once, when it is
  made.
* An instance in a system gets its key as a device of its own, never together with other secrets;
  the vTPM manager puts keys there that it unseals from the platform's TPM.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Final, Literal

from tpm.store.files import Folder, open_file
from tpm.store.journal import Key, StoreError

KEY_SIZE: Final = 32
LARGEST: Final = 4096
"""Bytes of a key or password file at most."""
_SCRYPT: Final = {"n": 1 << 14, "r": 8, "p": 1}
_PBKDF2_ROUNDS: Final = 200_000

Format = Literal["hex", "binary"]
Kdf = Literal["scrypt", "pbkdf2", "sha512"]


def parse_key(data: bytes, form: Format = "hex") -> bytes:
    """A key of 16 or 32 bytes from a file's contents; raises ``StoreError``."""
    if form == "hex":
        try:
            data = bytes.fromhex(data.decode("ascii").strip().removeprefix("0x"))
        except ValueError:
            raise StoreError("the key file does not hold hexadecimal digits") from None
    if len(data) not in (16, KEY_SIZE):
        raise StoreError(f"a key has 16 or {KEY_SIZE} bytes, and the key file holds {len(data)}")
    return hashlib.sha256(b"cloister tpm key\0" + data).digest()


def from_password(password: bytes, kdf: Kdf = "scrypt") -> Callable[[bytes], bytes]:
    """A key from a password and the store's identity."""
    secret = password.removesuffix(b"\n")
    if not secret:
        raise StoreError("the password is empty")

    def derive(identity: bytes) -> bytes:
        if kdf == "scrypt":
            return hashlib.scrypt(secret, salt=identity, dklen=KEY_SIZE, **_SCRYPT)
        if kdf == "pbkdf2":
            return hashlib.pbkdf2_hmac("sha512", secret, identity, _PBKDF2_ROUNDS, KEY_SIZE)
        return hashlib.sha512(secret).digest()[:KEY_SIZE]

    return derive


def read_secret(fd: int) -> bytes:
    """What a key's or password's descriptor holds; it is closed."""
    try:
        data = b""
        while len(data) <= LARGEST and (piece := os.read(fd, LARGEST + 1)):
            data += piece
    except OSError as error:
        raise StoreError(f"the key cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    if len(data) > LARGEST:
        raise StoreError(f"the key is longer than {LARGEST} bytes")
    return data


def key_file(path: str, form: Format = "hex") -> Key:
    """The key in a file."""
    return parse_key(read_secret(open_file(path, os.O_RDONLY)), form)


def password_file(path: str, kdf: Kdf = "scrypt") -> Key:
    """The key made from the password in a file."""
    return from_password(read_secret(open_file(path, os.O_RDONLY)), kdf)


def beside(folder: Folder, name: str) -> tuple[Key, bool]:
    """The key in a folder, and whether it was made just now."""
    made = not folder.exists(name)
    if made:
        folder.create(name, os.urandom(KEY_SIZE).hex().encode() + b"\n")
    return parse_key(read_secret(folder.open(name, os.O_RDONLY))), made
