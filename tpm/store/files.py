"""State in a folder: opened so that nobody else's link is followed, and held while it is used.

Files are opened relative to the folder's descriptor, without following a link in the last place,
and must be ordinary files of this user.  The state file itself is locked: the lock ends with the
process, however that ends, so that nothing stale is left behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from types import TracebackType
from typing import Final

from tpm.store.journal import Journal, Key, StoreError

SIZE: Final = 1 << 20
"""Bytes of a new state file."""
MODE: Final = 0o600
RETRY_PAUSE: Final = 0.01
"""Seconds between attempts to lock."""


def _reason(error: OSError, path: str) -> str:
    if error.errno in (errno.ELOOP, errno.EMLINK):
        return f"{path} is a symbolic link, which is not followed"
    return f"cannot open {path}: {error.strerror}"


class Folder:
    """A folder that holds state."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StoreError(f"the folder {path} does not exist") from None
        except NotADirectoryError:
            raise StoreError(f"{path} is not a folder") from None
        except OSError as error:
            raise StoreError(_reason(error, path)) from None

    def open(self, name: str, flags: int, mode: int = MODE) -> int:
        """A descriptor of an ordinary file in this folder; raises ``StoreError``."""
        return open_file(name, flags, mode, self._fd, os.path.join(self.path, name))

    def exists(self, name: str) -> bool:
        """Whether there is anything of that name."""
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def create(self, name: str, data: bytes) -> None:
        """Make a file that is there whole or not at all; nothing happens if there is one."""
        temporary = f".{name}.{os.getpid()}"
        fd = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(fd, data)
            os.fsync(fd)
            try:
                os.link(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except FileExistsError:
                pass
            os.fsync(self._fd)
        finally:
            os.close(fd)
            os.unlink(temporary, dir_fd=self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_file(
    path: str, flags: int, mode: int = MODE, folder: int | None = None, shown: str = ""
) -> int:
    """Open an ordinary file of this user without following a link; raises ``StoreError``."""
    shown = shown or path
    try:
        # Without O_NONBLOCK, somebody's FIFO of that name would hold us up.
        fd = os.open(
            path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode, dir_fd=folder
        )
    except OSError as error:
        raise StoreError(_reason(error, shown)) from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise StoreError(f"{shown} is not an ordinary file")
    if found.st_uid not in (os.geteuid(), 0):
        os.close(fd)
        raise StoreError(f"{shown} belongs to another user")
    return fd


class FileMedium:
    """A state file, locked as long as it is open."""

    def __init__(
        self, folder: Folder, name: str, mode: int = MODE, wait: float = 0, size: int = SIZE
    ) -> None:
        """Open it, or create it with ``size`` bytes; ``wait`` seconds at most for another instance
        that holds it."""
        path = os.path.join(folder.path, name)
        self._fd = folder.open(name, os.O_RDWR | os.O_CREAT, mode)
        try:
            self._lock(path, time.monotonic() + wait)
            if not os.fstat(self._fd).st_size:
                os.ftruncate(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        self.size = os.fstat(self._fd).st_size

    def _lock(self, path: str, until: float) -> None:
        while True:
            try:
                return fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise StoreError(f"{path} is in use by another instance") from None
            time.sleep(RETRY_PAUSE)

    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, offset)
            view, offset = view[count:], offset + count

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of the file and of the lock."""
        os.close(self._fd)


class LockedJournal(Journal):
    """The journal in a state file, which it holds."""

    def __init__(self, medium: FileMedium, key: Key) -> None:
        self._file = medium
        super().__init__(medium, key)

    def close(self) -> None:
        self._file.close()
