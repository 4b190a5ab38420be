"""The archive for an initial RAM disk, read back by a reader after the format's description."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.cpio import Archive


class Entry(NamedTuple):
    name: str
    mode: int
    data: bytes
    device: tuple[int, int]
    links: int
    inode: int


def read(archive: bytes) -> list[Entry]:
    """All entries before the trailer; fails if the archive is not in the newc form."""
    found: list[Entry] = []
    at = 0
    while True:
        assert at % 4 == 0
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        inode, mode, uid, gid, links, mtime, size = fields[:7]
        name_size, check = fields[11], fields[12]
        assert (uid, gid, mtime, check) == (0, 0, 0, 0)
        name = archive[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        at = (at + 110 + name_size + 3) & ~3
        data = archive[at : at + size]
        assert len(data) == size
        at = (at + size + 3) & ~3
        if name == b"TRAILER!!!\0":
            assert at == len(archive)
            return found
        device = (fields[9], fields[10])
        found.append(Entry(name[:-1].decode(), mode, data, device, links, inode))


def test_every_kind_of_entry() -> None:
    archive = Archive()
    archive.add_folder("tmp", 0o1777)
    archive.add_file("bin/busybox", b"\x7fELF", 0o755)
    archive.add_link("/bin/sh", "busybox")
    archive.add_device("dev/console", 5, 1)
    entries = read(archive.data())
    assert [(e.name, e.mode, e.data, e.device) for e in entries] == [
        ("tmp", stat.S_IFDIR | 0o1777, b"", (0, 0)),
        ("bin", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("bin/busybox", stat.S_IFREG | 0o755, b"\x7fELF", (0, 0)),
        ("bin/sh", stat.S_IFLNK | 0o777, b"busybox", (0, 0)),
        ("dev", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)),
    ]
    assert len({e.inode for e in entries}) == len(entries)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_contents_of_any_length_come_back(contents: list[bytes]) -> None:
    archive = Archive()
    for index, data in enumerate(contents):
        archive.add_file("f" * (index + 1), data)
    assert [entry.data for entry in read(archive.data())] == contents


def test_the_same_calls_give_the_same_bytes() -> None:
    def make() -> bytes:
        archive = Archive()
        archive.add_file("etc/a", b"a")
        return archive.data()

    assert make() == make()


@pytest.mark.parametrize("path", ["", "/", "a//b", "../a", "a/./b", "a\0b", "TRAILER!!!"])
def test_paths_without_a_meaning_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        Archive().add_file(path, b"")


def test_a_path_is_added_once() -> None:
    archive = Archive()
    archive.add_file("a", b"")
    with pytest.raises(ValueError, match="is in the archive already"):
        archive.add_file("/a", b"")
    with pytest.raises(ValueError, match="is in the archive already"):
        archive.add_file("a/b", b"")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio: apt install cpio")
def test_the_cpio_program_unpacks_it(tmp_path: Path) -> None:
    archive = Archive()
    archive.add_file("bin/tool", b"contents", 0o755)
    archive.add_link("bin/other", "tool")
    listed = subprocess.run(
        ["cpio", "-t", "--quiet"], input=archive.data(), capture_output=True, check=True
    )
    assert listed.stdout.decode().split() == ["bin", "bin/tool", "bin/other"]
    subprocess.run(["cpio", "-id", "--quiet"], cwd=tmp_path, input=archive.data(), check=True)
    assert (tmp_path / "bin/other").read_bytes() == b"contents"
    assert (tmp_path / "bin/tool").stat().st_mode & 0o777 == 0o755
