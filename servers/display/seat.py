"""What a person at a viewer sees: the chosen guest's picture under the bar, in a frame of its own.

The viewer is a driver that may be slow, or gone.  Two threads talk with it, so that nobody else has
to wait: one tells it what to show, the other asks it what happened.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from drivers.vnc.interface import Event, Viewer
from servers.display import bar
from servers.display.interface import MOST_ACROSS, MOST_DOWN, PIXEL
from servers.display.screen import Screen
from servers.runtime import Environment, KernelError, Notification, Right, ServiceError

PAUSE: Final = 200_000_000
"""Nanoseconds after which a viewer that failed is tried again."""


class Seat:
    """One viewer, and the picture that it shows."""

    def __init__(self, env: Environment, signal: Notification, bit: int) -> None:
        """``bit`` of ``signal`` is signalled when something happened."""
        self.width = self.height = 0
        self._frame = env.frame(MOST_ACROSS * (MOST_DOWN + bar.HEIGHT) * PIXEL)
        self._pixels = self._frame.map().view
        self._shared = self._frame.mint(Right.READ | Right.GRANT)
        self._events: deque[Event] = deque()
        self._changed: deque[tuple[int, int]] = deque()
        self._anew = False  # whether the viewer has to be told of the size
        self._fresh = False  # whether it has to be told that the picture is up to date
        self._more = env.event()
        env.thread(self._tell, "viewer-out")
        env.thread(lambda own: self._listen(own, signal, bit), "viewer-in")

    # On the server's thread

    def take(self) -> list[Event]:
        """What happened, the pointer in pixels from the corner of the bar."""
        found = []
        while self._events:
            found.append(self._events.popleft())
        return found

    def show(self, screen: Screen, tabs: list[bar.Tab]) -> None:
        """Show this screen, all of it."""
        width = max(screen.width, bar.LEAST)
        size = width, bar.HEIGHT + max(screen.height, 1)
        self._pixels[: bar.HEIGHT * width * PIXEL] = bar.draw(tabs, 0, width)
        resized = size != (self.width, self.height)
        self.width, self.height = size
        self._copy(screen, 0, screen.height)
        if resized:
            self._anew = True
            self._more.set()
        else:
            self._mark(0, self.height)

    def changed(self, screen: Screen, ranges: list[tuple[int, int]]) -> None:
        """Lines of the screen that is shown changed."""
        for top, count in ranges:
            self._copy(screen, top, count)
            self._mark(bar.HEIGHT + top, count)

    def fresh(self) -> None:
        """The picture is up to date, even if nothing changed."""
        self._fresh = True
        self._more.set()

    def _mark(self, top: int, count: int) -> None:
        if len(self._changed) > 256:  # the viewer is slow: all of it, later
            self._changed.clear()
            top, count = 0, self.height
        self._changed.append((top, count))
        self._more.set()

    def _copy(self, screen: Screen, top: int, count: int) -> None:
        line, pitch = screen.width * PIXEL, self.width * PIXEL
        at = (bar.HEIGHT + top) * pitch
        if line == pitch:
            part = screen.pixels[top * line : (top + count) * line]
            self._pixels[at : at + len(part)] = part
            return
        blank = bytes(pitch - line)
        for number in range(top, top + count):
            self._pixels[at : at + line] = screen.pixels[number * line : (number + 1) * line]
            self._pixels[at + line : at + pitch] = blank
            at += pitch

    # Threads of their own

    def _tell(self, env: Environment) -> None:
        viewer = env.open(Viewer, "viewer")
        while True:
            self._more.wait(None)
            while self._anew or self._changed or self._fresh:
                try:
                    self._tell_once(env, viewer)
                except (KernelError, ServiceError):  # the next one knows nothing yet
                    self._anew = True
                    env.sleep(PAUSE)

    def _tell_once(self, env: Environment, viewer: Viewer) -> None:
        if self._anew:
            self._anew = False
            self._changed.clear()
            viewer.show(self._shared.bind(env.system), self.width, self.height)
            return
        self._fresh = False
        ranges = []
        while self._changed:
            ranges.append(self._changed.popleft())
        viewer.changed(ranges)

    def _listen(self, env: Environment, signal: Notification, bit: int) -> None:
        viewer = env.open(Viewer, "viewer")
        own = signal.bind(env.system)
        while True:
            try:
                self._events.extend(viewer.read())
            except (KernelError, ServiceError):
                env.sleep(PAUSE)
                self._anew = self.width > 0
                self._more.set()
            own.signal(bit)
