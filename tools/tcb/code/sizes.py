"""How much code a component is, from what its graph says that it runs: ``SCHEME:NAME``.

=================  =================================================================
``program:NAME``   a user-mode program, in a process of the host machine; ``NAME+MODULE+...`` if
                   its configuration has it load modules besides
``executable:``    the same, if it may make memory executable
``kernel:``        the kernel's process
``tool:MODULE``    what the person's tool loads
``figure:NAME``    one of the published or counted figures
``lines:NUMBER``   so many source lines, as whoever wrote the graph says
``guest:NAME``     a guest, about which nothing is known
=================  =================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

from tools.errors import UserError
from tools.tcb import figures
from tools.tcb.code import measure
from tools.tcb.code.measure import Code, Part


def _figure(name: str) -> Code:
    found = figures.figure(name)
    return measure.alone(measure.OTHER, Part(found.title, found.lines))


def _lines(number: str) -> Code:
    if not number.isdigit():
        raise UserError(f"'lines:{number}' is not a number of lines")
    return measure.alone(measure.OTHER, Part(f"{number} lines", int(number)))


def _guest(name: str) -> Code:
    return measure.alone(measure.GUEST, Part(f"the guest {name}", None))


def _process(names: str, executable: bool) -> Code:
    program, *modules = names.split("+")
    return measure.process(program, executable, tuple(modules))


SCHEMES: Final[Mapping[str, Callable[[str], Code]]] = {
    "program": lambda names: _process(names, False),
    "executable": lambda names: _process(names, True),
    "kernel": lambda _: measure.kernel(),
    "tool": measure.tool,
    "figure": _figure,
    "lines": _lines,
    "guest": _guest,
}


@cache
def size(word: str) -> Code:
    """The code that a word stands for; raises ``UserError`` for one that stands for none."""
    scheme, colon, name = word.partition(":")
    if not colon or scheme not in SCHEMES:
        known = ", ".join(f"{each}:" for each in SCHEMES)
        raise UserError(f"{word!r} does not say what code it is; it begins with one of {known}")
    return SCHEMES[scheme](name)


def sizes(words: Iterable[str]) -> dict[str, Code]:
    """The code of many; they are looked at side by side, since most are processes to start."""
    wanted = list(dict.fromkeys(words))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(wanted, pool.map(size, wanted), strict=True))


_AT_ONCE: Final = 4
