"""The system calls of the host that a process can reach through its filter.

The filter is a program for the kernel's classic packet filter (Linux, "Seccomp BPF"; ``struct
seccomp_data``).  It is run here for each call's number with all else unknown: where it looks at an
argument, both ways are followed, so a call counts if any arguments let it through.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Final

from tools.isolation import filters

_INSTRUCTION: Final = struct.Struct("<HBBI")
_LOAD_WORD, _RETURN, _AND = 0x20, 0x06, 0x54
_JUMP_ALWAYS: Final = 0x05
_COMPARE: Final[dict[int, Callable[[int, int], bool]]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_X86_64: Final = 0xC000003E
_ALLOW: Final = 0x7FFF0000
_NUMBERS: Final = range(1024)
"""More than there are."""


class UnknownFilter(Exception):
    """A filter with instructions that compilers of filters do not make."""


def reachable(program: bytes) -> list[int]:
    """The numbers of the system calls that a filter allows; raises ``UnknownFilter``."""
    code = list(_INSTRUCTION.iter_unpack(program))
    return [number for number in _NUMBERS if _allows(code, number)]


def _allows(code: list[tuple[int, int, int, int]], number: int) -> bool:
    """Whether any way through the program allows a call."""
    facts = {_NUMBER_AT: number, _ARCHITECTURE_AT: _X86_64}
    seen: set[tuple[int, int | None]] = set()
    waiting: list[tuple[int, int | None]] = [(0, 0)]
    while waiting:
        state = waiting.pop()
        if state in seen:
            continue
        seen.add(state)
        at, value = state
        if at >= len(code):
            raise UnknownFilter("a way through the filter has no end")
        operation, if_true, if_false, k = code[at]
        if operation == _RETURN:
            if k == _ALLOW:
                return True
        elif operation == _LOAD_WORD:
            waiting.append((at + 1, facts.get(k)))
        elif operation == _AND:
            waiting.append((at + 1, None if value is None else value & k))
        elif operation == _JUMP_ALWAYS:
            waiting.append((at + 1 + k, value))
        elif operation in _COMPARE:
            answers = (True, False) if value is None else (_COMPARE[operation](value, k),)
            waiting += [(at + 1 + (if_true if yes else if_false), value) for yes in answers]
        else:
            raise UnknownFilter(f"the filter has the unknown instruction {operation:#x}")
    return False


@cache
def system_calls(executable: bool) -> int:
    """How many system calls a process can reach once its ``main`` runs, under both filters.

    ``executable`` ones may make memory executable: VMMs, for their translated code.
    """
    both = filters.filters()[2 * executable :][:2]
    return len(set.intersection(*(set(reachable(program)) for program in both)))
