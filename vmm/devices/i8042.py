"""The keyboard controller, without keyboard or mouse: reset, the A20 gate and its self test.

IBM PC/AT Technical Reference, "Keyboard Controller"; port 92h: Intel 82371SB, 2.4.5.

  60h  read: output byte; write: the byte a command waits for
  64h  read: 0 output full, 1 input full, 2 system flag, 3 last write was a command, 4 not locked
       write: 20h/60h read/write the command byte, A7h/A8h mouse off/on, A9h/ABh test the mouse's/
       keyboard's line, AAh self test, ADh/AEh keyboard off/on, D0h/D1h read/write the output port,
       F0h-FFh pulse output lines, bit 0 clear: reset
  92h  1 A20, 0 a rising edge resets
"""

from __future__ import annotations

from collections.abc import Callable

from vmm.bus import PortBus

OUTPUT_FULL, SYSTEM, COMMAND, UNLOCKED = 1, 4, 8, 16
PORT_RESET_OFF, PORT_A20 = 1, 2


class I8042:
    """The controller."""

    def __init__(self, reset: Callable[[], None], set_a20: Callable[[bool], None]) -> None:
        self._reset = reset
        self._set_a20 = set_a20
        self._output: int | None = None
        self._command_byte = 0x30  # both ports off
        self._port = PORT_RESET_OFF | PORT_A20
        self._waiting = 0
        self._last_was_command = False
        self._fast_reset = False

    def attach(self, ports: PortBus) -> None:
        ports.map_bytes(0x60, 1, self.read_data, self.write_data)
        ports.map_bytes(0x64, 1, self.read_status, self.write_command)
        ports.map_bytes(0x92, 1, self.read_92, self.write_92)

    def read_data(self, _offset: int) -> int:
        value, self._output = self._output or 0, None
        return value

    def read_status(self, _offset: int) -> int:
        return (
            UNLOCKED
            | SYSTEM
            | (COMMAND if self._last_was_command else 0)
            | (OUTPUT_FULL if self._output is not None else 0)
        )

    def write_data(self, _offset: int, value: int) -> None:
        self._last_was_command = False
        command, self._waiting = self._waiting, 0
        if command == 0x60:
            self._command_byte = value
        elif command == 0xD1:
            self._write_port(value)
        elif command in (0xD2, 0xD3):
            self._output = value

    def write_command(self, _offset: int, value: int) -> None:
        self._last_was_command = True
        self._waiting = 0
        if value == 0x20:
            self._output = self._command_byte
        elif value in (0x60, 0xD1, 0xD2, 0xD3, 0xD4):
            self._waiting = value
        elif value == 0xAA:
            self._output = 0x55
        elif value in (0xA9, 0xAB):
            self._output = 0x00
        elif value == 0xD0:
            self._output = self._port
        elif value >= 0xF0 and not value & 1:
            self._reset()

    def _write_port(self, value: int) -> None:
        self._port = value
        self._set_a20(bool(value & PORT_A20))
        if not value & PORT_RESET_OFF:
            self._reset()

    def read_92(self, _offset: int) -> int:
        return self._port & PORT_A20 | self._fast_reset

    def write_92(self, _offset: int, value: int) -> None:
        self._port = self._port & ~PORT_A20 | value & PORT_A20
        self._set_a20(bool(value & PORT_A20))
        rising = bool(value & 1) and not self._fast_reset
        self._fast_reset = bool(value & 1)
        if rising:
            self._reset()
