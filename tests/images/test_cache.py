"""The cache folder: where it is, and that nothing in it is ever half there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from images import cache


def test_the_folder_is_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    monkeypatch.setenv("HOME", "/home/ada")
    assert cache.folder() == Path("/one")
    monkeypatch.delenv("CLOISTER_CACHE")
    assert cache.folder() == Path("/two/cloister")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache.folder() == Path("/home/ada/.cache/cloister")
    assert cache.image("linux") == Path("/home/ada/.cache/cloister/images/linux")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    cache.write(path, b"one")
    cache.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError):
        cache.write(tmp_path / "file", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "image"
    for content in (b"one", b"two"):
        with cache.replacing(path) as fresh:
            (fresh / content.decode()).write_bytes(content)
    assert [file.name for file in path.iterdir()] == ["two"]
    assert path.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with cache.replacing(path) as fresh:
        (fresh / "old").touch()
    with pytest.raises(RuntimeError), cache.replacing(path) as fresh:
        (fresh / "new").touch()
        raise RuntimeError
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_several_may_replace_a_folder_at_once(tmp_path: Path) -> None:
    path = tmp_path / "image"

    def replace(name: str) -> None:
        with cache.replacing(path) as fresh:
            (fresh / name).touch()

    names = [str(number) for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(replace, names))
    assert len(list(path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == [path]
