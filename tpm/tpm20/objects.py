"""Objects: what a slot holds, and how an object's sensitive area is protected outside of the TPM.

Part 1, 22 (protected storage) and 27 (objects). An `Object` is never changed after it was made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tpm.tpm20 import crypto
from tpm.tpm20.codec import codec, decode, encode, write_buffer
from tpm.tpm20.constants import ALG, RC, RH, TPMA_OBJECT, TpmError
from tpm.tpm20.plain import StateError
from tpm.tpm20.running import Running, RunningCmac, RunningHash, RunningHmac
from tpm.tpm20.structures import DIGEST_SIZE, Digest, Iv, Public, Sensitive

_PARENT = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
_SIGN = TPMA_OBJECT.SIGN
_IV_SIZE = 16
_CHILDREN = 16
"""Children that a parent remembers."""


@dataclass(slots=True)
class Object:
    """A loaded or persistent object; `sensitive` is None where only the public area is loaded."""

    public: Public
    sensitive: Sensitive | None
    name: bytes
    qualified_name: bytes
    hierarchy: int
    external: bool = False
    st_clear: bool = False
    """It or an ancestor has stClear: its saved contexts end with a Startup(CLEAR)."""
    persistent: int = 0
    """Its persistent handle, or 0."""
    _key: Any = field(default=None, repr=False, compare=False)
    _integrity_key: bytes = field(default=b"", repr=False, compare=False)
    _children: dict[tuple[bytes, Public], Object] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def auth(self) -> bytes:
        """authValue without trailing zeros."""
        return b"" if self.sensitive is None else self.sensitive.auth.rstrip(b"\0")

    @property
    def _is_restricted_decryption_key(self) -> bool:
        kind = self.public.attributes & (_PARENT | _SIGN)
        complete = self.sensitive is not None and self.public.name_alg != ALG.NULL
        return kind == _PARENT and complete and not self.external

    @property
    def is_parent(self) -> bool:
        """It can be the parent of ordinary objects."""
        return self._is_restricted_decryption_key and self.public.type != ALG.KEYEDHASH

    @property
    def is_derivation_parent(self) -> bool:
        """It can be the parent of derived objects."""
        return self._is_restricted_decryption_key and self.public.type == ALG.KEYEDHASH

    @property
    def is_temporary(self) -> bool:
        """It ends with the next TPM Reset: an object of the NULL hierarchy, or below one."""
        return self.hierarchy == RH.NULL

    def has(self, attributes: int) -> bool:
        """All of these TPMA_OBJECT bits are set."""
        return self.public.attributes & attributes == attributes

    def integrity_key(self) -> bytes:
        """The HMAC key for what the object protects with its own seed, made on first use."""
        if not self._integrity_key:
            assert self.sensitive is not None
            self._integrity_key = _integrity_key(self.public.name_alg, self.sensitive.seed)
        return self._integrity_key

    def child(self, private: bytes, public: Public) -> Object | None:
        """What was loaded below this parent from these two, if that was not long ago.

        Software loads a key each time that it uses it. What is remembered is what anybody who holds
        the parent can unwrap, and goes with the parent.
        """
        return self._children.get((private, public))

    def remember_child(self, private: bytes, public: Public, child: Object) -> None:
        """Keep what was loaded, and forget the oldest if there are many."""
        if len(self._children) >= _CHILDREN:
            del self._children[next(iter(self._children))]
        self._children[private, public] = child

    def private_key(self) -> Any:
        """The private key of `cryptography` for an RSA or ECC object, made on first use."""
        if self._key is None:
            assert self.sensitive is not None
            self._key = crypto.private_key(self.public, self.sensitive.sensitive)
        return self._key


@dataclass(slots=True)
class Sequence:
    """A hash, MAC or event sequence in a slot (part 1, 32.4): one of the three is there."""

    auth: bytes
    """authValue without trailing zeros."""
    hashes: list[RunningHash] = field(default_factory=list)
    """One for a hash sequence, one for each bank of PCRs for an event sequence."""
    hmac: RunningHmac | None = None
    cmac: RunningCmac | None = None
    is_event: bool = False
    first: bytes | None = None
    """The beginning of a hash sequence's first buffer, if one has come: is it the TPM's word?"""

    @property
    def mac(self) -> RunningHmac | RunningCmac | None:
        """What a MAC sequence computes."""
        return self.hmac or self.cmac

    @property
    def running(self) -> list[Running]:
        """All that the sequence computes."""
        mac = self.mac
        return [*self.hashes] if mac is None else [mac]

    def fold(self) -> None:
        """Become small enough for a context."""
        for one in self.running:
            one.fold()

    def check(self) -> None:
        """Raise `StateError` for what no command can have made."""
        for one in self.running:
            one.check()
        kinds = (bool(self.hashes), self.hmac is not None, self.cmac is not None)
        if sum(kinds) != 1 or (len(self.hashes) > 1 and not self.is_event):
            raise StateError("a sequence of no kind")


Slot = Object | Sequence


_write_public = codec(Public).write


def object_name(public: Public) -> bytes:
    """The Name of a public area (part 1, 16); empty if it has no nameAlg."""
    if public.name_alg == ALG.NULL:
        return b""
    digest = crypto.digest(public.name_alg, _write_public(public))
    return public.name_alg.to_bytes(2, "big") + digest


def qualified_name(parent: bytes, name: bytes, name_alg: int) -> bytes:
    """The Qualified Name of an object below `parent`, a Qualified Name or a handle's octets."""
    if name_alg == ALG.NULL:
        return b""
    return name_alg.to_bytes(2, "big") + crypto.digest(name_alg, parent + name)


