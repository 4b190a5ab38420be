"""The answers to a debugger (Debugging with GDB, appendix E).

All of it runs on the vCPU thread, which owns the processor.  There is one thread, number 1: the
processor.  It is stopped when a debugger begins, as debuggers expect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Protocol

from vmm.engine.interface import Registers
from vmm.gdb import target
from vmm.gdb.packets import INTERRUPT, Packets, packet

_OK: Final = b"OK"
_UNSUPPORTED: Final = b""
_BAD_ARGUMENT: Final = b"E16"
_BAD_ADDRESS: Final = b"E0e"
MOST_MEMORY: Final = 32 * 1024
"""Octets of memory in one packet."""
MOST_BREAKPOINTS: Final = 1024
SIGINT, SIGTRAP = 2, 5


class Machine(Protocol):
    """What a debugger does with a machine."""

    def get_registers(self) -> Registers: ...

    def set_registers(self, registers: Registers) -> None: ...

    def read_memory(self, linear: int, length: int) -> bytes:
        """Less than asked for where nothing is mapped."""

    def write_memory(self, linear: int, data: bytes) -> bool:
        """Whether all of it was mapped; else nothing was written."""

    def set_breakpoints(self, addresses: Collection[int]) -> None: ...

    def proceed(self, step: bool) -> None:
        """Let the guest go on, for one instruction only or until something stops it."""

    def interrupt(self) -> None:
        """Stop the guest."""

    def monitor(self, command: str) -> str:
        """The text that answers a command that is not GDB's but the machine's."""


class Stub:
    """A conversation with a debugger."""

    def __init__(self, machine: Machine, send: Callable[[bytes], None]) -> None:
        """``send`` takes octets for the debugger."""
        self._machine, self._send = machine, send
        self._packets = Packets()
        self._breakpoints: set[int] = set()
        self._running = False
        self._reason = SIGTRAP
        self._layout = target.layout(machine.get_registers())

    def feed(self, data: bytes) -> None:
        """Octets from the debugger."""
        commands, answer = self._packets.feed(data)
        if answer:
            self._send(answer)
        for command in commands:
            if command == INTERRUPT:
                if self._running:
                    self._reason = SIGINT
                    self._machine.interrupt()
                continue
            result = self._answer(command)
            if result is not None:
                self._send(packet(result))
            if command == b"QStartNoAckMode":
                self._packets.acknowledge = False

    def stopped(self) -> None:
        """The guest has stopped: at a breakpoint, after a step, or because it was told to."""
        if self._running:
            self._running = False
            self._send(packet(self._why()))
        self._reason = SIGTRAP

    def ended(self) -> None:
        """The guest is no more."""
        self._running = False
        self._send(packet(b"W00"))

    def close(self) -> None:
        """The debugger is gone: leave nothing of it behind, and let the guest go on."""
        self._machine.set_breakpoints(())
        if not self._running:
            self._machine.proceed(step=False)

    def _why(self) -> bytes:
        return b"T%02xthread:1;" % self._reason

    def _answer(self, command: bytes) -> bytes | None:
        """The content of the answer; None if it comes later."""
        name, text = command[:1], command.decode("latin-1")
        handler = _COMMANDS.get(name)
        if handler is None:
            return _UNSUPPORTED
        try:
            return handler(self, text[1:])
        except ValueError:
            return _BAD_ARGUMENT

    # Running

    def _last_reason(self, _rest: str) -> bytes:
        return self._why()

    def _proceed(self, step: bool) -> None:
        self._running = True
        self._machine.proceed(step)

    def _continue(self, rest: str) -> None:
        self._at(rest)
        self._proceed(step=False)

    def _step(self, rest: str) -> None:
        self._at(rest)
        self._proceed(step=True)

    def _at(self, address: str) -> None:
        if address:
            registers = self._machine.get_registers()
            target.write(registers, "rip", int(address, 16))
            self._machine.set_registers(registers)

    def _with_signal(self, rest: str) -> None:
        self._continue(rest.partition(";")[2])

    def _step_with_signal(self, rest: str) -> None:
        self._step(rest.partition(";")[2])

    def _verbose(self, rest: str) -> bytes | None:
        if rest == "Cont?":
            return b"vCont;c;C;s;S"
        if rest.startswith("Cont;"):
            action = rest.removeprefix("Cont;")[:1].lower()
            if action not in ("c", "s"):
                return _BAD_ARGUMENT
            self._proceed(step=action == "s")
            return None
        return _UNSUPPORTED

    def _detach(self, _rest: str) -> bytes:
        self._breakpoints.clear()
        self._machine.set_breakpoints(())
        self._proceed(step=False)
        return _OK

    def _kill(self, _rest: str) -> None:
        """GDB's ``kill`` lets go of the machine; what ends it is ``monitor quit``."""
        self._detach("")

    # Registers

    def _encode(self, registers: Registers, one: target.Register) -> bytes:
        if not one.known:
            return b"x" * (2 * one.size)
        value = target.read(registers, one.name) & (1 << 8 * one.size) - 1
        return value.to_bytes(one.size, "little").hex().encode()

    def _read_registers(self, _rest: str) -> bytes:
        registers = self._machine.get_registers()
        return b"".join(self._encode(registers, one) for one in self._layout.core)

    def _write_registers(self, rest: str) -> bytes:
        registers = self._machine.get_registers()
        at = 0
        for one in self._layout.core:
            digits, at = rest[at : at + 2 * one.size], at + 2 * one.size
            if one.known and len(digits) == 2 * one.size and "x" not in digits:
                value = int.from_bytes(bytes.fromhex(digits), "little")
                target.write(registers, one.name, value)
        self._machine.set_registers(registers)
        return _OK

    def _numbered(self, digits: str) -> target.Register:
        number = int(digits, 16)
        if number >= len(self._layout.registers):
            raise ValueError
        return self._layout.registers[number]

    def _read_register(self, rest: str) -> bytes:
        return self._encode(self._machine.get_registers(), self._numbered(rest))

    def _write_register(self, rest: str) -> bytes:
        number, _, digits = rest.partition("=")
        one = self._numbered(number)
        registers = self._machine.get_registers()
        value = int.from_bytes(bytes.fromhex(digits)[: one.size], "little")
        if not one.known or not target.write(registers, one.name, value):
            return _BAD_ARGUMENT
        self._machine.set_registers(registers)
        return _OK

    # Memory

    def _read_memory(self, rest: str) -> bytes:
        address, _, length = rest.partition(",")
        data = self._machine.read_memory(int(address, 16), min(int(length, 16), MOST_MEMORY))
        return data.hex().encode() or _BAD_ADDRESS

    def _write_memory(self, rest: str) -> bytes:
        place, _, digits = rest.partition(":")
        return self._write(place, bytes.fromhex(digits))

    def _write_binary(self, rest: str) -> bytes:
        place, _, data = rest.partition(":")
        return self._write(place, data.encode("latin-1"))

    def _write(self, place: str, data: bytes) -> bytes:
        address, _, length = place.partition(",")
        if len(data) != int(length, 16):
            return _BAD_ARGUMENT
        return _OK if self._machine.write_memory(int(address, 16), data) else _BAD_ADDRESS

    # Breakpoints: 0 is in software, 1 in hardware; they are the same here

    def _change_breakpoint(self, rest: str, change: Callable[[int], None]) -> bytes:
        kind, address, *_ = rest.split(",")
        if kind not in ("0", "1"):
            return _UNSUPPORTED
        change(int(address, 16))
        if len(self._breakpoints) > MOST_BREAKPOINTS:
            self._breakpoints.discard(int(address, 16))
            return _BAD_ARGUMENT
        self._machine.set_breakpoints(self._breakpoints)
        return _OK

    def _set_breakpoint(self, rest: str) -> bytes:
        return self._change_breakpoint(rest, self._breakpoints.add)

    def _clear_breakpoint(self, rest: str) -> bytes:
        return self._change_breakpoint(rest, self._breakpoints.discard)

    # Questions

    def _query(self, rest: str) -> bytes:
        if rest.startswith("Rcmd,"):
            text = self._machine.monitor(bytes.fromhex(rest.removeprefix("Rcmd,")).decode())
            return text.encode().hex().encode() or _OK
        if rest.startswith("Xfer:features:read:target.xml:"):
            return self._description(rest.rpartition(":")[2])
        return _QUERIES.get(rest.partition(":")[0], _UNSUPPORTED)

    def _description(self, place: str) -> bytes:
        start, length = [int(number, 16) for number in place.split(",")]
        if not start:
            self._layout = target.layout(self._machine.get_registers())
        xml = self._layout.xml().encode()
        part = xml[start : start + length]
        return (b"m" if start + length < len(xml) else b"l") + part

    def _set(self, rest: str) -> bytes:
        return _OK if rest == "StartNoAckMode" else _UNSUPPORTED

    def _thread(self, _rest: str) -> bytes:
        return _OK


_QUERIES: Final = {
    "Supported": b"PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+"
    % (2 * MOST_MEMORY),
    "Attached": b"1",
    "C": b"QC1",
    "fThreadInfo": b"m1",
    "sThreadInfo": b"l",
    "Symbol": _OK,
}
_COMMANDS: Final[dict[bytes, Callable[[Stub, str], bytes | None]]] = {
    b"?": Stub._last_reason,
    b"c": Stub._continue,
    b"C": Stub._with_signal,
    b"s": Stub._step,
    b"S": Stub._step_with_signal,
    b"v": Stub._verbose,
    b"D": Stub._detach,
    b"k": Stub._kill,
    b"g": Stub._read_registers,
    b"G": Stub._write_registers,
    b"p": Stub._read_register,
    b"P": Stub._write_register,
    b"m": Stub._read_memory,
    b"M": Stub._write_memory,
    b"X": Stub._write_binary,
    b"Z": Stub._set_breakpoint,
    b"z": Stub._clear_breakpoint,
    b"q": Stub._query,
    b"Q": Stub._set,
    b"H": Stub._thread,
    b"T": Stub._thread,
}
