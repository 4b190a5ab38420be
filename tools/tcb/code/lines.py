"""Source lines of any file, counted by pygount: one definition for all systems and languages.

A line counts if it has code on it.  Blank lines, comments, docstrings, lone brackets and lines
that are only text do not; generated code does, for it is run like any other.  What was counted once
is remembered by its content, in ``lines.sqlite`` of the cache folder.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from images import cache

_AT_ONCE: Final = 24
"""Files that are worth another process."""
NOT_CODE: Final = frozenset(
    (
        *("CSV", "Diff", "Gettext Catalog", "INI", "JSON", "Markdown", "SVG", "TOML"),
        *("Text only", "Text output", "XML", "YAML", "reStructuredText"),
    )
)
"""Languages that say something to no machine, or nothing that it would do."""


class Count(NamedTuple):
    """One file."""

    language: str
    """As pygments names it; ``-`` for what is not source."""
    lines: int
    """Source lines; 0 if it is not code."""
    skipped: str
    """Why it was not counted, such as ``binary``; empty if it was."""


def version() -> str:
    """What counts."""
    import pygount

    return f"pygount {pygount.__version__}"


def counted(paths: Iterable[Path]) -> dict[Path, Count]:
    """The lines of each file; raises ``OSError`` for one that cannot be read."""
    wanted = list(dict.fromkeys(paths))
    keys = {path: _key(path) for path in wanted}
    with _memory() as memory:
        looked_up = {path: memory.get(key) for path, key in keys.items()}
        known = {path: one for path, one in looked_up.items() if one is not None}
        missing = [path for path in wanted if path not in known]
        found = dict(zip(missing, _count_all(missing), strict=True))
        memory.put({keys[path]: count for path, count in found.items()})
    both = {**known, **found}
    return {path: both[path] for path in wanted}


def source_lines(path: Path) -> int:
    """Source lines of one file."""
    return counted([path])[path].lines


def _key(path: Path) -> str:
    """What the count depends on: content, name (which tells the language), and who counts."""
    digest = hashlib.sha256(path.read_bytes())
    digest.update(f"\0{path.name}\0{version()}".encode())
    return digest.hexdigest()


def _count_all(paths: list[Path]) -> Iterable[Count]:
    processes = len(os.sched_getaffinity(0))
    if len(paths) < _AT_ONCE or processes == 1:
        return map(count, paths)
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(count, paths, chunksize=8))


def count(path: Path) -> Count:
    """Count one file, remembered or not."""
    import pygount

    found = pygount.SourceAnalysis.from_file(
        str(path), "", fallback_encoding="latin-1", generated_regexes=[]
    )
    state = pygount.SourceState
    if found.state not in (state.analyzed, state.empty):
        return Count("-", 0, found.state.name)
    language = found.language.strip("_")
    is_code = found.state is state.analyzed and language not in NOT_CODE
    return Count(language, found.code_count if is_code else 0, "" if is_code else "not code")


class _Memory:
    """Counts of earlier runs."""

    def __init__(self, database: sqlite3.Connection | None) -> None:
        self._database = database

    def get(self, key: str) -> Count | None:
        if self._database is None:
            return None
        rows = self._database.execute(
            "SELECT language, lines, skipped FROM counts WHERE key = ?", (key,)
        )
        return next((Count(*row) for row in rows), None)

    def put(self, counts: dict[str, Count]) -> None:
        if self._database is not None and counts:
            rows = [(key, *found) for key, found in counts.items()]
            with suppress(sqlite3.Error), self._database:  # a full disk costs time, nothing else
                self._database.executemany("INSERT OR REPLACE INTO counts VALUES (?,?,?,?)", rows)


@contextmanager
def _memory() -> Iterator[_Memory]:
    """What is remembered; nothing, where there is no cache to write to."""
    path = cache.folder() / "lines.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=10)
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS counts"
                " (key TEXT PRIMARY KEY, language TEXT, lines INTEGER, skipped TEXT)"
            )
    except (OSError, sqlite3.Error):
        yield _Memory(None)
        return
    with closing(database):
        yield _Memory(database)
