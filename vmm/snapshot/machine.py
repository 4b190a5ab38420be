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


def save(board: Board) -> bytes:
    """Registers, engine, devices and the time, as one record's content."""
    if board.has_tpm:
        raise SnapshotError("the guest's TPM would stay behind: a guest with one cannot be saved")
    registers = board.engine.get_registers()
    tree = {
        "memory": board.memory.size,
        "engine": board.config.engine,
        "cpu": board.config.cpu,
        "now": board.clock(),
        "registers": {field.name: getattr(registers, field.name) for field in fields(Registers)},
        "rest": board.engine.save(),
        "devices": state.capture(board.devices(), board.timers),
    }
    packed: bytes = msgpack.packb(tree)
    return packed


def check(board: Board, packed: bytes) -> dict[str, Any]:
    """The state in a record, if it is one of a machine like this."""
    tree = _unpacked(packed)
    for name, mine in (
        ("memory", board.memory.size),
        ("engine", board.config.engine),
        ("cpu", board.config.cpu),
    ):
        if tree.get(name) != mine:
            raise SnapshotError(f"the guest's {name} was {tree.get(name)}, this one's is {mine}")
    return tree


def restore(board: Board, tree: dict[str, Any]) -> None:
    """Make a board that was built alike be in a state of ``check``; its memory is there already."""
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
