"""Disks that are not virtio's, on a board."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.backends import MemoryBlock
from tests.vmm.rig import Recorder, new_memory
from vmm.backends import Backends, Drive
from vmm.board import Board
from vmm.config import MIB, VmConfig
from vmm.pacer import Waiter
from vmm.snapshot import state


def board(*drives: Drive) -> Board:
    waiter = Waiter()
    return Board(
        VmConfig(memory=8 * MIB),
        new_memory(8 * MIB),
        Backends(Recorder(), drives=drives),
        idle=waiter.idle,
        wake=waiter.wake,
    )


def identify(made: Board, base: int, drive: int) -> int:
    """Whether a drive is there, and what: word 0 of its identity, or 0."""
    made.ports.write(base + 6, 1, 0xA0 | drive << 4)
    for command in (0xEC, 0xA1):
        made.ports.write(base + 7, 1, command)
        if made.ports.read(base + 7, 1) & 0x89 == 0x08:
            return struct.unpack("<256H", read_all(made, base))[0]  # type: ignore[no-any-return]
    return 0


def read_all(made: Board, base: int) -> bytes:
    return b"".join(made.ports.read(base, 2).to_bytes(2, "little") for _ in range(256))


def test_drives_have_their_usual_places() -> None:
    made = board(
        *(Drive(MemoryBlock(64), "ide") for _ in range(2)), Drive(MemoryBlock(64), "ide", True)
    )
    found = [identify(made, base, drive) for base in (0x1F0, 0x170) for drive in (0, 1)]
    assert found == [0x0040, 0x0040, 0x85C0, 0]
    made.close()


def test_a_board_has_room_for_four_drives() -> None:
    with pytest.raises(ValueError, match="four drives"):
        board(*(Drive(MemoryBlock(64), "ide") for _ in range(5)))


def test_controllers_are_in_snapshots() -> None:
    drives = [Drive(MemoryBlock(64), "ide"), Drive(MemoryBlock(64), "ide", True)]
    drives.append(Drive(MemoryBlock(64), "ahci"))
    first, second = board(*drives), board(*drives)
    first.ports.write(0x1F1, 1, 0x03)
    first.ports.write(0x1F2, 1, 0x22)
    first.ports.write(0x1F7, 1, 0xEF)  # transfer mode
    first.ports.write(0x1F2, 1, 0x55)
    tree = state.capture(first.devices(), first.timers)
    state.restore(second.devices(), second.timers, tree)
    assert second.ports.read(0x1F2, 1) == 0x55
    second.ports.write(0x1F7, 1, 0xEC)
    words = struct.unpack("<256H", read_all(second, 0x1F0))
    assert words[63] >> 8 == 4
    for made in (first, second):
        made.close()
