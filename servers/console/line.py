"""The line to the terminal: what the server shows, and what the person types.

The terminal may take no output for as long as it likes, and its driver may be replaced at any
time, while the server has to answer its clients.  So two threads talk to the driver: one writes
what waits to be shown, the other waits for input.  A call that ends with ``ServerDied`` is made
again, to the next driver, which has to be told to listen: the one state that a driver has.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from drivers.terminal.interface import Input, Terminal
from servers.runtime import Environment, KernelError, ServerDied, ServiceError

TYPED: Final = 1
"""Bit of the notification: there is input, or the driver does not listen."""
SHOWN: Final = 2
"""Bit of the notification: output was shown."""
CHUNK: Final = 32 * 1024
"""Bytes that are given to the driver at once."""
PATIENCE: Final = 1_000_000_000
"""Nanoseconds that the driver has to obey ``listen``, which it does at once if it is there."""


class Line:
    """The server's end of the terminal.  Its methods are for the serving thread."""

    def __init__(
        self, env: Environment, typed: Callable[[Input], None], room: Callable[[], bool]
    ) -> None:
        """``typed`` gets the input, as long as ``room`` says that there is room for more."""
        self.ended = False  # there will be no more input
        self._typed = typed
        self._room = room
        self._driver = env.open(Terminal, "terminal", timeout=PATIENCE)
        self._signal = env.listen()
        self._wanted = False  # whether input is wanted
        self._reading = False  # whether the input thread is at it
        self._read = env.event()
        self._input: deque[Input] = deque()
        self._lock = threading.Lock()  # for the two below; never held during a system call
        self._output = bytearray()  # waits to be shown
        self._underway = 0  # bytes that the driver has at the moment
        self._write = env.event()
        env.thread(self._read_all, "input")
        env.thread(self._write_all, "output")

    # Output

    @property
    def pending(self) -> int:
        """Bytes that were not shown yet."""
        with self._lock:
            return len(self._output) + self._underway

    def show(self, data: bytes) -> None:
        """Show bytes as soon as the terminal takes them."""
        with self._lock:
            self._output += data
        self._write.set()

    def discard(self) -> None:
        """Forget what waits to be shown."""
        with self._lock:
            self._output.clear()

    def _write_all(self, env: Environment) -> None:
        """The thread that writes."""
        terminal = env.open(Terminal, "terminal")
        signal = self._signal.bind(env.system)
        while True:
            with self._lock:
                data = bytes(self._output[:CHUNK])
                del self._output[:CHUNK]
                self._underway = len(data)
            if not data:
                self._write.wait(None)
                continue
            while True:
                try:
                    terminal.write(data)
                except ServerDied:
                    continue  # what it had shown of this is shown again
                except (KernelError, ServiceError):
                    pass  # the terminal is closed: there is nobody to show it to
                break
            with self._lock:
                self._underway = 0
            signal.signal(SHOWN)

    # Input

    def listen(self, wanted: bool) -> None:
        """Take what is typed, or leave it to others."""
        self._wanted = wanted
        with suppress(KernelError, ServiceError):  # no driver: the next one is told
            self._driver.listen(wanted)
        self.go_on()

    def go_on(self) -> None:
        """Read more if it is wanted and there is room."""
        if self._wanted and not self._reading and not self.ended and self._room():
            self._reading = True
            self._read.set()

    def notify(self, bits: int) -> None:
        """The notification of the serving thread was signalled."""
        while self._input:
            found = self._input.popleft()
            self._reading = False
            if found.data or found.ended:
                self.ended = found.ended
                self._typed(found)
                self.go_on()
            elif self._wanted:
                self.listen(True)  # it is another driver than the one that was told before

    def _read_all(self, env: Environment) -> None:
        """The thread that waits for input."""
        terminal = env.open(Terminal, "terminal")
        signal = self._signal.bind(env.system)
        while True:
            self._read.wait(None)
            try:
                found = terminal.read()
            except ServerDied:
                found = Input(b"", False)
            except (KernelError, ServiceError):
                found = Input(b"", True)
            self._input.append(found)
            signal.signal(TYPED)
