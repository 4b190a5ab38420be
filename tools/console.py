"""The person's terminal, lent to a console of the system and taken back."""

from __future__ import annotations

import os
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kernel.abi import FOREVER, Right
from servers.console.interface import SCROLLBACK, ConsoleControl
from servers.init.interface import Control
from servers.runtime import Notification, TimedOut
from tools.system import System

ENDED = 1
GIVEN_BACK = 2


@contextmanager
def raw_terminal() -> Iterator[None]:
    """The terminal in raw mode, if there is one; put back whatever happens."""
    try:
        fd = sys.stdin.fileno()
        saved = termios.tcgetattr(fd)
    except (OSError, ValueError, termios.error):
        yield
        return
    try:
        tty.setraw(fd, termios.TCSANOW)
        mode = termios.tcgetattr(fd)
        mode[1] |= termios.OPOST  # the guest's line feeds, and ours, begin a line as usual
        termios.tcsetattr(fd, termios.TCSANOW, mode)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
        os.write(1, b"\r") if os.isatty(1) else None


MOMENT = 10_000_000
"""Nanoseconds between two looks at what is to be done meanwhile."""


def _wait(word: Notification, timeout: int, meanwhile: Callable[[], None] | None) -> int:
    if meanwhile is None:
        return word.wait(timeout)
    end = None if timeout == FOREVER else time.monotonic_ns() + timeout
    while True:
        try:
            return word.wait(MOMENT)
        except TimedOut:
            if end is not None and time.monotonic_ns() > end:
                raise
        meanwhile()


def attend(
    system: System,
    name: str,
    timeout: int = FOREVER,
    replay: int = SCROLLBACK,
    meanwhile: Callable[[], None] | None = None,
) -> int:
    """Give the terminal to the console of a process until that ends or the person takes it back.

    ``meanwhile`` is called again and again; it may use the system and must not block.  Returns
    ``ENDED`` or ``GIVEN_BACK``, and raises ``TimedOut`` after ``timeout`` ns.
    """
    consoles = system.open(ConsoleControl, "console.control")
    control: Control = system.control
    word = Notification(system.calls, system.calls.notification_create())
    ended = word.mint(Right.SEND | Right.GRANT, ENDED)
    given_back = word.mint(Right.SEND | Right.GRANT, GIVEN_BACK)
    with raw_terminal():
        consoles.show(name, replay, given_back)
        control.watch(name, ended)
        try:
            how = _wait(word, timeout, meanwhile)
        except TimedOut:
            consoles.release()
            raise
        # Any other exception ends the tool while its call is outstanding: no more can be made.
        consoles.release()
    for capability in (ended, given_back, word):
        capability.drop()
    return ENDED if how & ENDED else GIVEN_BACK


__all__ = ["ENDED", "GIVEN_BACK", "TimedOut", "attend", "raw_terminal"]
