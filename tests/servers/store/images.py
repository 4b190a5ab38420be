"""Images in files and in memory, without a block driver."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from servers.store.file import Bytes

QEMU_IMG = shutil.which("qemu-img")
needs_qemu_img = pytest.mark.skipif(QEMU_IMG is None, reason="apt install qemu-utils")


def qemu_img(*arguments: object) -> str:
    done = subprocess.run(
        ["qemu-img", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def check(path: Path, leaks_allowed: bool = False) -> None:
    """What qemu-img finds wrong with an image."""
    done = subprocess.run(
        ["qemu-img", "check", "-f", "qcow2", str(path)], capture_output=True, text=True, check=False
    )
    allowed = (0, 3) if leaks_allowed else (0,)
    assert done.returncode in allowed, done.stdout + done.stderr


class MemoryFile:
    """A file of which every write and flush is written down."""

    def __init__(self, data: bytes, size: int = 0, writable: bool = True) -> None:
        self.data = bytearray(data)
        self.size = max(size, len(data)) // 512 * 512
        self.writable = writable
        self.log: list[tuple[int, bytes] | None] = []  # None is a flush

    def read(self, at: int, into: memoryview) -> None:
        assert at % 512 == len(into) % 512 == 0 and at + len(into) <= self.size
        data = self.data[at : at + len(into)]
        into[:] = data + bytes(len(into) - len(data))

    def write(self, at: int, data: Bytes) -> None:
        assert at % 512 == len(data) % 512 == 0 and at + len(data) <= self.size
        self.log.append((at, bytes(data)))
        apply(self.data, at, bytes(data))

    def wait(self) -> None:
        pass

    def flush(self) -> None:
        self.log.append(None)


def apply(image: bytearray, at: int, data: bytes) -> None:
    if at > len(image):
        image.extend(bytes(at - len(image)))
    image[at : at + len(data)] = data
