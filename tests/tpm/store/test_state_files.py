"""State files: opened safely, held against a second instance, and whole after any kill."""

from __future__ import annotations

import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpm.store import keys
from tpm.store.files import FileMedium, Folder, open_file
from tpm.store.journal import Journal, StoreError, WrongKey

KEY = bytes(32)


def opened(folder: Path, name: str = "tpm.state") -> FileMedium:
    with Folder(str(folder)) as found:
        return FileMedium(found, name)


def test_a_new_file_is_the_owners_alone(tmp_path: Path) -> None:
    medium = opened(tmp_path)
    Journal(medium, KEY).commit({"a": b"1"})
    medium.close()
    mode = (tmp_path / "tpm.state").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert Journal(opened(tmp_path), KEY).load() == {"a": b"1"}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "tpm.state").symlink_to("victim")
    with pytest.raises(StoreError, match="symbolic link"):
        opened(tmp_path)
    assert (tmp_path / "victim").read_bytes() == b"precious"
    (tmp_path / "tpm.key").symlink_to("victim")
    with Folder(str(tmp_path)) as folder, pytest.raises(StoreError, match="symbolic link"):
        keys.beside(folder, "tpm.key")


def test_other_things_in_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tpm.state")
    with pytest.raises(StoreError, match="not an ordinary file"):
        opened(tmp_path)
    (tmp_path / "folder.state").mkdir()
    with pytest.raises(StoreError, match=r"folder\.state"):
        opened(tmp_path, "folder.state")
    with pytest.raises(StoreError, match="does not exist"):
        Folder(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is not a folder"):
        Folder(str(tmp_path / "file"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file(tmp_path: Path) -> None:
    (tmp_path / "tpm.state").touch()
    os.chown(tmp_path / "tpm.state", 4711, 4711)
    with pytest.raises(StoreError, match="another user"):
        opened(tmp_path)


def test_a_second_instance_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(StoreError, match="in use by another instance"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_waits_for_another_instance_as_long_as_it_may(tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]);"
        "from tpm.store.files import FileMedium, Folder;"
        "m = FileMedium(Folder(sys.argv[2]), 'tpm.state'); print('held', flush=True);"
        "time.sleep(0.2)"
    )
    root = str(Path(__file__).resolve().parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", code, root, str(tmp_path)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with Folder(str(tmp_path)) as folder:
            FileMedium(folder, "tpm.state", wait=10).close()


def test_keys(tmp_path: Path) -> None:
    with Folder(str(tmp_path)) as folder:
        made, new = keys.beside(folder, "tpm.key")
        assert new
        assert keys.beside(folder, "tpm.key") == (made, False)
    assert stat.S_IMODE((tmp_path / "tpm.key").stat().st_mode) == 0o600
    assert keys.parse_key(bytes(range(16)).hex().encode() + b"\n") == keys.parse_key(
        bytes(range(16)), "binary"
    )
    for wrong in (b"zz", b"00" * 15, b""):
        with pytest.raises(StoreError):
            keys.parse_key(wrong)
    (tmp_path / "long").write_bytes(bytes(5000))
    with pytest.raises(StoreError, match="longer than"):
        keys.key_file(str(tmp_path / "long"))


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2", "sha512"])
def test_a_password(tmp_path: Path, kdf: keys.Kdf) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    medium = opened(tmp_path)
    Journal(medium, keys.password_file(str(secret), kdf)).commit({"a": b"1"})
    assert Journal(medium, keys.password_file(str(secret), kdf)).load() == {"a": b"1"}
    secret.write_text("close sesame\n")
    with pytest.raises(WrongKey):
        Journal(medium, keys.password_file(str(secret), kdf))


def test_open_file_creates_where_it_is_told(tmp_path: Path) -> None:
    fd = open_file(str(tmp_path / "log"), os.O_WRONLY | os.O_CREAT, 0o640)
    os.close(fd)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        open_file(str(tmp_path / "link"), os.O_WRONLY | os.O_CREAT)
    assert not (tmp_path / "elsewhere").exists()


def write_until_killed(folder: Path, first: int, acknowledge: int) -> None:
    """Commit numbers, each twice in different blobs; say which were committed."""
    store = Journal(opened(folder), KEY)
    number = first
    while True:
        number += 1
        filler = os.urandom(number * 7919 % 6000)
        store.commit({"n": struct.pack(">Q", number), "copy": struct.pack(">Q", number) + filler})
        os.write(acknowledge, struct.pack(">Q", number))


def test_hundreds_of_kills_lose_nothing(tmp_path: Path) -> None:
    rng = random.Random(11)
    last, generations = 0, set()
    for _ in range(300):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                write_until_killed(tmp_path, last, writer)
            finally:
                os._exit(1)
        os.close(writer)
        time.sleep(rng.random() * 0.012)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        said = b""
        while piece := os.read(reader, 1 << 16):
            said += piece
        os.close(reader)
        acknowledged = struct.unpack(">Q", said[-8:])[0] if said else last
        medium = opened(tmp_path)
        store = Journal(medium, KEY)
        found = store.load()
        generations.add(store.position[0])
        medium.close()
        number = struct.unpack(">Q", found["n"])[0] if found else 0
        assert acknowledged <= number <= acknowledged + 1
        assert not found or found["copy"][:8] == found["n"]
        last = number
    assert last > 1000
    assert len(generations) > 3, "the kills did not reach a change of area"
