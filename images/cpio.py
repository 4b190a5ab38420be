"""An archive in cpio's "newc" form, which Linux unpacks as its initial RAM disk.

The format is described in the Linux documentation, driver-api/early-userspace/buffer-format: for
each entry a header of 110 ASCII characters (a magic number and thirteen fields of eight hexadecimal
digits), the name with its final zero, padding to four bytes, the contents, and padding again.  The
entry ``TRAILER!!!`` ends it.

It is written here because the ``cpio`` program needs root to store device nodes and takes owners
and times from the disk.  This one stores what it is told: the same calls give the same bytes.
"""

from __future__ import annotations

import stat
from typing import Final

_MAGIC: Final = b"070701"
_TRAILER: Final = "TRAILER!!!"
_MAX_SIZE: Final = 0xFFFFFFFF


class Archive:
    """Entries in the order in which they were added; all belong to uid 0 and gid 0, at time 0."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._kinds: dict[str, int] = {}
        self._inode = 0

    def add_folder(self, path: str, mode: int = 0o755) -> None:
        """A folder, and those it lies in; one that is there already is left as it is."""
        path = _clean(path)
        parent = path.rpartition("/")[0]
        if parent:
            self.add_folder(parent)
        if self._kinds.get(path) != stat.S_IFDIR:
            self._add(path, stat.S_IFDIR, mode, links=2)

    def add_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A regular file."""
        self._add_in_folder(path, stat.S_IFREG, mode, data)

    def add_link(self, path: str, target: str) -> None:
        """A symbolic link; the target is stored as it is given."""
        self._add_in_folder(path, stat.S_IFLNK, 0o777, target.encode())

    def add_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character device node."""
        self._add_in_folder(path, stat.S_IFCHR, mode, device=(major, minor))

    def data(self) -> bytes:
        """The finished archive."""
        return b"".join([*self._parts, _entry(_TRAILER, 0, 0, 1, b"", (0, 0))])

    def _add_in_folder(
        self, path: str, kind: int, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        path = _clean(path)
        parent = path.rpartition("/")[0]
        if parent:
            self.add_folder(parent)
        self._add(path, kind, mode, data, device)

    def _add(
        self,
        path: str,
        kind: int,
        mode: int,
        data: bytes = b"",
        device: tuple[int, int] = (0, 0),
        links: int = 1,
    ) -> None:
        if path in self._kinds:
            raise ValueError(f"{path} is in the archive already")
        if len(data) > _MAX_SIZE:
            raise ValueError(f"{path} has {len(data)} bytes, an archive takes {_MAX_SIZE} a file")
        self._kinds[path] = kind
        self._inode += 1
        self._parts.append(_entry(path, self._inode, kind | mode, links, data, device))


def _clean(path: str) -> str:
    """The path without its leading slash; relative parts have no meaning in an archive."""
    parts = path.strip("/").split("/")
    if "" in parts or "." in parts or ".." in parts or "\0" in path or path == _TRAILER:
        raise ValueError(f"{path!r} is not a path in an archive")
    return "/".join(parts)


def _entry(
    name: str, inode: int, mode: int, links: int, data: bytes, device: tuple[int, int]
) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = _MAGIC + b"".join(b"%08X" % field for field in fields) + encoded
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
