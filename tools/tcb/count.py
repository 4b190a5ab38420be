"""``cloister tcb count``: the source lines of any tree, by language."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.errors import UserError
from tools.tcb.code import lines
from tools.tcb.configured import configured, texts

_LEFT_OUT: Final = ("__pycache__", "node_modules")
"""Folders in which nobody writes source, besides those whose names begin with a dot."""


@dataclass(frozen=True)
class Size:
    """Source lines of some files."""

    files: dict[str, int]
    """Number of files, by language."""
    lines: dict[str, int]
    """Source lines, by language."""

    @property
    def source_lines(self) -> int:
        return sum(self.lines.values())

    def json(self) -> dict[str, Any]:
        return {
            "source_lines": self.source_lines,
            "files": sum(self.files.values()),
            "languages": {
                language: {"files": self.files[language], "source_lines": count}
                for language, count in sorted(self.lines.items(), key=lambda item: -item[1])
            },
        }


@dataclass(frozen=True)
class Tree:
    """What is in a tree: all of it, and what a configuration compiles of it, if one was given."""

    path: str
    raw: Size
    skipped: dict[str, int]
    """Number of files that were not counted, by reason."""
    configured: Size | None

    def json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            **self.raw.json(),
            "skipped": self.skipped,
            "configured": self.configured.json() if self.configured else None,
            "counted_by": lines.version(),
        }


def count(path: Path, database: Path | None = None) -> Tree:
    """Count a file or a folder; raises ``UserError`` if it cannot be read."""
    if not path.exists():
        raise UserError(f"there is no file or folder {path} to count")
    try:
        found = lines.counted(_files(path))
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read: {error.strerror}") from None
    skipped = Counter(one.skipped for one in found.values() if one.skipped)
    part = None if database is None else _count_configured(database, path)
    return Tree(str(path), _size(found), dict(sorted(skipped.items())), part)


def _files(path: Path) -> Iterator[Path]:
    """The files of a tree, in a fixed order; links are not followed, so each counts once."""
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in _LEFT_OUT)
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and file.is_file() and not file.is_symlink():
                yield file


def _raise(error: OSError) -> None:
    raise error


def _size(found: dict[Path, lines.Count]) -> Size:
    counts = [one for one in found.values() if not one.skipped and one.language != "-"]
    files, source = Counter(one.language for one in counts), Counter[str]()
    for one in counts:
        source[one.language] += one.lines
    return Size(dict(files), dict(source))


def _count_configured(database: Path, root: Path) -> Size:
    """Of what a database compiles, as files of the same names, which tell the language."""
    with tempfile.TemporaryDirectory(prefix="cloister-count-") as folder:
        copies = []
        for number, (path, text) in enumerate(texts(configured(database, root))):
            copy = Path(folder, str(number), path.name)
            copy.parent.mkdir()
            copy.write_text(text, encoding="utf-8")
            copies.append(copy)
        return _size(lines.counted(copies))
