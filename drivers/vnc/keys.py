"""From the keys that a VNC client names to those of a PC's keyboard.

X11 names keys by what is on them ("keysyms", X Window System Protocol, appendix A; RFC 6143,
7.5.4).  A client's layout may differ from the guest's, which is taken to be that of the United
States: a character that has another level here than there gets a shift key of its own around it.
"""

from __future__ import annotations

from typing import Final

from drivers.vnc.interface import Key

LEFT_SHIFT, RIGHT_SHIFT, CAPS_LOCK = 0x2A, 0x36, 0x3A
_ROWS: Final = (
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1E, "asdfghjkl;'`", 'ASDFGHJKL:"~'),
    (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x39, " ", ""),
)
CHARACTERS: Final = {
    ord(character): (first + index, shifted)
    for first, plain, upper in _ROWS
    for shifted, characters in ((False, plain), (True, upper))
    for index, character in enumerate(characters)
}
"""Keysym -> code, and whether shift is held for it."""
OTHERS: Final = {
    0xFF08: 0x0E,
    0xFF09: 0x0F,
    0xFE20: 0x0F,
    0xFF0D: 0x1C,
    0xFF1B: 0x01,
    0xFFFF: 0xD3,
    0xFF50: 0xC7,
    0xFF51: 0xCB,
    0xFF52: 0xC8,
    0xFF53: 0xCD,
    0xFF54: 0xD0,
    0xFF55: 0xC9,
    0xFF56: 0xD1,
    0xFF57: 0xCF,
    0xFF63: 0xD2,
    0xFFE1: LEFT_SHIFT,
    0xFFE2: RIGHT_SHIFT,
    0xFFE3: 0x1D,
    0xFFE4: 0x9D,
    0xFFE5: CAPS_LOCK,
    0xFFE7: 0xDB,
    0xFFE8: 0xDC,
    0xFFE9: 0x38,
    0xFFEA: 0xB8,
    0xFFEB: 0xDB,
    0xFFEC: 0xDC,
    0xFE03: 0xB8,
    0xFF7E: 0xB8,
    0xFF67: 0xDD,
    0xFF13: 0xC6,
    0xFF6B: 0xC6,
    0xFF14: 0x46,
    0xFF61: 0xB7,
    0xFF15: 0xB7,
    0xFF7F: 0x45,
    **{0xFFBE + i: 0x3B + i for i in range(10)},  # F1 to F10
    0xFFC8: 0x57,
    0xFFC9: 0x58,
    # The number pad, with and without NumLock.
    0xFFAA: 0x37,
    0xFFAB: 0x4E,
    0xFFAD: 0x4A,
    0xFFAE: 0x53,
    0xFFAF: 0xB5,
    0xFF8D: 0x9C,
    0xFFB0: 0x52,
    0xFFB1: 0x4F,
    0xFFB2: 0x50,
    0xFFB3: 0x51,
    0xFFB4: 0x4B,
    0xFFB5: 0x4C,
    0xFFB6: 0x4D,
    0xFFB7: 0x47,
    0xFFB8: 0x48,
    0xFFB9: 0x49,
    0xFF9E: 0x52,
    0xFF9C: 0x4F,
    0xFF99: 0x50,
    0xFF9B: 0x51,
    0xFF96: 0x4B,
    0xFF9D: 0x4C,
    0xFF98: 0x4D,
    0xFF95: 0x47,
    0xFF97: 0x48,
    0xFF9A: 0x49,
    0xFF9F: 0x53,
    0x3C0: 0x56,
}
"""Keysym -> code, whatever shift does."""
_SHIFTS: Final = (LEFT_SHIFT, RIGHT_SHIFT)


class Keys:
    """The keys of one client."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}  # keysym, or code + 1 << 32 -> code
        self._capitals = False

    def keysym(self, symbol: int, down: bool) -> list[Key]:
        """What happens on the keyboard when a client presses a key, or lets go of it."""
        if not down:
            code = self._held.pop(symbol, None)
            return [] if code is None else [Key(code, False)]
        if symbol in OTHERS:
            code = OTHERS[symbol]
            if code == CAPS_LOCK and symbol not in self._held:
                self._capitals = not self._capitals
            self._held[symbol] = code
            return [Key(code, True)]
        if symbol not in CHARACTERS:
            return []
        code, shifted = CHARACTERS[symbol]
        if self._capitals and chr(symbol).isalpha():
            shifted = not shifted
        self._held[symbol] = code
        shifts = [code for code in self._held.values() if code in _SHIFTS]
        if shifted and not shifts:
            return [Key(LEFT_SHIFT, True), Key(code, True), Key(LEFT_SHIFT, False)]
        if shifts and not shifted:
            return [
                *(Key(shift, False) for shift in shifts),
                Key(code, True),
                *(Key(shift, True) for shift in shifts),
            ]
        return [Key(code, True)]

    def code(self, code: int, down: bool) -> list[Key]:
        """The same for a client that names the key of the keyboard itself."""
        name = 1 << 32 | code
        if down:
            self._held[name] = code
            return [Key(code, True)]
        return [] if self._held.pop(name, None) is None else [Key(code, False)]

    def release(self) -> list[Key]:
        """Let go of all: the client is gone."""
        held = list(dict.fromkeys(self._held.values()))
        self._held.clear()
        return [Key(code, False) for code in held]