def pad_auth(auth: bytes, name_alg: int) -> bytes | None:
    """authValue as a sensitive area holds it: as long as a digest; None if it is too long."""
    size = DIGEST_SIZE.get(name_alg, 64)
    auth = auth.rstrip(b"\0")
    return auth.ljust(size, b"\0") if len(auth) <= size else None


# Protection of a sensitive area, a duplicate or a credential (part 1, 22.4, 23.3 and 24).


def outer_wrap(parent: Object, name: bytes, seed: bytes, content: bytes) -> bytes:
    """`content` encrypted from `seed` and with an HMAC in front: a duplicate or a credential."""
    hash_alg = parent.public.name_alg
    body = crypto.cfb_encrypt(_wrap_key(parent, seed, name), bytes(_IV_SIZE), content)
    key = _integrity_key(hash_alg, seed)
    return write_buffer(crypto.hmac(hash_alg, key, body + name)) + body


def outer_unwrap(parent: Object, name: bytes, seed: bytes, blob: bytes) -> bytes:
    """The content of `outer_wrap`; `TPM_RC_INTEGRITY` if it was not made for it."""
    body = _verified(parent, _integrity_key(parent.public.name_alg, seed), name, blob)
    return crypto.cfb_decrypt(_wrap_key(parent, seed, name), bytes(_IV_SIZE), body)


def _verified(parent: Object, key: bytes, name: bytes, blob: bytes) -> bytes:
    integrity, at = _read(Digest, blob, 0)
    body = blob[at:]
    if not crypto.equal(integrity, crypto.hmac(parent.public.name_alg, key, body + name)):
        raise TpmError(RC.INTEGRITY)
    return body


def _read(declared: Any, octets: bytes, at: int) -> tuple[Any, int]:
    if len(octets) < at + 2:
        raise TpmError(RC.INSUFFICIENT)
    return codec(declared).read(octets, at)


def _wrap_key(parent: Object, seed: bytes, name: bytes) -> bytes:
    public = parent.public
    symmetric = public.parameters if public.type == ALG.SYMCIPHER else public.parameters.symmetric
    return crypto.kdfa(public.name_alg, seed, b"STORAGE", name, b"", symmetric.key_bits)


def _integrity_key(hash_alg: int, seed: bytes) -> bytes:
    return crypto.kdfa(hash_alg, seed, b"INTEGRITY", b"", b"", DIGEST_SIZE[hash_alg] * 8)


def sensitive_to_private(sensitive: Sensitive, name: bytes, parent: Object, iv: bytes) -> bytes:
    """A TPM2B_PRIVATE's content for an object below `parent`; `iv` is 16 random octets."""
    assert parent.sensitive is not None
    content = write_buffer(encode(Sensitive, sensitive))
    key = _wrap_key(parent, parent.sensitive.seed, name)
    body = write_buffer(iv) + crypto.cfb_encrypt(key, iv, content)
    return (
        write_buffer(crypto.hmac(parent.public.name_alg, parent.integrity_key(), body + name))
        + body
    )


def private_to_sensitive(private: bytes, name: bytes, parent: Object) -> Sensitive:
    """The sensitive area in a TPM2B_PRIVATE; `TPM_RC_INTEGRITY` or `TPM_RC_SENSITIVE`."""
    assert parent.sensitive is not None
    body = _verified(parent, parent.integrity_key(), name, private)
    iv, at = _read(Iv, body, 0)
    if len(iv) != _IV_SIZE:
        raise TpmError(RC.VALUE)
    key = _wrap_key(parent, parent.sensitive.seed, name)
    content = crypto.cfb_decrypt(key, iv, body[at:])
    if len(content) < 2 or int.from_bytes(content[:2], "big") != len(content) - 2:
        raise TpmError(RC.SENSITIVE)
    try:
        sensitive: Sensitive = decode(Sensitive, content[2:])
    except TpmError:
        raise TpmError(RC.SENSITIVE) from None
    return sensitive
