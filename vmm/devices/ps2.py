"""What a PS/2 keyboard and a PS/2 mouse have in common: commands, answers, and what they say.

IBM PS/2 Hardware Interface Technical Reference (S84F-9809), "Keyboards" and "Mouse".

A device answers every octet that the host sends: FAh, or FEh to what it does not know.  Answers
come before anything that the device says by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

ACK, RESEND, PASSED = 0xFA, 0xFE, 0xAA
RESET, SEND_AGAIN, DEFAULTS, DISABLE, ENABLE, SET_RATE, IDENTIFY = (
    *(0xFF, 0xFE, 0xF6, 0xF5, 0xF4),
    *(0xF3, 0xF2),
)
MOST: Final = 64
"""Octets that wait for the host at most; what does not fit as a whole is lost."""


class Ps2Device:
    """One device at one of the controller's two ports."""

    def __init__(self) -> None:
        self.said: Callable[[], None] = lambda: None
        """Called when there is something to take."""
        self._answers: deque[int] = deque()
        self._queue: deque[int] = deque()
        self._last = 0
        self._command = 0  # whose argument is awaited
        self.enabled = False

    def has_output(self) -> bool:
        return bool(self._answers or self._queue)

    def take(self) -> int:
        """The next octet for the host."""
        self._last = (self._answers or self._queue).popleft()
        return self._last

    def send(self, value: int) -> None:
        """An octet from the host."""
        command, self._command = self._command, 0
        if command:
            self._argument(command, value)
        elif value == SEND_AGAIN:
            self._answers.append(self._last)
        else:
            self._answers.clear()
            self._execute(value)
        while len(self._answers) > MOST:
            self._answers.popleft()
        self.said()

    def _say(self, *octets: int) -> bool:
        """Something of its own; whether there was room."""
        if len(self._queue) + len(octets) > MOST:
            return False
        self._queue.extend(octets)
        self.said()
        return True

    def _answer(self, *octets: int) -> None:
        self._answers.extend(octets)

    def _execute(self, command: int) -> None:
        """Carry out a command, or keep it in ``_command`` until its argument comes."""

    def _argument(self, command: int, value: int) -> None:
        """The argument of a command."""
