"""Policies that commands can satisfy, with the digests that they come to.

The digests are computed here, from part 3, 23, so that a mistake that both TPMs share shows too.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from tests.tpm.differential.steps import CODES
from tests.tpm.tpm20.client import HASH, LOCKOUT, OWNER, SHA256, b2, u8, u16, u32


class Assertion(NamedTuple):
    """A policy command: what it sends, and what goes into the digest."""

    command: str
    parameters: bytes
    digested: tuple[bytes, ...]
    """Each is hashed into the digest in turn; the first has the command code in it already."""
    entity: int = 0
    """The permanent entity that PolicySecret is about."""


def _assertion(command: str, parameters: bytes = b"", digested_as: str = "") -> Assertion:
    code = u32(CODES[digested_as or command])
    return Assertion(command, parameters, (code + parameters,))


def _secret(entity: int, reference: bytes = b"") -> Assertion:
    parameters = b2(b"") * 2 + b2(reference) + u32(0)
    digested = (u32(CODES["PolicySecret"]) + u32(entity), reference)
    return Assertion("PolicySecret", parameters, digested, entity)


class Policy(NamedTuple):
    """What a policy session must be told, and how it then authorizes."""

    assertions: tuple[Assertion, ...]
    commands: frozenset[str] = frozenset()
    """The commands that it is good for; none for all."""
    with_auth: bool = False
    in_clear: bool = False


def _for(command: str) -> Policy:
    assertion = _assertion("PolicyCommandCode", u32(CODES[command]))
    return Policy((assertion,), frozenset((command,)))


POLICIES: dict[str, Policy] = {
    "nothing": Policy(()),
    "authValue": Policy((_assertion("PolicyAuthValue"),), with_auth=True),
    "password": Policy(
        (_assertion("PolicyPassword", b"", "PolicyAuthValue"),), with_auth=True, in_clear=True
    ),
    "locality": Policy((_assertion("PolicyLocality", u8(0x09)),)),
    "owner": Policy((_secret(OWNER, b"reference"),)),
    "lockout": Policy((_secret(LOCKOUT),)),
    "written": Policy((_assertion("PolicyNvWritten", u8(1)),)),
    "not written": Policy((_assertion("PolicyNvWritten", u8(0)),)),
    "presence": Policy((_assertion("PolicyPhysicalPresence"),)),
    **{
        command: _for(command)
        for command in (
            *("Certify", "ActivateCredential", "ObjectChangeAuth", "Duplicate", "Unseal", "Sign"),
            *("NV_ChangeAuth", "NV_UndefineSpaceSpecial", "NV_Write", "NV_Read", "CertifyX509"),
        )
    },
}
_DUPLICATE_WITH_AUTH = Policy(
    (_assertion("PolicyCommandCode", u32(CODES["Duplicate"])), _assertion("PolicyAuthValue")),
    frozenset(("Duplicate",)),
    with_auth=True,
)
POLICIES["Duplicate with auth"] = _DUPLICATE_WITH_AUTH


def digest(name: str, alg: int = SHA256) -> bytes:
    """policyDigest of a session that was told the policy."""
    value = bytes(hashlib.new(HASH[alg]).digest_size)
    for assertion in POLICIES[name].assertions:
        for content in assertion.digested:
            value = hashlib.new(HASH[alg], value + content).digest()
    return value


__all__ = ["POLICIES", "Assertion", "Policy", "digest", "u16"]
