"""The state of a whole board, but for its memory.  On the vCPU thread."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import msgpack

from vmm.engine.interface import EngineError, Registers, Segment, Table
from vmm.snapshot import state
from vmm.snapshot.state import SnapshotError

if TYPE_CHECKING:
    from vmm.board import Board


def is_quiet(board: Board) -> bool:
    """No answer is on its way to a device."""
    walk = state.Walk(board.devices())
    return not any(getattr(part, "busy", False) for part in walk.parts.values())


def describe(board: Board) -> bytes:
    """What a board is that can go on with this one's state."""
    if board.has_tpm:
        raise SnapshotError("the guest's TPM would stay behind: a guest with one cannot be saved")
    packed: bytes = msgpack.packb(_machine(board))
    return packed


def _machine(board: Board) -> dict[str, Any]:
    return {
        "memory": board.memory.size,
        "engine": board.config.engine,
        "processor": board.config.cpu,
        "devices": sorted(state.Walk(board.devices()).parts),
    }


def check(board: Board, packed: bytes) -> None:
    """Raise ``SnapshotError`` unless the board is what ``describe`` described."""
    tree, mine = _unpacked(packed), _machine(board)
    for name, value in mine.items():
        other = tree.get(name)
        if other == value:
            continue
        if name == "devices" and isinstance(other, list):
            odd = ", ".join(sorted({*map(str, other)} ^ {*value})[:3])
            raise SnapshotError(f"the guest had other devices: {odd}")
        raise SnapshotError(f"the guest's {name} was {other}, this one's is {value}")


def save(board: Board) -> bytes:
    """Registers, engine, devices and the time, as one record's content."""
    board.uart.flush()
    registers = board.engine.get_registers()
    tree = {
        "now": board.clock(),
        "registers": {field.name: getattr(registers, field.name) for field in fields(Registers)},
        "rest": board.engine.save(),
        "devices": state.capture(board.devices(), board.timers),
    }
    packed: bytes = msgpack.packb(tree)
    return packed


def restore(board: Board, packed: bytes) -> None:
    """Make a board that ``check`` found good be in that state; its memory is there already."""
    tree = _unpacked(packed)
    board.uart.flush()  # what the guest said that was here
    try:
        board.clock.set(int(tree["now"]))
        registers, rest, devices = tree["registers"], tree["rest"], tree["devices"]
    except (KeyError, TypeError, ValueError):
        raise SnapshotError("the snapshot has no state of a processor") from None
    state.restore(board.devices(), board.timers, devices)
    try:
        board.engine.restore(_registers(registers), rest)
    except (EngineError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"the state of the processor is not one: {error}") from None
    for gpa, _, length in board.memory.regions:
        board.engine.invalidate(gpa, length)


def _unpacked(packed: bytes) -> dict[str, Any]:
    try:
        tree = msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise SnapshotError("the snapshot's state is damaged")
    return tree


def _registers(tree: dict[str, Any]) -> Registers:
    made = Registers()
    for field in fields(Registers):
        value = tree[field.name]
        current = getattr(made, field.name)
        if isinstance(current, Segment | Table):
            value = type(current)(*map(int, value))
        elif isinstance(current, list):
            value = [int(one) for one in value]
            if len(value) != len(current):
                raise SnapshotError("the processor had other registers")
        setattr(made, field.name, value)
    return made
