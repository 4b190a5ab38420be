"""The console server: many consoles share one terminal.

What consoles write is kept, and shown while they have the terminal.  Control-] is looked for here,
before any console sees it, so no guest can keep the terminal.  No client waits for another one: a
console whose output the terminal does not take is answered later, and alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from drivers.terminal.interface import Input
from servers.console.interface import (
    ESCAPE,
    SCROLLBACK,
    Console,
    ConsoleControl,
    ConsoleInfo,
)
from servers.console.line import Line
from servers.runtime import Busy, Deferred, Environment, KernelError, Notification

MOST: Final = 60 * 1024
"""Bytes of one answer at most."""
QUEUE: Final = 64 * 1024
"""Bytes of input that a console has waiting before no more is taken from the terminal."""
UNSHOWN: Final = 256 * 1024
"""Bytes waiting to be shown beyond which whoever writes more is answered later."""


class Screen:
    """One console: its output so far and its input to come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.written = 0  # bytes of output so far
        self.input = bytearray()
        self.attached: Notification | None = None
        self._kept = bytearray()

    def keep(self, data: bytes) -> None:
        """Remember output; the oldest is forgotten."""
        self.written += len(data)
        self._kept += data
        if len(self._kept) > 2 * SCROLLBACK:
            del self._kept[:-SCROLLBACK]

    def tail(self, size: int) -> bytes:
        """The last ``size`` bytes of output, as far as they are kept."""
        size = min(size, SCROLLBACK)
        return bytes(self._kept[-size:]) if size > 0 else b""

    def typed(self, data: bytes) -> None:
        """Give input to whoever reads this console."""
        self.input += data
        self.announce()

    def announce(self) -> None:
        """Signal that there is input, if somebody wants to hear of it."""
        if self.input and self.attached is not None:
            try:
                self.attached.signal()
            except KernelError:  # the client took it away
                self.attached = None


@dataclass
class Focus:
    """Who has the terminal."""

    screen: Screen
    ends: bool
    """Whether the end of the input gives it back."""
    give_back: Callable[[str], None]


class Multiplexer:
    """All consoles, and the one that has the terminal."""

    def __init__(self, env: Environment) -> None:
        self.screens: dict[str, Screen] = {}
        self.focus: Focus | None = None
        self.line = Line(env, self._typed, self._room)
        self._env = env
        self._ahead = b""  # typed after Control-]: for the next console that has the terminal
        self._unshown: list[Deferred] = []  # writes that wait until more was shown
        self._finishing: list[Deferred] = []  # releases that wait until all was shown

    def screen(self, name: str) -> Screen:
        """The console of that name, which comes to be with its first use."""
        if name not in self.screens:
            self.screens[name] = Screen(name)
        return self.screens[name]

    def write(self, screen: Screen, data: bytes) -> Deferred | None:
        """Keep output, and show it if the console has the terminal."""
        screen.keep(data)
        if self.focus is None or self.focus.screen is not screen:
            return None
        self.line.show(data)
        if self.line.pending <= UNSHOWN:
            return None
        self._unshown.append(self._env.defer())
        return self._unshown[-1]

    def give(self, focus: Focus, replay: int) -> None:
        """Give the terminal to a console."""
        self.take_back("released")
        self.line.discard()
        self.focus = focus
        self.line.show(focus.screen.tail(replay))
        self._input(self._ahead)
        if self.line.ended:
            self._ended()
        if self.focus is not None:
            self.line.listen(True)

    def take_back(self, how: str) -> None:
        """Take the terminal from the console that has it, if one does."""
        if self.focus is not None:
            focus, self.focus = self.focus, None
            self.line.listen(False)
            focus.give_back(how)

    def finish(self) -> Deferred | None:
        """The answer to a release: it comes when all that was written is shown."""
        if not self.line.pending:
            return None
        self._finishing.append(self._env.defer())
        return self._finishing[-1]

    def notify(self, bits: int) -> None:
        """The line has news."""
        self.line.notify(bits)
        self._answer_shown()

    def _answer_shown(self) -> None:
        pending = self.line.pending
        if pending <= UNSHOWN // 2:
            self._answer(self._unshown)
        if not pending:
            self._answer(self._finishing)

    def _answer(self, waiting: list[Deferred]) -> None:
        for deferred in waiting:
            deferred.answer()
        waiting.clear()

    def _room(self) -> bool:
        return self.focus is not None and len(self.focus.screen.input) < QUEUE

    def _typed(self, found: Input) -> None:
        self._input(found.data)
        if found.ended:
            self._ended()

    def _input(self, data: bytes) -> None:
        """Pass on what was typed, up to the key that takes the terminal back."""
        self._ahead = b""
        if self.focus is None:
            self._ahead = data
            return
        mine, escape, rest = data.partition(bytes([ESCAPE]))
        if mine:
            self.focus.screen.typed(mine)
        if escape:
            self._ahead = rest
            self.line.discard()  # the person wants the terminal now
            self.take_back("escape")
            self._answer_shown()

    def _ended(self) -> None:
        if self.focus is not None and self.focus.ends:
            self.take_back("input ended")


