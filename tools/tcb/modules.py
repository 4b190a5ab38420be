"""What a program loads: its imports, followed through the source without running it.

Imports inside functions count, because they happen later; those for the type checker alone do not.
So do ``import_module`` and ``find_spec`` where the name is written out.  Where a name is made up at
run time, whoever asks has to name the module as another root.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

_BY_NAME: Final = ("import_module", "find_spec")


class Code(NamedTuple):
    """What is loaded."""

    modules: dict[str, Path]
    """Our own, by name."""
    packages: frozenset[str]
    """Of third parties, by the name that is imported."""


def _find(name: str, paths: Sequence[Path]) -> Path | None:
    """The file of a module of our own; None where it is none."""
    for path in paths:
        base = path.joinpath(*name.split("."))
        for file in (base / "__init__.py", base.with_suffix(".py")):
            if file.is_file():
                return file
    return None


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _imports(node: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """``(module, names taken from it)`` of every import below a node; none is relative."""
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        for branch in node.orelse:
            yield from _imports(branch)
        return
    if isinstance(node, ast.Import):
        yield from ((alias.name, []) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module, [alias.name for alias in node.names]
    elif isinstance(node, ast.Call) and node.args:
        function, first = node.func, node.args[0]
        called = getattr(function, "attr", getattr(function, "id", ""))
        if called in _BY_NAME and isinstance(first, ast.Constant):
            yield str(first.value), []
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


@cache
def _imported(file: Path) -> tuple[tuple[str, list[str]], ...]:
    return tuple(_imports(ast.parse(file.read_text(encoding="utf-8"))))


def follow(roots: Iterable[str], paths: Sequence[Path]) -> Code:
    """All that is loaded with some modules; ``paths`` is where our own code is."""
    modules: dict[str, Path] = {}
    packages: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        file = _find(name, paths)
        if file is None:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and not _ours(top, paths):
                packages.add(top)
            continue
        modules[name] = file
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        for module, names in _imported(file):
            waiting.append(module)
            waiting += [f"{module}.{one}" for one in names if _find(f"{module}.{one}", paths)]
    return Code(modules, frozenset(packages))


def _ours(top: str, paths: Sequence[Path]) -> bool:
    """Whether a name is a folder of ours, which need not be a package."""
    return any((path / top).is_dir() for path in paths)
