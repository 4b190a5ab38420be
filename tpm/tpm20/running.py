"""Digests and MACs that are computed piece by piece, between commands (part 1, 32.4).

They are state: saved in contexts, suspended, moved to another machine. Each is a dataclass whose
fields are all there is to it. `update` takes more octets, `finish` gives the result with some last
ones and changes nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from tpm.tpm20.compression import SHAPES, compressor, start
from tpm.tpm20.constants import ALG, MAX_SYM_BLOCK_SIZE
from tpm.tpm20.crypto import BLOCK_SIZE, HASH_FUNCTIONS, aes, digest
from tpm.tpm20.plain import StateError

_KEPT = 1 << 16
"""Octets that a hash keeps so that it need not be compressed here."""

_ZEROS = bytes(MAX_SYM_BLOCK_SIZE)
_IPAD = bytes(octet ^ 0x36 for octet in range(256))
_OPAD = bytes(octet ^ 0x5C for octet in range(256))


@dataclass(slots=True)
class RunningHash:
    """A hash.

    As long as few octets have come they are kept, and the library hashes them along. When the hash
    has to become small, `fold` compresses them; from then on the library is of no use.
    """

    hash_alg: int
    chain: bytes = b""
    """The chaining value before `data`; empty as long as nothing was compressed."""
    folded: int = 0
    """Octets in `chain`, a multiple of the block's size."""
    data: bytes = b""
    _live: Any = field(default=None, repr=False, compare=False)
    """The library's hash of `data`, if `chain` is empty."""

    def update(self, octets: bytes) -> None:
        """More octets."""
        if not self.chain and len(self.data) + len(octets) <= _KEPT:
            if self._live is None:
                self._live = HASH_FUNCTIONS[self.hash_alg](self.data)
            self._live.update(octets)
            self.data += octets
            return
        self.data += octets
        self.fold()

    def fold(self) -> None:
        """Keep less than a block of what has come."""
        size = SHAPES[self.hash_alg].block
        whole = len(self.data) - len(self.data) % size
        if not whole:
            return
        self.chain = self._compressed(self.data[:whole])
        self.data = self.data[whole:]
        self.folded += whole
        self._live = None

    def _compressed(self, blocks: bytes) -> bytes:
        shape = SHAPES[self.hash_alg]
        form = struct.Struct(f">{shape.words}{'I' if shape.word == 4 else 'Q'}")
        value = form.unpack(self.chain) if self.chain else start(self.hash_alg)
        return form.pack(*compressor(self.hash_alg)(value, blocks))

    def finish(self, octets: bytes) -> bytes:
        """The digest of all octets and of these last ones."""
        if not self.chain:
            if self._live is None:
                return digest(self.hash_alg, self.data + octets)
            live = self._live.copy()
            live.update(octets)
            result: bytes = live.digest()
            return result
        shape = SHAPES[self.hash_alg]
        rest = self.data + octets
        bits = (self.folded + len(rest)) * 8
        rest += b"\x80"
        rest += bytes(-(len(rest) + 2 * shape.word) % shape.block)
        rest += bits.to_bytes(2 * shape.word, "big")
        return self._compressed(rest)[: shape.digest]

    def check(self) -> None:
        """Raise `StateError` for what `update` and `fold` cannot have left."""
        shape = SHAPES.get(self.hash_alg)
        if shape is None:
            raise StateError("a hash by an algorithm that does not exist")
        if len(self.chain) != (shape.word * shape.words if self.folded else 0):
            raise StateError("a hash with a chaining value of another size")
        if self.folded < 0 or self.folded % shape.block or len(self.data) > _KEPT:
            raise StateError("a hash of another length")


@dataclass(slots=True)
class RunningHmac:
    """An HMAC (FIPS 198-1)."""

    key: bytes
    """As long as a block."""
    inner: RunningHash

    @staticmethod
    def start(hash_alg: int, key: bytes) -> RunningHmac:
        """The HMAC of nothing yet, with a key of any size."""
        size = BLOCK_SIZE[hash_alg]
        if len(key) > size:
            key = digest(hash_alg, key)
        key = key.ljust(size, b"\0")
        running = RunningHmac(key, RunningHash(hash_alg))
        running.inner.update(key.translate(_IPAD))
        return running

    def update(self, octets: bytes) -> None:
        """More octets."""
        self.inner.update(octets)

    def fold(self) -> None:
        """Keep less than a block of what has come."""
        self.inner.fold()

    def finish(self, octets: bytes) -> bytes:
        """The HMAC of all octets and of these last ones."""
        return digest(self.inner.hash_alg, self.key.translate(_OPAD) + self.inner.finish(octets))

    def check(self) -> None:
        """Raise `StateError` for what `start` cannot have made."""
        self.inner.check()
        if len(self.key) != BLOCK_SIZE[self.inner.hash_alg]:
            raise StateError("an HMAC with a key of another size")


@dataclass(slots=True)
class RunningCmac:
    """A CMAC with AES (SP 800-38B)."""

    key: bytes
    chain: bytes = _ZEROS
    data: bytes = b""
    """The last block or a part of it, which is treated in its own way."""

    def update(self, octets: bytes) -> None:
        """More octets."""
        data = self.data + octets
        whole = max(len(data) - 1, 0) // MAX_SYM_BLOCK_SIZE * MAX_SYM_BLOCK_SIZE
        if whole:
            self.chain = self._last_block(self.chain, data[:whole])
        self.data = data[whole:]

    def fold(self) -> None:
        """It never keeps more than a block."""

    def _last_block(self, chain: bytes, octets: bytes) -> bytes:
        """The last block of the encrypted octets."""
        return aes(self.key, ALG.CBC, chain, octets, decrypt=False)[-MAX_SYM_BLOCK_SIZE:]

    def finish(self, octets: bytes) -> bytes:
        """The CMAC of all octets and of these last ones."""
        last = RunningCmac(self.key, self.chain, self.data)
        last.update(octets)
        subkey = _doubled(self._last_block(_ZEROS, _ZEROS))
        block = last.data
        if len(block) < MAX_SYM_BLOCK_SIZE:
            subkey = _doubled(subkey)
            block = (block + b"\x80").ljust(MAX_SYM_BLOCK_SIZE, b"\0")
        return self._last_block(last.chain, _xor(block, subkey))

    def check(self) -> None:
        """Raise `StateError` for what `update` cannot have left."""
        if len(self.key) not in (16, 24, 32):
            raise StateError("a CMAC with a key of another size")
        if len(self.chain) != MAX_SYM_BLOCK_SIZE or len(self.data) > MAX_SYM_BLOCK_SIZE:
            raise StateError("a CMAC with a block of another size")


Running = RunningHash | RunningHmac | RunningCmac


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _doubled(block: bytes) -> bytes:
    """A subkey from the one before (SP 800-38B, 6.1)."""
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number = number & (1 << 128) - 1 ^ 0x87
    return number.to_bytes(MAX_SYM_BLOCK_SIZE, "big")
