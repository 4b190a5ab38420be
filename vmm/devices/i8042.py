"""The keyboard controller, with a keyboard and a mouse: also reset and the A20 gate.

IBM PS/2 Hardware Interface Technical Reference (S84F-9809), "Keyboard and Auxiliary Device
Controller"; port 92h: Intel 82371SB, 2.4.5.

  60h  read: output byte; write: to the keyboard, or the byte a command waits for
  64h  read: 0 output full, 2 system flag, 3 last write was a command, 4 not locked, 5 of the mouse
       write: 20h-3Fh/60h-7Fh read/write memory, whose first byte is the command byte; A4h password?
       A7h/A8h mouse off/on, A9h/ABh test the mouse's/keyboard's line, AAh self test, ADh/AEh
       keyboard off/on, C0h input port, D0h/D1h read/write the output port, D2h/D3h as if the
       keyboard/mouse had said the next byte, D4h it is for the mouse, DDh/DFh A20 off/on, E0h test
       inputs, F0h-FFh pulse output lines, bit 0 clear: reset
  92h  1 A20, 0 a rising edge resets

  command byte  0, 1 interrupts 1 and 12   2 system flag   4, 5 keyboard, mouse off   6 translate
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vmm.bus import PortBus
from vmm.devices import IrqLine
from vmm.devices.ps2_keyboard import TO_SET_1, Keyboard
from vmm.devices.ps2_mouse import Mouse

OUTPUT_FULL, SYSTEM, COMMAND, UNLOCKED, FROM_MOUSE = 1, 4, 8, 16, 32
PORT_RESET_OFF, PORT_A20 = 1, 2
IRQ_KEYBOARD, IRQ_MOUSE, KEYBOARD_OFF, MOUSE_OFF, TRANSLATE = 1, 2, 0x10, 0x20, 0x40
RELEASED = 0xF0
_WAITS = (0xD1, 0xD2, 0xD3, 0xD4)


class I8042:
    """The controller."""

    def __init__(
        self,
        reset: Callable[[], None],
        set_a20: Callable[[bool], None],
        keyboard_irq: IrqLine = lambda _level: None,
        mouse_irq: IrqLine = lambda _level: None,
    ) -> None:
        self._reset = reset
        self._set_a20 = set_a20
        self._lines = keyboard_irq, mouse_irq
        self.keyboard, self.mouse = Keyboard(), Mouse()
        self.keyboard.said = self.mouse.said = self._fill
        self._own: deque[int] = deque()  # the controller's answers, 100h added for the mouse's
        self._output = 0
        self._full = self._from_mouse = False
        self._memory = bytearray(32)
        self._memory[0] = TRANSLATE | MOUSE_OFF | SYSTEM | IRQ_KEYBOARD
        self._port = PORT_RESET_OFF | PORT_A20
        self._waiting = 0
        self._released = False  # F0h came from the keyboard: the next code is of a key let go of
        self._last_was_command = False
        self._fast_reset = False

    def attach(self, ports: PortBus) -> None:
        ports.map_bytes(0x60, 1, self.read_data, self.write_data)
        ports.map_bytes(0x64, 1, self.read_status, self.write_command)
        ports.map_bytes(0x92, 1, self.read_92, self.write_92)

    # The output byte

    def _fill(self) -> None:
        """Take the next byte from whoever has one, if the last one was read."""
        modes = self._memory[0]
        while not self._full:
            if self._own:
                value = self._own.popleft()
                self._output, self._from_mouse = value & 0xFF, value > 0xFF
            elif self.keyboard.has_output() and not modes & KEYBOARD_OFF:
                value = self.keyboard.take()
                if modes & TRANSLATE:
                    if value == RELEASED:
                        self._released = True
                        continue
                    value = self._translated(value)
                self._output, self._from_mouse = value, False
            elif self.mouse.has_output() and not modes & MOUSE_OFF:
                self._full = True  # more may be said while it is taken
                self._output, self._from_mouse = self.mouse.take(), True
            else:
                break
            self._full = True
        self._drive()

    def _translated(self, value: int) -> int:
        """A byte of the keyboard's, which speaks set 2, in set 1."""
        released, self._released = self._released, False
        value = {0x83: 0x02, 0x84: 0x7F}.get(value, value)  # F7 and the like
        if value >= len(TO_SET_1):
            return value
        return TO_SET_1[value] | (0x80 if released else 0)

    def _drive(self) -> None:
        """Set the two interrupt lines."""
        modes = self._memory[0]
        keyboard, mouse = self._lines
        keyboard(self._full and not self._from_mouse and bool(modes & IRQ_KEYBOARD))
        mouse(self._full and self._from_mouse and bool(modes & IRQ_MOUSE))

    def _say(self, value: int) -> None:
        """An answer of the controller's own, which comes before all others."""
        if len(self._own) < 16:
            self._own.append(value)
        self._fill()

    # Ports

    def read_data(self, _offset: int) -> int:
        value = self._output
        if self._full:
            self._full = False
            self._drive()  # the next byte is a new edge
            self._fill()
        return value

    def read_status(self, _offset: int) -> int:
        return (
            UNLOCKED
            | SYSTEM
            | (COMMAND if self._last_was_command else 0)
            | (OUTPUT_FULL if self._full else 0)
            | (FROM_MOUSE if self._full and self._from_mouse else 0)
        )

    def write_data(self, _offset: int, value: int) -> None:
        self._last_was_command = False
        command, self._waiting = self._waiting, 0
        if 0x60 <= command < 0x80:
            self._memory[command & 31] = value
            self._fill()
        elif command == 0xD1:
            self._write_port(value)
        elif command in (0xD2, 0xD3):
            self._say(value | (0x100 if command == 0xD3 else 0))
        elif command == 0xD4:
            self._memory[0] &= ~MOUSE_OFF
            self.mouse.send(value)
        else:
            self._memory[0] &= ~KEYBOARD_OFF
            self.keyboard.send(value)

    def write_command(self, _offset: int, value: int) -> None:
        self._last_was_command = True
        self._waiting = 0
        if 0x20 <= value < 0x40:
            self._say(self._memory[value & 31])
        elif 0x60 <= value < 0x80 or value in _WAITS:
            self._waiting = value
        elif value in _ANSWERS:
            self._say(_ANSWERS[value])
        elif value in _SWITCHES:
            bit, on = _SWITCHES[value]
            self._memory[0] = self._memory[0] | bit if on else self._memory[0] & ~bit
            self._fill()
        elif value == 0xD0:
            full = self._full
            mouse, keyboard = full and self._from_mouse, full and not self._from_mouse
            self._say(self._port & 0xCF | (0x20 if mouse else 0) | (0x10 if keyboard else 0))
        elif value in (0xDD, 0xDF):
            self._write_port(self._port & ~PORT_A20 | value & PORT_A20)
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


_ANSWERS = {0xA4: 0xF1, 0xA9: 0, 0xAA: 0x55, 0xAB: 0, 0xC0: 0xBF, 0xE0: 0}
"""What commands are answered with: no password, lines and controller are good, not locked."""
_SWITCHES = {
    0xA7: (MOUSE_OFF, True),
    0xA8: (MOUSE_OFF, False),
    0xAD: (KEYBOARD_OFF, True),
    0xAE: (KEYBOARD_OFF, False),
}
