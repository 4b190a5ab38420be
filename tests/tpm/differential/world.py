"""What a sequence has made so far, as far as the author of the next command must know."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.tpm.differential.keys import KINDS
from tests.tpm.differential.steps import Earlier, Handle
from tests.tpm.tpm20.client import ENDORSEMENT, LOCKOUT, NULL, OWNER, PLATFORM, SHA256

T = TypeVar("T")
SLOTS = 3
"""How many objects, and how many sessions, fit into a TPM."""


@dataclass
class Thing:
    """A loaded or persistent object, or a sequence (whose kind is in `SEQUENCES`)."""

    handle: Handle
    kind: str
    auth: bytes = b""
    policy: str = ""
    bits: int = 0
    hierarchy: int = NULL
    parent: Handle = NULL
    created: int = -1
    """The step of the Create that it comes from."""
    known: bool = False
    """The same on both sides."""
    alg: int = SHA256

    @property
    def tags(self) -> frozenset[str]:
        return KINDS[self.kind].tags if self.kind in KINDS else frozenset()

    @property
    def is_sequence(self) -> bool:
        return self.kind in SEQUENCES


SEQUENCES = ("hash sequence", "MAC sequence", "event sequence")


@dataclass
class Blob:
    """What Create, Import or Duplicate gave: an object that is not loaded."""

    step: int
    private: str
    """The field of the step's answer that has the private area."""
    public: bytes | None
    """The public area's octets, or None if they are in the step's answer."""
    thing: Thing


@dataclass
class Live:
    """A loaded session."""

    handle: Earlier
    kind: int
    """TPM_SE."""
    symmetric: int = 0x10
    told: str = ""
    """The policy that it was told, and has not been used for."""
    is_audit: bool = False
    bound_to: Handle = NULL
    bound_auth: bytes = b""


@dataclass
class Index:
    """An NV Index."""

    handle: int
    bits: int
    size: int
    auth: bytes
    policy: str = ""


@dataclass
class Saved:
    """A saved context."""

    step: int
    what: Thing | Live


@dataclass
class World:
    """All of it."""

    dice: random.Random
    things: list[Thing] = field(default_factory=list)
    persistent: list[Thing] = field(default_factory=list)
    sessions: list[Live] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    saved: list[Saved] = field(default_factory=list)
    indices: dict[int, Index] = field(default_factory=dict)
    auths: dict[int, bytes] = field(
        default_factory=lambda: dict.fromkeys((OWNER, ENDORSEMENT, PLATFORM, LOCKOUT), b"")
    )
    policies: dict[int, str] = field(default_factory=dict)
    """Of the hierarchies."""
    pcr_auth: bytes = b""
    audits: bool = False
    """More commands are audited than a new TPM audits."""

    def objects(self) -> list[Thing]:
        return [thing for thing in self.things + self.persistent if not thing.is_sequence]

    def pick(self, of: list[T], fits: Callable[[T], bool] = lambda one: True) -> T | None:
        """One that fits, if there is one."""
        found = [one for one in of if fits(one)]
        return self.dice.choice(found) if found else None

    def thing(self, handle: Handle) -> Thing | None:
        for thing in self.things + self.persistent:
            if thing.handle == handle:
                return thing
        return None

    def auth(self, handle: Handle) -> bytes:
        """The authValue of an entity."""
        thing = self.thing(handle)
        if thing is not None:
            return thing.auth
        if isinstance(handle, int):
            if handle in self.indices:
                return self.indices[handle].auth
            if 20 <= handle < 23:
                return self.pcr_auth
            return self.auths.get(handle, b"")
        return b""

    def policy(self, handle: Handle) -> str:
        """The name of the policy of an entity, or nothing."""
        thing = self.thing(handle)
        if thing is not None:
            return thing.policy
        if isinstance(handle, int):
            if handle in self.indices:
                return self.indices[handle].policy
            return self.policies.get(handle, "")
        return ""

    def forget(self, handle: Handle) -> None:
        """A handle has been flushed."""
        self.things = [one for one in self.things if one.handle != handle]
        self.sessions = [one for one in self.sessions if one.handle != handle]

    def reset(self) -> None:
        """The TPM lost what it loses with power."""
        self.things.clear()
        self.sessions.clear()
        self.auths[PLATFORM] = b""
        self.policies.pop(PLATFORM, None)
        self.pcr_auth = b""

    def flush_hierarchy(self, hierarchy: int) -> None:
        """The objects of a hierarchy are gone."""
        self.things = [one for one in self.things if one.hierarchy != hierarchy]
        self.persistent = [one for one in self.persistent if one.hierarchy != hierarchy]
