"""What a session is (part 1, 19), and what a command's session area makes of sessions.

How they authorize a command is in `authorization.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, entities
from tpm.tpm20.constants import SE
from tpm.tpm20.structures import DIGEST_SIZE, SymDef

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

@dataclass(slots=True)
class Policy:
    """What the policy commands have put together (part 1, 19.7)."""

    digest: bytes
    command_code: int = 0
    """The only command that the policy is for, or 0."""
    cp_hash: bytes = b""
    name_hash: bytes = b""
    template_hash: bytes = b""
    """At most one of the three is set: what the command's parameters or handles must hash to."""
    timeout: int = 0
    """TPM time in milliseconds at which the policy ends, or 0."""
    locality: int = 0
    """TPMA_LOCALITY, or 0 for any."""
    auth_value: bool = False
    password: bool = False
    physical_presence: bool = False
    nv_written: bool | None = None
    """What TPMA_NV_WRITTEN of the Index must be, if anything."""
    pcr_counter: int = 0
    """The PCR update counter when PolicyPCR looked, or 0."""


@dataclass(slots=True)
class Session:
    """A loaded session."""

    handle: int
    kind: int
    """TPM_SE."""
    hash_alg: int
    symmetric: SymDef
    key: bytes
    """sessionKey; empty if the session is neither salted nor bound."""
    nonce_tpm: bytes
    bound_to: bytes = b""
    """`authorization.bind_value` of the entity that an HMAC session is bound to, or empty."""
    da_bound: bool = False
    lockout_bound: bool = False
    is_audit: bool = False
    audit_digest: bytes = b""
    start_time: int = 0
    """TPM time in milliseconds when the session started or its nonce last rolled."""
    epoch: int = 0
    policy: Policy = field(default_factory=lambda: Policy(b""))

    @property
    def is_policy(self) -> bool:
        return self.kind != SE.HMAC

    def restart(self, now: int, epoch: int) -> None:
        """Forget the policy, and count its time from now."""
        self.reset_policy()
        self.start_time = now
        self.epoch = epoch

    def reset_policy(self) -> None:
        self.policy = Policy(bytes(DIGEST_SIZE[self.hash_alg]))


class Use:
    """A session in one command's session area."""

    __slots__ = ("attributes", "entity", "handle", "hmac", "include_auth", "nonce", "session")

    def __init__(
        self, handle: int, nonce: bytes, attributes: int, hmac: bytes, session: Session | None
    ) -> None:
        self.handle = handle
        self.nonce = nonce
        self.attributes = attributes
        self.hmac = hmac
        self.session = session
        """None for a password."""
        self.entity: int | None = None
        """The handle that the session authorizes."""
        self.include_auth = False
        """The entity's authValue is in the HMAC key."""


class Area:
    """The session area of one command."""

    __slots__ = ("audit", "decrypt", "encrypt", "uses")

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.decrypt: Use | None = None
        self.encrypt: Use | None = None
        self.audit: Use | None = None


class Hashes:
    """cpHash and rpHash of a command for any hash algorithm, each computed once if at all."""

    __slots__ = ("_cp", "_handles", "_names", "_octets", "_rp", "_tpm", "code")

    def __init__(self, tpm: Tpm, code: int, handles: list[int], parameters: bytes) -> None:
        self.code = code
        self._tpm = tpm
        self._handles = handles
        self._names: bytes | None = None
        self._octets = parameters
        self._cp: dict[int, bytes] = {}
        self._rp: dict[int, bytes] = {}

    @property
    def names(self) -> bytes:
        """The Names of the command's entities, as they were at the first look."""
        if self._names is None:
            self._names = b"".join([entities.name(self._tpm, one) for one in self._handles])
        return self._names

    @property
    def parameters(self) -> bytes:
        """The command's parameters as they came, or the response's after `answer`."""
        return self._octets

    def cp(self, hash_alg: int) -> bytes:
        """cpHash (part 1, 16.7): of the parameters as they came, encrypted or not."""
        found = self._cp.get(hash_alg)
        if found is None:
            content = self.code.to_bytes(4, "big") + self.names + self._octets
            found = self._cp[hash_alg] = crypto.digest(hash_alg, content)
        return found

    def answer(self, parameters: bytes) -> None:
        """The response's parameters, encrypted or not, for `rp`; `cp` has been asked for."""
        self._octets = parameters

    def rp(self, hash_alg: int) -> bytes:
        """rpHash (part 1, 16.8) of a response that is a success."""
        found = self._rp.get(hash_alg)
        if found is None:
            content = bytes(4) + self.code.to_bytes(4, "big") + self._octets
            found = self._rp[hash_alg] = crypto.digest(hash_alg, content)
        return found
