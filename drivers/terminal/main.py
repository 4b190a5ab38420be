"""The terminal driver.

Input is read when the device raises its interrupt, and only while somebody waits for it.  Output
is written by a thread of its own: a terminal that takes nothing, such as a pipe that nobody reads,
stops that thread, while input goes on.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from drivers.terminal.interface import MOST, Input, Terminal
from servers.runtime import Deferred, Device, Environment, Failed

TYPED: Final = 1
"""Bit of the notification: there is input."""
WRITTEN: Final = 2
"""Bit of the notification: the writing thread is done with something."""
PAUSE: Final = 5_000_000
"""Nanoseconds between attempts on a terminal that takes nothing and does not let us wait."""


class TerminalDriver(Terminal):
    """The service."""

    def __init__(self, env: Environment, keys: Device, screen: Device) -> None:
        self._env = env
        self._keys = keys
        self._screen = screen
        self._signal = env.listen()
        self._listening = False
        self._reader: Deferred | None = None  # who waits for input
        self._work: deque[tuple[bytes, Deferred]] = deque()  # for the writing thread
        self._done: deque[tuple[Deferred, Failed | None]] = deque()  # by the writing thread
        self._wake = env.event()
        keys.bind(self._signal, TYPED)
        env.thread(self._write_all, "output")

    # Input

    def listen(self, wanted: bool) -> None:
        self._listening = wanted
        if not wanted:
            self._give(Input(b"", False))

    def read(self) -> Input:
        self._give(Input(b"", False))
        if not self._listening:
            return Input(b"", False)
        self._reader = self._env.defer()
        self._keys.acknowledge()
        return self._reader  # type: ignore[return-value]

    def _give(self, found: Input) -> None:
        """Answer whoever waits for input."""
        if self._reader is not None:
            self._reader.answer(found)
            self._reader = None

    def _typed(self) -> None:
        if self._reader is None:
            return  # the interrupt is masked until the next ``read``
        try:
            data = self._keys.access.read(MOST)
        except BlockingIOError:  # another program that uses the terminal was faster
            self._keys.acknowledge()
            return
        except OSError:  # the terminal was hung up
            data = b""
        self._give(Input(data, not data))

    # Output

    def write(self, data: bytes) -> None:
        answer: Deferred = self._env.defer()
        self._work.append((data, answer))
        self._wake.set()
        return answer  # type: ignore[return-value]

    def _write_all(self, env: Environment) -> None:
        """The thread that writes."""
        signal = self._signal.bind(env.system)
        while True:
            while self._work:
                data, answer = self._work.popleft()
                self._done.append((answer, self._write_one(env, data)))
                signal.signal(WRITTEN)
            self._wake.wait(None)

    def _write_one(self, env: Environment, data: bytes) -> Failed | None:
        while data:
            try:
                data = data[self._screen.access.write(data) :]
            except BlockingIOError:
                env.sleep(PAUSE)
            except OSError as error:
                return Failed(f"the terminal takes no output: {error.strerror}")
        return None

    def notify(self, bits: int) -> None:
        """Something to read, or something written."""
        while self._done:
            answer, error = self._done.popleft()
            if error is None:
                answer.answer()
            else:
                answer.fail(error)
        if bits & TYPED:
            self._typed()


def main(env: Environment) -> None:
    """Serve the terminal behind the devices ``terminal-in`` and ``terminal-out``."""
    keys = env.device("terminal-in", writable=False)
    driver = TerminalDriver(env, keys, env.device("terminal-out"))
    env.serve(driver, on="terminal", notify=driver.notify)
