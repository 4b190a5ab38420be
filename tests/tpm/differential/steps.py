"""Commands as they are before it is known which TPM gets them.

What differs between two TPMs is a part that is resolved on a side: `Made` is what an earlier step
got in answer there, the handle of an `Earlier` step is the one that was given to it there. A part
whose step never ran, because it was dropped or failed, resolves to something harmless, so every
selection of steps can be run.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tests.tpm.tpm20.client import CONTINUE
from tpm.tpm20.commands import Row
from tpm.tpm20.constants import CC
from tpm.tpm20.table import TABLE

ROWS: dict[str, Row] = {row.name: row for rows in TABLE.values() for row in rows}
CODES: dict[str, int] = {name: getattr(CC, name) for name in ROWS}
NAMES: dict[int, str] = {code: name for name, code in CODES.items()}

POWER = "power"
"""The name of the step that is no command: _TPM_Init."""

NOBODY = 0x80FFFFFF
"""A handle that no TPM gives out."""


class Known(Protocol):
    """What a part may ask the side that it is resolved on."""

    def made(self, step: int, name: str) -> bytes | None: ...

    def handle(self, handle: Handle) -> int: ...

    def name(self, handle: int) -> bytes: ...


class Part(Protocol):
    """Octets of a command's parameters that are known on a side only."""

    @property
    def opaque(self) -> bool:
        """That the sides have different octets here says nothing about what they will answer."""

    def resolve(self, side: Known) -> bytes: ...


@dataclass(frozen=True)
class Earlier:
    """The handle that an earlier step was given."""

    step: int


Handle = int | Earlier


@dataclass(frozen=True)
class Made:
    """A field of the answer to an earlier step, with the size that is in front of it."""

    step: int
    name: str
    opaque: bool = True

    def resolve(self, side: Known) -> bytes:
        found = side.made(self.step, self.name)
        return bytes(2) if found is None else found


@dataclass(frozen=True)
class NameOf:
    """The Name of an entity as a TPM2B."""

    handle: Handle
    opaque: bool = False

    def resolve(self, side: Known) -> bytes:
        name = side.name(side.handle(self.handle))
        return len(name).to_bytes(2, "big") + name


@dataclass(frozen=True)
class HandleOf:
    """A handle as a parameter."""

    handle: Handle
    opaque: bool = True

    def resolve(self, side: Known) -> bytes:
        return side.handle(self.handle).to_bytes(4, "big")


Parts = tuple["bytes | Part", ...]


@dataclass(frozen=True)
class Use:
    """A password or a session in a command's session area."""

    session: Earlier | None = None
    """None for a password."""
    auth: bytes = b""
    """The authValue of the entity that is authorized."""
    attributes: int = CONTINUE
    with_auth: bool = True
    """The authValue is in the key of the HMAC."""
    in_clear: bool = False
    """A policy session that carries the authValue instead of an HMAC."""


_HEADER = 10
SET, INSERT, DELETE = "set", "insert", "delete"


@dataclass(frozen=True)
class Edit:
    """A change of a command's octets. `at` counts modulo what is there."""

    kind: str
    at: int
    octets: bytes = b""
    count: int = 0

    def apply(self, command: bytearray) -> None:
        at = self.at % (len(command) + 1)
        if self.kind == SET:
            command[at : at + len(self.octets)] = self.octets
        elif self.kind == INSERT:
            command[at:at] = self.octets
        else:
            del command[at : at + self.count]


@dataclass(frozen=True)
class Step:
    """One command, or a reset."""

    number: int
    name: str
    handles: tuple[Handle, ...] = ()
    parameters: Parts = ()
    uses: tuple[Use, ...] = ()
    locality: int = 0
    edits: tuple[Edit, ...] = ()
    keep_size: bool = False
    """The edits leave the size in the header wrong."""
    info: Any = field(default=None, compare=False, repr=False)
    """What the generator remembers of what the step makes."""

    def edited(self, command: bytes) -> bytes:
        """The octets that are sent."""
        if not self.edits:
            return command
        octets = bytearray(command)
        for edit in self.edits:
            edit.apply(octets)
        # Whoever carries a command waits for a whole header.
        octets = octets.ljust(_HEADER, b"\0")
        if not self.keep_size:
            octets[2:6] = len(octets).to_bytes(4, "big")
        return bytes(octets)

    def nonce(self, place: int) -> bytes:
        """The caller's nonce of a session in it."""
        content = zlib.crc32(b"%d %d" % (self.number, place))
        return content.to_bytes(4, "big") * 4

    def __str__(self) -> str:
        if self.name == POWER:
            return f"{self.number}: power off and on"
        words = [*map(_text, self.handles), *map(_text, self.parameters)]
        text = f"{self.number}: {self.name}({', '.join(words)})"
        if self.uses:
            text += " by " + ", ".join(map(_use, self.uses))
        if self.locality:
            text += f" at locality {self.locality}"
        for edit in self.edits:
            text += f" {edit.kind} {edit.at}: {edit.octets.hex() or edit.count}"
        return text


def _text(part: object) -> str:
    if isinstance(part, bytes):
        return part.hex() or "-"
    if isinstance(part, int):
        return f"{part:#x}"
    if isinstance(part, Earlier):
        return f"[{part.step}]"
    if isinstance(part, Made):
        return f"[{part.step}].{part.name}"
    if isinstance(part, NameOf | HandleOf):
        return f"{type(part).__name__}{_text(part.handle)}"
    return str(part)


def _use(use: Use) -> str:
    who = "password" if use.session is None else _text(use.session)
    more = "" if use.attributes == CONTINUE else f" attributes {use.attributes:#x}"
    how = " in clear" if use.in_clear else "" if use.with_auth else " without auth"
    return f"{who} {use.auth.hex() or '-'}{more}{how}"


def without(steps: Sequence[Step], dropped: range) -> list[Step]:
    """The steps but for those at these places."""
    return [step for place, step in enumerate(steps) if place not in dropped]


def simpler(step: Step) -> Iterator[Step]:
    """The same step with a little less in it."""
    for place in range(len(step.edits)):
        yield replace(step, edits=step.edits[:place] + step.edits[place + 1 :])
    if step.locality:
        yield replace(step, locality=0)
    for place, use in enumerate(step.uses):
        plain = Use(None, use.auth)
        if use != plain:
            yield replace(step, uses=(*step.uses[:place], plain, *step.uses[place + 1 :]))
        if place >= len(step.handles):
            yield replace(step, uses=step.uses[:place] + step.uses[place + 1 :])
