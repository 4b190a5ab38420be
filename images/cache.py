"""The user's cache folder, where finished images are kept.

It is ``$CLOISTER_CACHE``, else ``$XDG_CACHE_HOME/cloister``, else ``~/.cache/cloister``.  What is
in it can be made again, so it may be deleted at any time.  Files and folders appear there whole or
not at all: a process that is killed, or that runs beside another one, leaves no half of an image.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    """The cache folder; it need not exist."""
    own = os.environ.get("CLOISTER_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser().absolute() / "cloister"


def image(name: str) -> Path:
    """The folder of an image; it need not exist."""
    return folder() / "images" / name


def write(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(handle, 0o644)
            os.fsync(handle)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``path`` when all went well.

    Of two processes that do so at once, the one that ends last wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.new.", dir=path.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        _exchange(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _exchange(fresh: Path, path: Path) -> None:
    """Put ``fresh`` at ``path``; what was there is removed."""
    while True:
        try:
            fresh.rename(path)  # replaces nothing and an empty folder
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
        try:
            path.rename(old)
        except FileNotFoundError:
            pass  # the other process has just moved it away
        finally:
            shutil.rmtree(old, ignore_errors=True)
