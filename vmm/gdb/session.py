"""One debugger at one board: the stub's machine, and the octets for the debugger."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from vmm import paging
from vmm.disassemble import code_lines, report
from vmm.engine.interface import Registers
from vmm.gdb import target
from vmm.gdb.stub import Stub
from vmm.memory import PAGE, GuestAddressError

if TYPE_CHECKING:
    from vmm.board import Board


class GdbSession:
    """A debugger's connection.  All methods run on the vCPU thread."""

    def __init__(self, board: Board, send: Callable[[bytes], None]) -> None:
        """The guest stops; ``send`` takes octets for the debugger."""
        self._board = board
        self._was_paused = board.paused
        board.debugged(self._stopped)
        board.hold()
        self._stub = Stub(self, send)

    def feed(self, data: bytes) -> None:
        """Octets from the debugger."""
        self._stub.feed(data)

    def close(self) -> None:
        """The debugger is gone; the guest goes on as if it had never been there."""
        self._board.debugged(None)
        self._stub.close()
        if self._was_paused:
            self._board.hold()

    def ended(self) -> None:
        """The guest has ended."""
        self._stub.ended()

    def _stopped(self) -> None:
        self._stub.stopped()

    # What the stub asks

    def get_registers(self) -> Registers:
        return self._board.engine.get_registers()

    def set_registers(self, registers: Registers) -> None:
        self._board.engine.set_registers(registers)

    def read_memory(self, linear: int, length: int) -> bytes:
        return paging.read_linear(self.get_registers(), self._board.memory, linear, length)

    def write_memory(self, linear: int, data: bytes) -> bool:
        registers, memory = self.get_registers(), self._board.memory
        pieces: list[tuple[int, bytes]] = []
        at = 0
        while at < len(data):
            room = PAGE - (linear + at) % PAGE
            piece = data[at : at + room]
            physical = paging.translate(registers, memory, linear + at)
            if physical is None:
                return False
            try:
                memory.offset(physical, len(piece))
            except GuestAddressError:
                return False
            pieces.append((physical, piece))
            at += len(piece)
        for physical, piece in pieces:
            memory.write(physical, piece)
            self._board.engine.invalidate(physical, len(piece))
        return True

    def set_breakpoints(self, addresses: Collection[int]) -> None:
        self._board.engine.set_breakpoints(addresses)

    def proceed(self, step: bool) -> None:
        self._board.go_on(step)

    def interrupt(self) -> None:
        self._board.hold()
        self._stub.stopped()

    # The machine's own commands

    def monitor(self, command: str) -> str:
        name, *words = command.split() or ["help"]
        handler = _MONITOR.get(name)
        if handler is None:
            return f"there is no command {name!r}; known are: {', '.join(_MONITOR)}\n"
        try:
            return handler(self, words)
        except (ValueError, IndexError):
            return f"usage: monitor {_USAGE[name]}\n"

    def _help(self, _words: list[str]) -> str:
        return "".join(f"monitor {usage}\n" for usage in _USAGE.values())

    def _registers(self, _words: list[str]) -> str:
        return report(self.get_registers(), self._board.memory) + "\n"

    def _disassemble(self, words: list[str]) -> str:
        registers = self.get_registers()
        if words:
            target.write(registers, "rip", int(words[0], 0))
        return "\n".join(code_lines(registers, self._board.memory)) + "\n"

    def _translate(self, words: list[str]) -> str:
        linear = int(words[0], 0)
        physical = paging.translate(self.get_registers(), self._board.memory, linear)
        return f"{linear:#x}: " + ("not mapped\n" if physical is None else f"{physical:#x}\n")

    def _exits(self, _words: list[str]) -> str:
        return "".join(f"{kind} {count}\n" for kind, count in self._board.exits.items())

    def _reset(self, _words: list[str]) -> str:
        self._board.reset()
        return "the guest is reset when it goes on\n"

    def _quit(self, _words: list[str]) -> str:
        self._board.stop()
        return "the guest ends\n"


_USAGE: Final = {
    "help": "help",
    "registers": "registers: all of them, and the code at RIP",
    "disassemble": "disassemble [ADDRESS]",
    "translate": "translate ADDRESS: the guest-physical address of a linear one",
    "exits": "exits: how often the guest left the engine, by kind",
    "reset": "reset",
    "quit": "quit: end the guest",
}
_MONITOR: Final[dict[str, Callable[[GdbSession, list[str]], str]]] = {
    "help": GdbSession._help,
    "registers": GdbSession._registers,
    "disassemble": GdbSession._disassemble,
    "translate": GdbSession._translate,
    "exits": GdbSession._exits,
    "reset": GdbSession._reset,
    "quit": GdbSession._quit,
}
