"""Sequences of commands, thought of one at a time, from a seed.

A *plan* is a generator of steps that gets to know of each whether it succeeded on our side: a
command with whatever must come before it, or a short story. `Author.steps` goes from plan to plan.
Authorization, policies and room for one more object are seen to in one place, for every plan.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.tpm.differential.draws import Drawer
from tests.tpm.differential.policies import POLICIES
from tests.tpm.differential.salts import EccSalt, RsaSalt
from tests.tpm.differential.sides import auth_count
from tests.tpm.differential.spoil import Spoiler
from tests.tpm.differential.steps import (
    POWER,
    ROWS,
    Earlier,
    Handle,
    HandleOf,
    Part,
    Parts,
    Step,
    Use,
)
from tests.tpm.differential.world import SLOTS, Live, World
from tests.tpm.tpm20.client import (
    AUDIT,
    CONTINUE,
    DECRYPT,
    ENCRYPT,
    EXCLUSIVE,
    LOCKOUT,
    NULL,
    OWNER,
    RESET,
    SHA256,
    SHA384,
    b2,
    u8,
    u16,
    u32,
)
from tpm.tpm20.codec import codec
from tpm.tpm20.constants import ROLE

T = TypeVar("T")
Plan = Generator[Step, bool, T]
Story = tuple[int, Callable[["Author"], Plan[None]]]
"""How often, and what."""
_ADMIN_WITH_POLICY, _USER_WITH_AUTH = 0x80, 0x40


@dataclass(frozen=True)
class Info:
    """What the other end of a session must know about a step, and cannot see in it."""

    bind_auth: bytes = b""
    new_auth: bytes = b""
    derived: bool = False
    """The step makes a key from another one that both sides have."""


PROLOGUE = 2
"""The first steps of a sequence, which make the sides alike."""


class Author:
    """Thinks of steps."""

    def __init__(self, seed: int, stories: Sequence[Story], ending: Story) -> None:
        self.dice = random.Random(seed)
        self.world = World(self.dice)
        self.draw = Drawer(self.dice, self.world)
        self.number = 0
        self._spoiler = Spoiler(self.dice, self.draw)
        self._weights = [weight for weight, _ in stories]
        self._plans = [plan for _, plan in stories]
        self._ending = ending[1]

    def steps(self, length: int) -> Plan[None]:
        """As many, or a few more to come to an end."""
        yield from self.command("Startup", [], (u16(0),), certain=True)
        # The default is not the same on both sides.
        audit = (u16(SHA384) + u32(0) + u32(0),)
        yield from self.command("SetCommandCodeAuditStatus", [OWNER], audit, certain=True)
        if self.draw.chance(0.7):
            # Or else the first wrong authorizations end the sequence, as far as most keys go.
            tries = (u32(1000) + u32(1000) + u32(1000),)
            yield from self.command("DictionaryAttackParameters", [LOCKOUT], tries, certain=True)
        while self.number < length:
            plan = self.dice.choices(self._plans, self._weights)[0]
            yield from plan(self)
        yield from self._ending(self)

    # A command with all that it needs.

    def command(
        self,
        name: str,
        handles: list[Handle],
        parameters: Parts,
        info: Info | None = None,
        certain: bool = False,
        locality: int = 0,
        bare: bool = False,
    ) -> Plan[bool]:
        """A step, authorized; `certain` never spoils it, `bare` adds no sessions to it."""
        uses: tuple[Use, ...] = ()
        if not ROWS[name].no_sessions:
            uses = yield from self._authorized(name, handles, bare)
        step = Step(self._next(), name, tuple(handles), parameters, uses, locality, info=info)
        if not certain:
            step = self._spoiler.spoiled(step)
        succeeded = yield step
        if succeeded:
            self._end_sessions(step)
        return succeeded

    @property
    def last(self) -> int:
        """The number of the step that came last."""
        return self.number - 1

    def _next(self) -> int:
        self.number += 1
        return self.number - 1

    def power(self) -> Plan[None]:
        yield Step(self._next(), POWER)
        self.world.reset()

    def _end_sessions(self, step: Step) -> None:
        for use in step.uses:
            if use.session is None:
                continue
            live = self._live(use.session)
            if live is not None:
                live.told = ""
                live.is_audit |= bool(use.attributes & AUDIT)
                if not use.attributes & CONTINUE:
                    self.world.forget(live.handle)

    def _live(self, handle: Handle) -> Live | None:
        return next((one for one in self.world.sessions if one.handle == handle), None)

    # Authorization.

    def _authorized(self, name: str, handles: list[Handle], bare: bool) -> Plan[tuple[Use, ...]]:
        uses: list[Use] = []
        declared = list(ROWS[name].handles.values())
        for place in range(auth_count(name)):
            role = declared[place][1]
            use = yield from self._use(name, handles[place], role, uses, bare)
            uses.append(use)
        if not bare and self.draw.chance(0.12):
            self._add_session(name, uses)
        return tuple(uses)

    def _use(
        self, name: str, handle: Handle, role: int, others: list[Use], bare: bool
    ) -> Plan[Use]:
        policy = self.world.policy(handle)
        thing = self.world.thing(handle)
        needed = role == ROLE.DUP
        if thing is not None and role == ROLE.ADMIN:
            needed = bool(thing.bits & _ADMIN_WITH_POLICY)
        elif thing is not None and role == ROLE.USER:
            needed = not thing.bits & _USER_WITH_AUTH
        elif role == ROLE.ADMIN:
            needed = True
        fits = policy and (not POLICIES[policy].commands or name in POLICIES[policy].commands)
        if fits and (self.draw.chance(0.9) if needed else self.draw.chance(0.25)):
            live = yield from self._told(policy, others)
            if live is not None:
                how = POLICIES[policy]
                auth = self.world.auth(handle)
                return Use(live.handle, auth, self._attributes(name), how.with_auth, how.in_clear)
        auth = self.world.auth(handle).rstrip(b"\0")
        taken = {use.session for use in others}
        session = self.world.pick(
            self.world.sessions, lambda one: one.kind == 0 and one.handle not in taken
        )
        if session is None or self.draw.chance(0.6):
            return Use(None, auth)
        bound = session.bound_to == handle and session.bound_auth == auth
        attributes = CONTINUE if bare else self._attributes(name, session)
        return Use(session.handle, auth, attributes, with_auth=not bound)

    def _attributes(self, name: str, session: Live | None = None) -> int:
        attributes = CONTINUE if self.draw.chance(0.9) else 0
        if session is None or self.draw.chance(0.7):
            return attributes
        row = ROWS[name]
        if session.symmetric != 0x10:
            if _begins_with_tpm2b(list(row.parameters.values())) and self.draw.chance(0.5):
                attributes |= DECRYPT
            if _begins_with_tpm2b(list(row.returns.values())) and self.draw.chance(0.5):
                attributes |= ENCRYPT
        if self.draw.chance(0.3):
            attributes |= self.draw.one(AUDIT, AUDIT, AUDIT | EXCLUSIVE, AUDIT | RESET)
        return attributes

    def _add_session(self, name: str, uses: list[Use]) -> None:
        """One more session, for encryption or audit alone."""
        taken = {use.session for use in uses}
        session = self.world.pick(self.world.sessions, lambda one: one.handle not in taken)
        if session is None:
            return
        attributes = self._attributes(name, session)
        if not attributes & ~CONTINUE and self.draw.chance(0.9):
            attributes |= AUDIT
        uses.append(Use(session.handle, b"", attributes, with_auth=False))

    def _told(self, policy: str, others: list[Use]) -> Plan[Live | None]:
        """A policy session that has been told a policy."""
        taken = {use.session for use in others}
        live = self.world.pick(
            self.world.sessions, lambda one: one.told == policy and one.handle not in taken
        )
        if live is not None:
            return live
        live = yield from self.start_session(1, taken)
        if live is not None:
            told = yield from self.tell(live, policy)
            return live if told else None
        return None

    def tell(self, live: Live, policy: str) -> Plan[bool]:
        """The assertions of a policy."""
        for assertion in POLICIES[policy].assertions:
            handles: list[Handle] = [live.handle]
            if assertion.command == "PolicySecret":
                handles = [assertion.entity, live.handle]
            done = yield from self.command(
                assertion.command, handles, (assertion.parameters,), bare=True
            )
            if not done:
                return False
        live.told = policy
        return True

    # Room.

    def room(self) -> Plan[None]:
        """For one more object."""
        if len(self.world.things) >= SLOTS and self.draw.chance(0.97):
            yield from self.flush(self.dice.choice(self.world.things).handle)

    def flush(self, handle: Handle) -> Plan[None]:
        done = yield from self.command("FlushContext", [], (HandleOf(handle),), certain=True)
        if done:
            self.world.forget(handle)

    def start_session(
        self, kind: int, keep: set[Earlier | None] | None = None, simple: bool = True
    ) -> Plan[Live | None]:
        """An unbound session, which may be salted and bound unless it shall be simple."""
        if len(self.world.sessions) >= SLOTS and self.draw.chance(0.97):
            old = self.world.pick(
                self.world.sessions, lambda one: keep is None or one.handle not in keep
            )
            if old is None:
                return None
            yield from self.flush(old.handle)
        symmetric, wire = self.draw.one(
            (0x10, u16(0x10)),
            (6, u16(6) + u16(128) + u16(0x43)),
            (6, u16(6) + u16(256) + u16(0x43)),
            (0xA, u16(0xA) + u16(SHA256)),
        )
        hash_alg = SHA256 if kind == 1 and self.draw.chance(0.9) else self.draw.hash_alg()
        key: Handle = NULL
        bind: Handle = NULL
        salt: bytes | Part = b2(b"")
        if not simple:
            key, salt = self._salt()
            bind = self.draw.one(NULL, *self.world.auths, *_handles_of(self.world))
        auth = self.world.auth(bind).rstrip(b"\0")
        nonce = self.dice.randbytes(self.draw.one(16, 20, 32))
        rest = u8(kind) + wire + u16(hash_alg)
        done = yield from self.command(
            "StartAuthSession", [key, bind], (b2(nonce), salt, rest), Info(bind_auth=auth)
        )
        if not done:
            return None
        live = Live(Earlier(self.last), kind, symmetric)
        if kind == 0:
            live.bound_to, live.bound_auth = bind, auth
        self.world.sessions.append(live)
        return live

    def _salt(self) -> tuple[Handle, bytes | Part]:
        found = self.world.pick(
            self.world.objects(), lambda one: one.known and one.alg == SHA256 and "seed" in one.tags
        )
        if found is None:
            return NULL, b2(b"")
        return found.handle, RsaSalt() if "rsa" in found.tags else EccSalt()


def _handles_of(world: World) -> list[Handle]:
    return [one.handle for one in world.objects()] + list(world.indices)


def _begins_with_tpm2b(kinds: list[object]) -> bool:
    return bool(kinds) and codec(kinds[0]).tpm2b
