"""qcow2 images, with qemu-img as the judge."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from servers.store.file import FileError
from servers.store.header import ImageError, empty, parse
from servers.store.qcow2 import Qcow2
from tests.servers.store.images import MemoryFile, apply, check, needs_qemu_img, qemu_img

SIZE = 4 << 20


def content(seed: int, size: int = SIZE) -> bytearray:
    """Data with holes."""
    chance = random.Random(seed)
    data = bytearray(size)
    for _ in range(12):
        at, length = chance.randrange(size), chance.randrange(1, 100_000)
        piece = chance.randbytes(length)[: size - at]
        data[at : at + len(piece)] = piece
    return data


def whole(image: Qcow2) -> bytes:
    data = bytearray(image.size)
    image.read(0, memoryview(data))
    image.settle()
    return bytes(data)


def scribble(image: Qcow2, model: bytearray, chance: random.Random, times: int) -> None:
    """Write here and there, in the image and in what it should be."""
    for _ in range(times):
        sectors = len(model) // 512
        at = chance.randrange(sectors)
        length = min(chance.choice((1, 1, 8, 130, 600)), sectors - at)
        data = chance.randbytes(length * 512)
        image.write(at * 512, memoryview(data))
        model[at * 512 : at * 512 + len(data)] = data
        what = chance.random()
        if what < 0.5:
            image.settle()
        if what < 0.1:
            image.flush()
    image.flush()


@needs_qemu_img
@pytest.mark.parametrize(
    "options",
    [
        "compat=1.1",
        "compat=0.10",
        "compat=1.1,cluster_size=512",
        "compat=0.10,cluster_size=4096",
        "compat=1.1,cluster_size=2M",
        "compat=1.1,refcount_bits=64,cluster_size=1024",
        "compat=1.1,refcount_bits=8",
        "compat=1.1,preallocation=metadata",
        "compat=1.1,lazy_refcounts=on",
    ],
)
def test_images_of_qemu_are_read_and_written(tmp_path: Path, options: str) -> None:
    model = content(1)
    raw, path = tmp_path / "raw", tmp_path / "image"
    raw.write_bytes(model)
    convert = () if "preallocation" in options else ("-S", 4096)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-o", options, *convert, raw, path)
    file = MemoryFile(path.read_bytes(), 32 << 20)
    image = Qcow2(file, writable=True)
    assert whole(image) == model
    scribble(image, model, random.Random(2), 60)
    assert whole(image) == model
    path.write_bytes(file.data)
    check(path)
    raw.write_bytes(model)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "qcow2", raw, path)
    assert whole(Qcow2(MemoryFile(bytes(file.data)), writable=False)) == model


@needs_qemu_img
def test_compressed_clusters_are_read_and_replaced(tmp_path: Path) -> None:
    model = bytearray(b"all work and no play " * (SIZE // 21 + 1))[:SIZE]
    raw, path = tmp_path / "raw", tmp_path / "image"
    raw.write_bytes(model)
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, path)
    file = MemoryFile(path.read_bytes(), 32 << 20)
    assert len(file.data) < SIZE // 4
    image = Qcow2(file, writable=True)
    assert whole(image) == model
    scribble(image, model, random.Random(3), 30)
    path.write_bytes(file.data)
    check(path)
    raw.write_bytes(model)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "qcow2", raw, path)


@needs_qemu_img
@pytest.mark.parametrize("cluster_bits", [9, 12, 16])
def test_an_overlay_of_our_own(tmp_path: Path, cluster_bits: int) -> None:
    below = content(4, SIZE - 512 * 5)  # shorter than what lies over it
    (tmp_path / "base.raw").write_bytes(below)
    path = tmp_path / "overlay"
    made = empty(SIZE, "base.raw", "raw", cluster_bits)
    header = parse(made)
    assert (header.backing, header.backing_format, header.size) == ("base.raw", "raw", SIZE)
    path.write_bytes(made)
    check(path)
    file = MemoryFile(made, 64 << 20)
    base = MemoryFile(bytes(below), writable=False)
    image = Qcow2(file, writable=True, backing=base)
    model = below + bytes(512 * 5)
    assert whole(image) == model
    scribble(image, model, random.Random(5), 60)
    assert not base.log
    path.write_bytes(file.data)
    check(path)
    raw = tmp_path / "raw"
    raw.write_bytes(model)
    assert "identical" in qemu_img("compare", "-f", "raw", "-F", "qcow2", raw, path)


@needs_qemu_img
def test_the_refcount_table_grows(tmp_path: Path) -> None:
    size = 40 << 20  # one cluster of the table reaches 8 MiB with clusters of 512 bytes
    path = tmp_path / "image"
    file = MemoryFile(empty(size, cluster_bits=9), 128 << 20)
    image = Qcow2(file, writable=True)
    data = random.Random(6).randbytes(1 << 20)
    for at in range(0, size, 1 << 20):
        image.write(at, memoryview(data))
        image.settle()
    image.flush()
    path.write_bytes(file.data)
    assert parse(bytes(file.data)).refcounts_clusters > 1
    check(path)
    assert whole(Qcow2(MemoryFile(bytes(file.data)), writable=False)) == data * 40


def ends(log: list[tuple[int, bytes] | None]) -> list[int]:
    """Instants between writes, in all parts of the run."""
    return sorted(random.Random(8).sample(range(len(log)), min(len(log), 60)))


@needs_qemu_img
@pytest.mark.parametrize("power", [False, True], ids=["killed", "without power"])
def test_whatever_ends_it_what_was_flushed_is_there(tmp_path: Path, power: bool) -> None:
    """If the process is killed, all writes up to some instant are in the file; if the machine is
    without power, any of those since the last flush are."""
    chance = random.Random(7)
    path, model = tmp_path / "image", bytearray(1 << 20)
    made = empty(len(model), cluster_bits=12)
    base = MemoryFile(bytes(content(9, len(model))), writable=False)
    made = empty(len(model), str(tmp_path / "base"), "raw", 12)
    (tmp_path / "base").write_bytes(base.data)
    model[:] = base.data
    file = MemoryFile(made, 16 << 20)
    image = Qcow2(file, True, base)
    flushed = [(0, bytes(model), bytes(model))]  # (entries of the log, the disk, and after more)
    for _ in range(25):
        for _ in range(3):
            at = chance.randrange(len(model) // 512 - 20) * 512
            data = chance.randbytes(512 * chance.randrange(1, 20))
            image.write(at, memoryview(data))
            model[at : at + len(data)] = data
            image.settle()
        image.flush()
        flushed.append((len(file.log), bytes(model), b""))
    for end in ends(file.log):
        left = after(made, file.log[:end], chance if power else None)
        path.write_bytes(left)
        check(path, leaks_allowed=True)
        found = whole(Qcow2(MemoryFile(left), False, base))
        number = max(i for i, (entries, _, _) in enumerate(flushed) if entries <= end)
        older = flushed[number][1]
        newer = flushed[number + 1][1] if number + 1 < len(flushed) else older
        for sector in range(0, len(found), 512):
            is_older = found[sector : sector + 512] == older[sector : sector + 512]
            # What was written more than once since the last flush may be neither.
            if older[sector : sector + 512] == newer[sector : sector + 512]:
                assert is_older, sector


def after(made: bytes, log: list[tuple[int, bytes] | None], chance: random.Random | None) -> bytes:
    """The file when everything ended after these; ``chance`` drops what was not flushed."""
    left = bytearray(made)
    last = max((i for i, entry in enumerate(log) if entry is None), default=-1)
    for number, entry in enumerate(log):
        if entry is not None and (chance is None or number < last or chance.random() < 0.5):
            apply(left, *entry)
    return bytes(left) + bytes(-len(left) % 4096)


class Failing(MemoryFile):
    """A file whose device is full."""

    full = False
    failed = False

    def write(self, at: int, data: object) -> None:
        if self.full:
            self.failed = True
        else:
            super().write(at, data)  # type: ignore[arg-type]

    def wait(self) -> None:
        failed, self.failed = self.failed, False
        if failed:
            raise FileError("no space")

    def flush(self) -> None:
        self.wait()
        super().flush()


def test_a_write_that_fails_leaves_the_disk_as_it_was() -> None:
    file = Failing(empty(SIZE), 32 << 20)
    base = MemoryFile(bytes(content(1)), writable=False)
    image = Qcow2(file, True, base)
    image.write(0, memoryview(bytes(4096)))
    image.settle()
    before = whole(image)
    file.full = True
    with pytest.raises(FileError):
        image.write(1 << 20, memoryview(b"x" * 4096))
        image.settle()
    file.full = False
    assert whole(image) == before
    image.write(1 << 20, memoryview(b"x" * 4096))
    image.flush()
    assert whole(image)[1 << 20 : (1 << 20) + 4096] == b"x" * 4096


def test_a_file_that_may_not_grow() -> None:
    image = Qcow2(MemoryFile(empty(SIZE), 1 << 20), writable=True)
    with pytest.raises(FileError, match="as large as its file may"):
        for at in range(0, SIZE, 1 << 16):
            image.write(at, memoryview(bytes(1 << 16)))
            image.settle()


def changed(at: int, data: bytes) -> bytes:
    made = bytearray(empty(SIZE))
    made[at : at + len(data)] = data
    return bytes(made)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"raw disk" * 1000, "first four bytes"),
        (empty(SIZE)[:60], "cut short"),
        (changed(4, b"\0\0\0\4"), "version 4"),
        (changed(0x20, b"\0\0\0\1"), "encrypted"),
        (changed(0x14, b"\0\0\0\x16"), "clusters have"),
        (changed(0x4F, b"\1"), "reference counts were not brought up to date"),
        (changed(0x4F, b"\2"), "marked as corrupt"),
        (changed(0x4F, b"\4"), "file of its own"),
        (changed(0x4F, b"\x10"), "subclusters"),
        (changed(0x48, b"\1"), "features that are not known"),
        (changed(0x18, b"\xff"), "TiB"),
        (changed(0x27, b"\0"), "L1 table has 0 entries"),
        (changed(0x28, b"\0\0\0\0\0\3\0\1"), "L1 table is at 0x30001"),
        (changed(0x30, bytes(8)), "refcount table is at 0x0"),
        (changed(0x30, b"\0\0\0\0\0\3\0\0"), "one place"),
        (changed(0x38, b"\xff"), "refcount table has"),
        (changed(0x60, b"\0\0\0\7"), "2\\^7 bits"),
        (changed(0x60, b"\0\0\0\1"), "8 are needed"),
        (changed(0x3C, b"\0\0\0\1"), "snapshots"),
        (changed(0x20000, bytes(512)), "not counted"),
        (changed(0x10000, b"\xff" * 8), "block 0 of reference counts"),
        (changed(0x30000, b"\x80\0\0\0\0\1\0\0"), "one place"),
        (changed(0x30000, b"\x80\0\0\0\0\4\2\0"), "L1 table names"),
        (changed(8, b"\0\0\0\0\0\1\0\0\0\0\0\x10"), "name of its backing file"),
        (empty(SIZE, "base"), "backing file 'base' was not given"),
    ],
)
def test_damaged_images_are_refused_in_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence) as error:
        Qcow2(MemoryFile(data.ljust(512, b"\0")), writable=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(200))
def test_damage_anywhere_does_no_harm(seed: int) -> None:
    chance = random.Random(seed)
    file = MemoryFile(empty(SIZE, cluster_bits=12), 8 << 20)
    image = Qcow2(file, writable=True)
    scribble(image, bytearray(SIZE), random.Random(1), 10)
    data = bytearray(file.data)
    for _ in range(chance.randrange(1, 12)):
        if chance.random() < 0.5:
            data[chance.randrange(112)] = chance.randrange(256)
        else:
            data[chance.randrange(5 << 12)] = chance.choice(
                (0, 1, 0x40, 0x80, chance.randrange(256))
            )
    try:
        image = Qcow2(MemoryFile(bytes(data), 8 << 20), writable=True)
        size = min(image.size, 1 << 20)
        image.read(0, memoryview(bytearray(size)))
        for _ in range(5):
            at = chance.randrange(max(size, 512) // 512) * 512
            image.write(at, memoryview(bytes(512)))
        image.flush()
    except (ImageError, FileError):
        pass
