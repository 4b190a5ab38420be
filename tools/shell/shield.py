"""Control-C while a system call is under way.

A thread has one call outstanding; whoever makes another one is killed for it.  So a call of the
operator is not cut short: the interruption comes when its answer is there.  The second Control-C in
one call means that it hangs, and then the system has to end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Shield:
    """Holds Control-C back."""

    def __init__(self) -> None:
        self.broken = False
        """A call was cut short: no other one can be made."""
        self._inside = False
        self._pending = False
        self._before: Any = signal.SIG_DFL

    def install(self) -> None:
        """Take over the signal; only the main thread can."""
        with suppress(ValueError):
            self._before = signal.signal(signal.SIGINT, self._interrupt)

    def remove(self) -> None:
        """Give it back."""
        with suppress(ValueError):
            signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, _signal: int, _frame: object) -> None:
        if not self._inside:
            raise KeyboardInterrupt
        if self._pending:
            self.broken = True
            raise KeyboardInterrupt
        self._pending = True

    def guard(self, function: Callable[[A], R]) -> Callable[[A], R]:
        """The same function, which is not cut short."""

        def guarded(argument: A) -> R:
            self._inside = True
            try:
                return function(argument)
            finally:
                self._inside = False
                self.check()

        return guarded

    def check(self) -> None:
        """Raise the interruption that was held back, if there is one."""
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
