"""A PS/2 keyboard with 104 keys.

IBM PS/2 Hardware Interface Technical Reference (S84F-9809), "Keyboards (101- and 102-Key)".

  EDh lamps (0 scroll, 1 number, 2 capitals)   EEh echo    F0h scan code set (0: which one is it?)
  F2h identify: ABh 83h   F3h repeat rate      F4h on      F5h off, as after reset   F6h as after
  F7h-FAh set 3: all keys repeat, make/break, make, all of it   FBh-FDh the same for keys
  FEh say it again   FFh reset: AAh

A key is named by its code in set 1, with 80h added for those that an E0h precedes there.  The
screen's other end repeats keys that are held, so this does not.
"""

from __future__ import annotations

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

TO_SET_1: Final = bytes.fromhex(
    "ff43413f3d3b3c58644442403e0f2959"
    "65382a701d10025a66712c1f1e11035b"
    "672e2d201205045c68392f211413065d"
    "693130232215075e6a7232241608095f"
    "6b332517180b0a606c34352627190c61"
    "6d7328741a0d626e3a361c1b752b6376"
    "55567778797a0e7b7c4f7d4b477e7f6f"
    "5253504c4d480145574e514a37494654"
)
"""Codes of set 2 in set 1, as the controller translates them; 83h (F7) is 41h there as well."""
_SET_2: Final = {code: byte for byte, code in enumerate(TO_SET_1)} | {0x41: 0x83}
_SET_3: Final = {
    **dict(zip(range(0x01, 0x0F), bytes.fromhex("08161e26252e363d3e46454e5566"), strict=True)),
    **dict(zip(range(0x0F, 0x1D), bytes.fromhex("0d151d242d2c353c43444d545b5a"), strict=True)),
    **dict(zip(range(0x1D, 0x2B), bytes.fromhex("111c1b232b34333b424b4c520e12"), strict=True)),
    **dict(zip(range(0x2B, 0x3B), bytes.fromhex("5c1a22212a32313a41494a597e192914"), strict=True)),
    **dict(zip(range(0x3B, 0x47), bytes.fromhex("070f171f272f373f474f765f"), strict=True)),
    **dict(zip(range(0x47, 0x54), bytes.fromhex("6c757d846b73747c69727a7071"), strict=True)),
    0x56: 0x13,
    0x57: 0x56,
    0x58: 0x5E,
    0x9C: 0x79,
    0x9D: 0x58,
    0xB5: 0x77,
    0xB7: 0x57,
    0xB8: 0x39,
    0xC6: 0x62,
    0xC7: 0x6E,
    0xC8: 0x63,
    0xC9: 0x6F,
    0xCB: 0x61,
    0xCD: 0x6A,
    0xCF: 0x65,
    0xD0: 0x60,
    0xD1: 0x6D,
    0xD2: 0x67,
    0xD3: 0x64,
    0xDB: 0x8B,
    0xDC: 0x8C,
    0xDD: 0x8D,
}
PAUSE: Final = 0xC6
_PAUSE: Final = {1: bytes.fromhex("e11d45e19dc5"), 2: bytes.fromhex("e11477e1f014f077")}
"""Pause says this when it is pressed, and nothing when it is released."""
_LAMPS, _ECHO, _SET, _ALL, _ONE = 0xED, 0xEE, 0xF0, range(0xF7, 0xFB), range(0xFB, 0xFE)
_WITHOUT_BREAK: Final = (0xF7, 0xF9, 0xFB, 0xFD)


class Keyboard(Ps2Device):
    """The keyboard."""

    def __init__(self) -> None:
        super().__init__()
        self.lamps = 0
        self._defaults()

    def _defaults(self) -> None:
        self.enabled = True
        self._scan_set = 2
        self._rate = 0x2B
        self._silent = False  # set 3: keys do not say when they are released
        self._exceptions: set[int] = set()  # codes of set 3 of which the opposite is true

    def key(self, code: int, down: bool) -> None:
        """A key was pressed, or let go of."""
        if self.enabled:
            self._say(*self.codes(code & 0xFF, down))

    def codes(self, code: int, down: bool) -> bytes:
        """What the keyboard says, in the set in use."""
        if self._scan_set == 3:
            one = _SET_3.get(code, 0)
            if not one or (not down and self._silent != (one in self._exceptions)):
                return b""
            return bytes((one,) if down else (0xF0, one))
        if code == PAUSE:
            return _PAUSE[self._scan_set] if down else b""
        prefix = b"\xe0" if code & 0x80 else b""
        code &= 0x7F
        if not code:
            return b""
        if self._scan_set == 1:
            return prefix + bytes((code if down else code | 0x80,))
        return prefix + bytes((_SET_2[code],) if down else (0xF0, _SET_2[code]))

    def _execute(self, command: int) -> None:
        if command == RESET:
            self._queue.clear()
            self.lamps = 0
            self._defaults()
            self._answer(ACK, PASSED)
        elif command == _ECHO:
            self._answer(_ECHO)
        elif command == IDENTIFY:
            self._answer(ACK, 0xAB, 0x83)
        elif command in (DEFAULTS, DISABLE, ENABLE):
            self._queue.clear()
            if command != ENABLE:
                self._defaults()
            self.enabled = command != DISABLE
            self._answer(ACK)
        elif command in _ALL:
            self._silent = command in _WITHOUT_BREAK
            self._exceptions.clear()
            self._answer(ACK)
        elif command in (_LAMPS, _SET, SET_RATE) or command in _ONE:
            self._command = command
            self._answer(ACK)
        else:
            self._answer(RESEND)

    def _argument(self, command: int, value: int) -> None:
        if value >= _LAMPS:  # not an argument, but the next command
            self._answers.clear()
            self._execute(value)
            return
        self._answer(ACK)
        if command == _LAMPS:
            self.lamps = value & 7
        elif command == SET_RATE:
            self._rate = value
        elif command == _SET and not value:
            self._answer(self._scan_set)
        elif command == _SET and value <= 3:
            self._scan_set = value
            self._queue.clear()
        elif command in _ONE:
            self._command = command  # keys are named until another command comes
            if self._silent != (command in _WITHOUT_BREAK):
                self._exceptions.add(value)
            else:
                self._exceptions.discard(value)
