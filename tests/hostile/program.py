"""What both programs do: carry out the attack that the neighbour names, and say how it went.

It ends with ``refused``, ``harmless`` or ``SUCCEEDED``, and what there is to say.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from servers.runtime import Environment, KernelError, ServiceError
from tests.hostile import attacks  # all are imported before the second filter comes
from tests.hostile.attacker import Attacker
from tests.hostile.linux import Host
from tests.hostile.registry import ATTACKS, Attack, Foiled, NotHere

_GET_SECCOMP: Final = 21

__all__ = ["attacks", "main"]


def _held(host: Host) -> bool:
    """Whether the sandbox's filter is there."""
    try:
        host.prctl(_GET_SECCOMP, 0, 0, 0, 0)
    except PermissionError:
        return os.getpid() == 1
    return False


def _outcome(attack: Attack, attacker: Attacker) -> str:
    try:
        loot = attack.body(attacker)
    except OSError as error:
        return f"refused: {errno.errorcode.get(error.errno or 0, '?')} {error.strerror}"
    except KernelError as error:
        return f"refused: {error.error.name} {error.call}"
    except ServiceError as error:
        return f"refused: {type(error).__name__} {error}"
    except MemoryError:
        return "refused: ENOMEM"
    except Foiled as why:
        return f"harmless: {why}"
    return f"SUCCEEDED: {loot}"


def main(env: Environment) -> str:
    """The attack, and how it went."""
    attacker = Attacker(env)
    attack = ATTACKS[attacker.facts.attack]
    if not attack.open_hand and not (attacker.facts.held and _held(attacker.host)):
        raise RuntimeError(f"{attack.name} is never tried without the sandbox")
    try:
        said = _outcome(attack, attacker)
    except NotHere as what:
        return f"not here: {what}"
    if attacker.victim.ping(1) != 2:  # for this it has to be alive, and in its right mind
        return "SUCCEEDED: the victim cannot count any more"
    return said
