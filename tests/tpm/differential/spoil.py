"""Making a command wrong: in what it says (`spoiled`), or in its octets (`edits`)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.tpm.differential.steps import DELETE, INSERT, SET, Edit, Parts, Step, Use
from tests.tpm.tpm20.client import u16, u32

if TYPE_CHECKING:
    from tests.tpm.differential.draws import Drawer

ALGORITHMS = (
    *(0x0, 0x1, 0x4, 0x5, 0x6, 0x8, 0xA, 0xB, 0xC, 0xD, 0x10, 0x14, 0x15, 0x16, 0x17, 0x18),
    *(0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x20, 0x22, 0x23, 0x25, 0x3F, 0x40, 0x42, 0x43, 0x44, 0x99),
)
SIZES = (0, 1, 2, 8, 16, 20, 32, 33, 48, 63, 64, 65, 66, 127, 128, 129, 1024, 1025, 2048, 0xFFFF)
OCTETS = (0, 1, 2, 0x7F, 0x80, 0xFF)
HANDLES = (
    *(0x0, 0x10, 0x18, 0x01000009, 0x02000000, 0x02000001, 0x03000000, 0x03000002, 0x40000001),
    *(0x40000007, 0x40000009, 0x4000000A, 0x4000000B, 0x4000000C, 0x4000000D, 0x80000000),
    *(0x80000001, 0x80000002, 0x80000003, 0x81000000, 0x81000001, 0x81800000, 0xFFFFFFFF),
)


def edits(dice: random.Random, other: bytes) -> tuple[Edit, ...]:
    """Changes of a command's octets; `other` is a command to take pieces of."""
    return tuple(_edit(dice, other) for _ in range(dice.choice((1, 1, 1, 2, 3))))


def _edit(dice: random.Random, other: bytes) -> Edit:
    # Most of what is interesting is near the beginning: handles, sessions and sizes.
    at = 6 + int(dice.expovariate(1 / 40)) if dice.random() < 0.9 else dice.randrange(4096)
    kind = dice.randrange(8)
    if kind == 0:
        return Edit(SET, at, bytes((dice.choice((*OCTETS, dice.randrange(256))),)))
    if kind == 1:
        return Edit(SET, at, u16(dice.choice(ALGORITHMS)))
    if kind == 2:
        return Edit(SET, at, u16(dice.choice(SIZES)))
    if kind == 3:
        return Edit(SET, dice.choice((10, 14, 18, 22, at)), u32(dice.choice(HANDLES)))
    if kind == 4:
        return Edit(DELETE, at, count=dice.choice((1, 1, 2, 4, 8, 4096)))
    if kind == 5:
        return Edit(INSERT, at, dice.randbytes(dice.choice((1, 1, 2, 4, 8))))
    piece = dice.randrange(len(other) + 1)
    if kind == 6:
        return Edit(SET, piece, other[piece : piece + dice.choice((1, 2, 4, 16, 4096))])
    return Edit(INSERT, piece, other[piece : piece + dice.choice((1, 2, 4, 16, 64))])


class Spoiler:
    """Makes some steps wrong."""

    def __init__(self, dice: random.Random, draw: Drawer, chance: float = 0.12) -> None:
        self._dice = dice
        self._draw = draw
        self._chance = chance

    def spoiled(self, step: Step) -> Step:
        """The step, or one that is wrong in one thing."""
        if self._dice.random() >= self._chance:
            return step
        ways: list[Callable[[Step], Step]] = [self._parameters, self._parameters, self._locality]
        if step.handles:
            ways += [self._handle, self._handle]
        if step.uses:
            ways += [self._auth, self._attributes, self._session, self._count]
        return self._dice.choice(ways)(step)

    def _handle(self, step: Step) -> Step:
        place = self._dice.randrange(len(step.handles))
        handles = list(step.handles)
        handles[place] = self._draw.any_handle()
        return replace(step, handles=tuple(handles))

    def _locality(self, step: Step) -> Step:
        return replace(step, locality=self._dice.randrange(1, 5))

    def _use(self, step: Step, change: Callable[[Use], Use]) -> Step:
        place = self._dice.randrange(len(step.uses))
        uses = list(step.uses)
        uses[place] = change(uses[place])
        return replace(step, uses=tuple(uses))

    def _auth(self, step: Step) -> Step:
        wrong = self._dice.choice((b"", b"wrong", bytes(65), b"pw\0\0"))
        return self._use(step, lambda use: replace(use, auth=wrong))

    def _attributes(self, step: Step) -> Step:
        bit = 1 << self._dice.randrange(8)
        return self._use(step, lambda use: replace(use, attributes=use.attributes ^ bit))

    def _session(self, step: Step) -> Step:
        live = self._draw.world.pick(self._draw.world.sessions)
        handle = None if live is None else live.handle
        with_auth = self._dice.random() < 0.5
        return self._use(step, lambda use: replace(use, session=handle, with_auth=with_auth))

    def _count(self, step: Step) -> Step:
        if self._dice.random() < 0.5:
            return replace(step, uses=step.uses[:-1])
        return replace(step, uses=(*step.uses, Use()))

    def _parameters(self, step: Step) -> Step:
        """A likely mistake somewhere in the parameters."""
        places = [place for place, part in enumerate(step.parameters) if _has_octets(part)]
        if not places:
            return replace(step, parameters=(*step.parameters, b"\0"))
        place = self._dice.choice(places)
        part = step.parameters[place]
        assert isinstance(part, bytes)
        return replace(step, parameters=self._changed(step.parameters, place, part))

    def _changed(self, parameters: Parts, place: int, part: bytes) -> Parts:
        at = self._dice.randrange(len(part)) & ~self._dice.choice((0, 1))
        kind = self._dice.randrange(6)
        changed = bytearray(part)
        if kind == 0:
            changed[at : at + 2] = u16(self._dice.choice(ALGORITHMS))
        elif kind == 1:
            changed[at : at + 2] = u16(self._dice.choice(SIZES))
        elif kind == 2:
            changed[at] ^= 1 << self._dice.randrange(8)
        elif kind == 3:
            changed[at] = (changed[at] + self._dice.choice((1, 255))) & 255
        elif kind == 4:
            del changed[at:]
        else:
            changed += bytes(self._dice.choice((1, 2, 4)))
        return (*parameters[:place], bytes(changed), *parameters[place + 1 :])


def _has_octets(part: object) -> bool:
    return isinstance(part, bytes) and len(part) > 0
