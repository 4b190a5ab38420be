"""The table of attacks: what each tries, and how it has to end.

An attack is a function that is handed an ``Attacker``.  What it returns is its loot: the attack has
succeeded.  It was foiled if it raises what the host or the kernel refused with, or ``Foiled`` where
it was let do something that leads nowhere, or if it does not come back at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.hostile.attacker import Attacker

Body = Callable[["Attacker"], object]


class Foiled(Exception):
    """The attack was let go on and leads nowhere; the text says why not."""


class NotHere(Exception):
    """This host has not what the attack needs; the text says what."""


class End(Enum):
    """What becomes of the attacker."""

    REFUSED = "refused"
    """It is told no, and goes on."""
    HARMLESS = "harmless"
    """It may do that, goes on, and nobody is worse off."""
    KILLED = "killed"
    """It alone dies, and its supervisor is told why."""


@dataclass(frozen=True)
class Outcome:
    """How an attack has to end; ``says`` is a pattern for the error, or for the fault's text."""

    end: End
    says: str


def refused(*errors: str) -> Outcome:
    """One of these errors, of the host (``EPERM``) or of the kernel (``NO_RIGHT``)."""
    return Outcome(End.REFUSED, rf"(?:{'|'.join(errors)})\b")


def harmless(says: str) -> Outcome:
    return Outcome(End.HARMLESS, says)


def killed(says: str) -> Outcome:
    return Outcome(End.KILLED, says)


def killed_for(call: str) -> Outcome:
    """Killed for a forbidden system call of the host, which the fault's text names."""
    return Outcome(End.KILLED, rf"crashed: .*\bsystem call {call}\b.*\bforbidden")


@dataclass(frozen=True)
class Attack:
    """One way to try it."""

    name: str
    group: str
    """What it goes for: the module that it is from."""
    text: str
    body: Body
    outcome: Outcome
    open_hand: bool
    """Whether it may, and has to, succeed where nothing holds it back: it then does no harm."""
    leaves: str
    """What it changes of ``rig.Traces`` if it succeeds, and nothing else would show that."""
    programs: tuple[str, ...]
    """Which programs carry it out."""
    holes: dict[str, str]
    """Programs for which it is known to succeed, and why."""

    def fits(self, said: str) -> bool:
        """Whether what was said of the attacker's end is what has to be said."""
        end, says = self.outcome.end, self.outcome.says
        if end is End.KILLED:
            return re.match(says, said) is not None
        return re.match(f"{end.value}: .*(?:{says})", said) is not None


ATTACKS: dict[str, Attack] = {}
"""Every attack, by its name."""

BORN, TURNED, COMPILER = "born", "turned", "compiler"
"""Hostile from its birth on, so that only the first filter holds it; hostile once it has imported
everything, under both filters; the first with permission to execute memory of its own."""


def attack(
    outcome: Outcome,
    *,
    name: str = "",
    text: str = "",
    open_hand: bool = False,
    leaves: str = "",
    programs: tuple[str, ...] = (BORN,),
    holes: dict[str, str] | None = None,
) -> Callable[[Body], Body]:
    """Enter a function into the table; its name and its first sentence are the attack's."""

    def enter(body: Body) -> Body:
        called = name or body.__name__.replace("_", "-")
        if called in ATTACKS:
            raise ValueError(f"there are two attacks {called}")
        ATTACKS[called] = Attack(
            called,
            body.__module__.rpartition(".")[2],
            text or " ".join((body.__doc__ or "").split("\n\n")[0].split()),
            body,
            outcome,
            open_hand,
            leaves,
            programs,
            holes or {},
        )
        return body

    return enter
