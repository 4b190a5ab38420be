"""A PS/2 mouse with a wheel and five buttons, as Microsoft's IntelliMouse is known to drivers.

IBM PS/2 Hardware Interface Technical Reference (S84F-9809), "Mouse"; Microsoft, "Intellimouse
support" (hardware design guide): after the sample rates 200, 100, 80 it has a wheel and is of kind
3, after 200, 200, 80 five buttons as well and is of kind 4.

  E6h, E7h scaling 1:1, 2:1   E8h resolution   E9h status   EAh say moves   EBh say them now
  ECh, EEh echo off, on   F0h say moves when asked alone   F2h identify   F3h sample rate
  F4h, F5h on, off   F6h as after reset   FEh say it again   FFh reset: AAh 00h

  packet  0  left 1, right 2, middle 4, always 8, x and y negative 10h, 20h, too far 40h, 80h
          1, 2  x to the right, y upwards      3  wheel, with buttons four and five 10h, 20h
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.devices.ps2 import (
    ACK,
    DEFAULTS,
    DISABLE,
    ENABLE,
    IDENTIFY,
    PASSED,
    RESEND,
    RESET,
    SET_RATE,
    Ps2Device,
)

LEFT, RIGHT, MIDDLE, FOURTH, FIFTH = 1, 2, 4, 8, 16
_SCALE_1, _SCALE_2, _RESOLUTION, _STATUS, _STREAM, _READ = range(0xE6, 0xEC)
_ECHO_OFF, _ECHO, _REMOTE = 0xEC, 0xEE, 0xF0
_KINDS: Final = {(200, 100, 80): 3, (200, 200, 80): 4}
_FARTHEST: Final = 255
_FARTHEST_ALL: Final = 1 << 15
"""Of what is kept for later."""


class Mouse(Ps2Device):
    """The mouse."""

    def __init__(self) -> None:
        super().__init__()
        self._buttons = 0
        self._told = 0  # buttons, as the host knows them
        self._x = self._y = self._wheel = 0  # moved since the last packet
        self._rates = [0, 0, 0]
        self._kind = 0
        self._defaults()

    def _defaults(self) -> None:
        self.enabled = False
        self._rate, self._resolution, self._twice = 100, 2, False
        self._remote = self._echo = False
        self._x = self._y = self._wheel = 0

    def move(self, right: int, down: int, wheel: int, buttons: int) -> None:
        """It was moved, and turned away from the user by ``wheel`` notches up."""
        far = _FARTHEST_ALL
        self._x = max(-far, min(self._x + right, far))
        self._y = max(-far, min(self._y - down, far))
        self._wheel = max(-127, min(self._wheel - wheel, 127))
        self._buttons = buttons & 31
        self._report()

    def take(self) -> int:
        value = super().take()
        if not self._queue:
            self._report()
        return value

    def _report(self) -> None:
        """Say what there is to say, as far as there is room."""
        if not self.enabled or self._remote or self._echo:
            return
        while self._x or self._y or (self._wheel and self._kind) or self._told != self._buttons:
            if len(self._queue) > 16:
                return
            self._say(*self._packet())

    def _packet(self) -> bytes:
        x = max(-_FARTHEST, min(self._x, _FARTHEST))
        y = max(-_FARTHEST, min(self._y, _FARTHEST))
        wheel = max(-7, min(self._wheel, 7))
        self._x, self._y, self._wheel = self._x - x, self._y - y, self._wheel - wheel
        self._told = self._buttons
        first = 8 | self._buttons & 7 | (0x10 if x < 0 else 0) | (0x20 if y < 0 else 0)
        packet = bytes((first, x & 0xFF, y & 0xFF))
        if self._kind == 3:
            packet += bytes((wheel & 0xFF,))
        elif self._kind == 4:
            packet += bytes((wheel & 0x0F | (self._buttons & 0x18) << 1,))
        return packet

    def _execute(self, command: int) -> None:
        if self._echo and command not in (RESET, _ECHO_OFF):
            self._answer(command)
            return
        action = _ACTIONS.get(command)
        if action is None:
            self._answer(RESEND)
            return
        self._answer(ACK)
        action(self)

    def _reset(self) -> None:
        self._queue.clear()
        self._kind = 0
        self._defaults()
        self._answer(PASSED, 0)

    def _switch(self, on: bool) -> None:
        self._queue.clear()
        self.enabled = on

    def _await(self, command: int) -> None:
        self._command = command

    def _set(self, name: str, value: bool) -> None:
        setattr(self, name, value)

    def _tell_status(self) -> None:
        left, right, middle = (self._buttons & bit for bit in (LEFT, RIGHT, MIDDLE))
        first = 4 * bool(left) | 2 * bool(middle) | bool(right)
        first |= 0x10 * self._twice | 0x20 * self.enabled | 0x40 * self._remote
        self._answer(first, self._resolution, self._rate)

    def _tell_moves(self) -> None:
        self._answer(*self._packet())

    def _tell_kind(self) -> None:
        self._answer(self._kind)

    def _argument(self, command: int, value: int) -> None:
        self._answer(ACK)
        if command == _RESOLUTION:
            self._resolution = value & 3
            return
        self._rate = value
        self._rates = [*self._rates[1:], value]
        self._kind = _KINDS.get((self._rates[0], self._rates[1], self._rates[2]), self._kind)


_ACTIONS: Final[dict[int, Callable[[Mouse], None]]] = {
    RESET: Mouse._reset,
    DEFAULTS: Mouse._defaults,
    DISABLE: lambda mouse: mouse._switch(False),
    ENABLE: lambda mouse: mouse._switch(True),
    SET_RATE: lambda mouse: mouse._await(SET_RATE),
    _RESOLUTION: lambda mouse: mouse._await(_RESOLUTION),
    IDENTIFY: Mouse._tell_kind,
    _SCALE_1: lambda mouse: mouse._set("_twice", False),
    _SCALE_2: lambda mouse: mouse._set("_twice", True),
    _STATUS: Mouse._tell_status,
    _STREAM: lambda mouse: mouse._set("_remote", False),
    _REMOTE: lambda mouse: mouse._set("_remote", True),
    _READ: Mouse._tell_moves,
    _ECHO: lambda mouse: mouse._set("_echo", True),
    _ECHO_OFF: lambda mouse: mouse._set("_echo", False),
}