class ConsoleService(Console):
    """What guests and servers see."""

    def __init__(self, env: Environment, multiplexer: Multiplexer) -> None:
        self._env = env
        self._multiplexer = multiplexer

    def _screen(self) -> Screen:
        return self._multiplexer.screen(self._env.caller or f"client-{self._env.badge}")

    def write(self, data: bytes) -> None:
        return self._multiplexer.write(self._screen(), data)  # type: ignore[return-value]

    def attach(self, input: Notification) -> None:
        screen = self._screen()
        if screen.attached is not None:
            try:
                screen.attached.drop()
            except KernelError:  # its client took it away
                pass
        screen.attached = input
        screen.announce()

    def read(self, size: int) -> bytes:
        screen = self._screen()
        size = max(0, min(size, MOST))
        data = bytes(screen.input[:size])
        del screen.input[:size]
        self._multiplexer.line.go_on()
        return data


class ControlService(ConsoleControl):
    """What the person's tools see."""

    def __init__(self, env: Environment, multiplexer: Multiplexer) -> None:
        self._env = env
        self._multiplexer = multiplexer

    def consoles(self) -> list[ConsoleInfo]:
        focus = self._multiplexer.focus
        return [
            ConsoleInfo(s.name, focus is not None and focus.screen is s, s.written, len(s.input))
            for s in self._multiplexer.screens.values()
        ]

    def focus(self, name: str, replay: int) -> str:
        early: list[str] = []
        focus = Focus(self._multiplexer.screen(name), True, early.append)
        self._multiplexer.give(focus, replay)
        if early:
            return early[0]
        answer: Deferred = self._env.defer()
        focus.give_back = answer.answer
        return answer  # type: ignore[return-value]

    def show(self, name: str, replay: int, done: Notification, ends: bool = False) -> None:
        def give_back(_how: str) -> None:
            try:
                done.signal()
                done.drop()
            except KernelError:  # whoever wanted to know is gone
                pass

        screen = self._multiplexer.screen(name)
        self._multiplexer.give(Focus(screen, ends, give_back), replay)

    def release(self) -> None:
        self._multiplexer.take_back("released")
        return self._multiplexer.finish()  # type: ignore[return-value]

    def tail(self, name: str, size: int) -> bytes:
        screen = self._multiplexer.screens.get(name)
        return screen.tail(min(size, MOST)) if screen is not None else b""

    def type(self, name: str, data: bytes) -> None:
        screen = self._multiplexer.screen(name)
        if len(screen.input) + len(data) > 2 * QUEUE:
            raise Busy(f"the console {name!r} has {len(screen.input)} bytes of input waiting")
        screen.typed(data.replace(bytes([ESCAPE]), b""))


def main(env: Environment) -> None:
    """Serve ``console`` and ``control`` with the terminal that ``terminal`` names."""
    multiplexer = Multiplexer(env)
    roots = {
        "console": ConsoleService(env, multiplexer),
        "control": ControlService(env, multiplexer),
    }
    env.server(roots, multiplexer.notify).run()
