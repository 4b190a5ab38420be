"""Mappings on the host machine: what is left of one that was closed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the host machine needs Linux", allow_module_level=True)

from servers.runtime.host import HostMemory

SIZE = 1 << 20


def memory(writable: bool = True) -> tuple[HostMemory, int]:
    """A mapping of a frame of eights, and the frame's descriptor."""
    fd = os.memfd_create("frame")
    os.write(fd, b"8" * SIZE)
    return HostMemory(fd, SIZE, writable, lambda: None), fd


def mapped(address: int) -> bool:
    """Whether something is mapped there."""
    for line in Path("/proc/self/maps").read_text(encoding="ascii").splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= address < end:
            return True
    return False


@pytest.mark.parametrize("writable", [True, False])
def test_a_stale_view_reads_zeros(writable: bool) -> None:
    found, fd = memory(writable)
    view = found.view[4096:8192]
    assert bytes(view) == b"8" * 4096
    found.close()
    assert bytes(view) == bytes(4096)
    assert os.pread(fd, 1, 4096) == b"8"
    os.close(fd)


def test_address_space_is_given_back_with_the_last_view() -> None:
    found, fd = memory()
    address, view = found.address, found.view[:1]
    found.close()
    del found
    assert mapped(address)
    del view
    assert not mapped(address)
    os.close(fd)


def test_mapping_and_unmapping_for_long_takes_no_address_space() -> None:
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])

    before = pages()
    for _ in range(100):
        found, fd = memory()
        found.close()
        os.close(fd)
    assert pages() - before < 50 * SIZE // 4096
