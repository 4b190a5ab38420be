"""The display server, as the board's backend: a frame that is shared with it, and a thread that
says what changed and hears what the person does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from drivers.vnc.interface import Event
from servers.display.interface import Display, Picture
from servers.runtime import Environment, KernelError, Right, ServiceError, TimedOut
from vmm.devices.vga import FRAME_SIZE
from vmm.devices.vga_picture import Update

WANTED: Final = 1
HAPPENED: Final = 2
UPDATED: Final = 4
AGAIN: Final = 2_000_000_000
"""Nanoseconds without any event after which the server is asked whether it is still there."""
PATIENCE: Final = 1_000_000_000
"""Nanoseconds that the last picture has to arrive."""
_BEHIND: Final = 8
"""Pictures that wait for the server before what changed is forgotten, and all said to be new."""


class Screen:
    """One guest's."""

    def __init__(self, env: Environment) -> None:
        frame = env.frame(FRAME_SIZE)
        self.frame = frame.map().view
        self._shared = frame.mint(Right.READ | Right.GRANT)
        self._word = env.notification()
        self._updates: deque[Update] = deque()
        self._idle = env.event()

    # On the vCPU thread

    def update(self, update: Update) -> None:
        """The picture is up to date."""
        if len(self._updates) >= _BEHIND:
            self._updates.clear()
            update = Update(update.mode, [(0, update.mode.height)])
        self._updates.append(update)
        self._word.signal(UPDATED)

    def drain(self) -> None:
        """Return once the server has all pictures, or does not take them."""
        while self._updates:
            if not self._idle.wait(PATIENCE):
                return

    # On a thread of its own

    def serve(
        self,
        env: Environment,
        refresh: Callable[[bool], None],
        happened: Callable[[list[Event]], None],
    ) -> None:
        """Start the thread; ``refresh`` is to bring the picture up to date (or all of it)."""
        env.thread(lambda own: self._run(own, refresh, happened), "screen")

    def _run(
        self,
        env: Environment,
        refresh: Callable[[bool], None],
        happened: Callable[[list[Event]], None],
    ) -> None:
        display = env.open(Display, "display")
        word = self._word.bind(env.system)
        frame = self._shared.bind(env.system)
        wanted = word.mint(Right.SEND | Right.GRANT, WANTED)
        told = word.mint(Right.SEND | Right.GRANT, HAPPENED)
        attached = False
        while True:
            try:
                if not attached:
                    display.attach(frame, wanted, told)
                    attached = True
                    refresh(True)
                bits = word.wait(AGAIN)
                if bits & WANTED:
                    refresh(False)
                if bits & HAPPENED:
                    happened(display.read())
                self._tell(display)
            except TimedOut:
                attached = self._is_there(display)
            except (KernelError, ServiceError):
                attached = False
                env.sleep(AGAIN // 10)

    def _tell(self, display: Display) -> None:
        while self._updates:
            mode, changed = self._updates.popleft()
            display.update(Picture(mode.offset, mode.pitch, mode.width, mode.height), changed)
        self._idle.set()

    @staticmethod
    def _is_there(display: Display) -> bool:
        """Whether the server still knows us: it may be another one."""
        try:
            display.read()
        except (KernelError, ServiceError):
            return False
        return True
