"""The part of a source tree that one configuration compiles, from its compile database.

A ``compile_commands.json`` (Clang's "JSON Compilation Database Format Specification") names the
commands that built the tree.  Each is run again to obey the preprocessor's conditions and nothing
more (``-fdirectives-only``), which leaves the lines that are compiled as they are, and says where
each is from.  What no command reaches is blanked, and what remains is counted like any other file.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from tools.errors import UserError

_TIMEOUT: Final = 120.0
_MARKER: Final = re.compile(r'# (\d+) "((?:[^"\\]|\\.)*)"')
_WITH_VALUE: Final = ("-o", "-MF", "-MT", "-MQ")
_ALONE: Final = ("-c", "-S", "-E", "-M", "-MM", "-MD", "-MMD", "-MP", "-MG")
"""Options of a command that say what to write."""
Lines = dict[Path, dict[int, str]]
"""File -> number of a line -> its text."""


def configured(database: Path, root: Path) -> Lines:
    """The lines below ``root`` that the commands of a database compile.

    Raises ``UserError`` for a database that is none, and for a command that fails.
    """
    entries = _entries(database)
    found: Lines = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for output in pool.map(_preprocess, entries):
            _collect(output, root.resolve(), found)
    return found


def _entries(database: Path) -> list[tuple[Path, list[str]]]:
    """Folder and arguments of each command."""
    try:
        read = json.loads(database.read_text(encoding="utf-8"))
        return [_entry(entry) for entry in read]
    except OSError as error:
        raise UserError(
            f"the compile database {database} cannot be read: {error.strerror}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{database} is no compile database: it has to be a list of objects with directory, "
            "file, and command or arguments"
        ) from None


def _entry(entry: dict[str, Any]) -> tuple[Path, list[str]]:
    arguments = entry.get("arguments") or shlex.split(entry["command"])
    if not arguments or not all(isinstance(word, str) for word in arguments):
        raise ValueError
    return Path(entry["directory"]), _to_preprocess(arguments)


def _to_preprocess(arguments: Sequence[str]) -> list[str]:
    """A compiler's arguments, to preprocess only."""
    kept, words = [], iter(arguments)
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif word not in _ALONE and not word.startswith(("-Wp,-M", "-o")):
            kept.append(word)
    return [*kept, "-E", "-fdirectives-only", "-w"]


def _preprocess(entry: tuple[Path, list[str]]) -> tuple[Path, str]:
    folder, command = entry
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]} of the compile database does not run: {error}") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise UserError(f"a command of the compile database fails: {reason}")
    return folder, done.stdout.decode("utf-8", errors="replace")


def _collect(output: tuple[Path, str], root: Path, found: Lines) -> None:
    """Add the lines of one output that are in files below ``root``."""
    folder, text = output
    lines: dict[int, str] | None = None
    number = 0
    for line in text.splitlines():
        marker = _MARKER.match(line)
        if marker:
            number, path = int(marker[1]), _place(folder, marker[2], root)
            lines = None if path is None else found.setdefault(path, {})
            continue
        if lines is not None and line.strip():
            lines[number] = line
        number += 1


def _place(folder: Path, name: str, root: Path) -> Path | None:
    if name.startswith("<"):
        return None
    path = (folder / re.sub(r"\\(.)", r"\1", name)).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def texts(found: Lines) -> Iterator[tuple[Path, str]]:
    """Each file with nothing but its configured lines, in their places."""
    for path, lines in sorted(found.items()):
        if lines:
            yield path, "\n".join(lines.get(i, "") for i in range(1, max(lines) + 1)) + "\n"
