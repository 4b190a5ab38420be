"""The display server: guests' pictures, under a bar that no guest can draw.

No guest and no viewer can hold it up: a guest is asked for its picture by a signal and says that it
is up to date when it likes.  It is asked only while somebody looks, or for a screenshot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from drivers.vnc.interface import Event, Key, Pointer, Viewers
from servers.display import bar, png
from servers.display.interface import PIXEL, Display, DisplayControl, Picture, ScreenInfo
from servers.display.screen import Screen
from servers.display.seat import Seat
from servers.runtime import (
    BadRequest,
    Busy,
    Deferred,
    Environment,
    Failed,
    Frame,
    NotFound,
    Notification,
)

TICK: Final = 1
"""Bit of the notification: time has passed."""
HAPPENED: Final = 2
"""Bit of the notification: the viewer has events."""
PERIOD: Final = 40_000_000
"""Nanoseconds between two looks at a picture that somebody sees."""
PATIENCE: Final = 1_000_000_000
"""Nanoseconds that a guest has to bring its picture up to date for a screenshot."""
MOST: Final = 60 * 1024
"""Bytes of a screenshot that one message carries."""
SCREENS: Final = 32
"""Guests at most."""


class DisplayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's configuration in the system description."""

    labels: dict[str, str] = {}
    """What the bar says beside the name of each guest."""


@dataclass
class Shot:
    """A screenshot that is being taken, or was."""

    screen: Screen
    bar: bool
    badge: int
    answer: Deferred
    until: int
    """When it is taken at the latest, ns."""
    file: bytes = field(default=b"")


class Compositor:
    """All screens, and who looks at them."""

    def __init__(self, env: Environment, config: DisplayConfig) -> None:
        self.screens: dict[str, Screen] = {}
        self.chosen: Screen | None = None
        self.shots: list[Shot] = []
        self.taken: dict[int, bytes] = {}  # the last screenshot by the badge of whose it is
        self._env = env
        self._config = config
        self._looking = 0
        self._newcomer = False  # who has not seen a picture that is up to date
        self._pointer = 0  # the buttons that were pressed last
        self._grabbed = False  # whether they were pressed over the picture
        self._held: set[int] = set()  # keys that the chosen guest was told of
        signal = env.listen()
        self._ticking = env.event()
        env.thread(lambda own: self._tick(own, signal), "ticker")
        self._seat = Seat(env, signal, HAPPENED) if env.has("viewer") else None

    def screen(self, name: str) -> Screen:
        """The screen of that name, which comes to be with its first use."""
        if name not in self.screens:
            if len(self.screens) == SCREENS:
                raise Busy(f"there are {SCREENS} screens already")
            label = self._config.labels.get(name, "")
            known = sorted({*self._config.labels.values(), label})
            colour = bar.LABELS[known.index(label) % len(bar.LABELS)]
            self.screens[name] = Screen(bar.Tab(name, label, colour))
            if self.chosen is None:
                self.chosen = self.screens[name]
            self._show()
        return self.screens[name]

    def find(self, name: str) -> Screen:
        if name not in self.screens:
            raise NotFound(f"{name!r} has no screen")
        return self.screens[name]

    def choose(self, screen: Screen) -> None:
        """Show another screen to viewers; keys that are held are let go of first."""
        if self.chosen is not None:
            for code in self._held:
                self.chosen.tell(Key(code, False))
            self._held.clear()
        self.chosen = screen
        screen.want()
        self._show()

    def update(self, screen: Screen, picture: Picture, changed: list[tuple[int, int]]) -> None:
        resized = screen.update(picture, changed)
        if self._seat is not None and screen is self.chosen:
            if resized:
                self._show()
            else:
                self._seat.changed(screen, changed)
            if self._newcomer:
                self._newcomer = False
                self._seat.fresh()
        for shot in [shot for shot in self.shots if shot.screen is screen]:
            self._take(shot)

    def _show(self) -> None:
        if self._seat is not None and self.chosen is not None:
            self._seat.show(self.chosen, self._tabs())

    def _tabs(self) -> list[bar.Tab]:
        """The chosen one first: it must be seen however many there are."""
        others = [screen.tab for screen in self.screens.values() if screen is not self.chosen]
        return [*([self.chosen.tab] if self.chosen else []), *others]

    # Screenshots

    def shoot(self, screen: Screen, with_bar: bool, badge: int) -> Deferred:
        """Take a screenshot as soon as the picture is up to date."""
        answer: Deferred = self._env.defer()
        shot = Shot(screen, with_bar, badge, answer, self._env.clock() + PATIENCE)
        self.shots.append(shot)
        if screen.want():
            self._ticking.set()
        else:
            self._take(shot)
        return answer

    def _take(self, shot: Shot) -> None:
        self.shots.remove(shot)
        screen = shot.screen
        if not screen.width:
            shot.answer.fail(NotFound(f"{screen.tab.name} has not shown anything yet"))
            return
        width, height, pixels = screen.width, screen.height, bytes(screen.pixels)
        if shot.bar:
            shown = max(width, bar.LEAST)
            if shown > width:
                blank, line = bytes((shown - width) * PIXEL), width * PIXEL
                lines = (pixels[at : at + line] for at in range(0, len(pixels), line))
                pixels = b"".join(part for row in lines for part in (row, blank))
            width, height = shown, height + bar.HEIGHT
            pixels = bar.draw([screen.tab], 0, width) + pixels
        self.taken[shot.badge] = png.encode(width, height, pixels)
        shot.answer.answer(len(self.taken[shot.badge]))

    # What happens

    def notify(self, bits: int) -> None:
        if bits & HAPPENED and self._seat is not None:
            for event in self._seat.take():
                self._happened(event)
        if bits & TICK:
            now = self._env.clock()
            for shot in [shot for shot in self.shots if shot.until <= now]:
                self._take(shot)
            if self._looking and self.chosen is not None:
                self.chosen.want()
        if self._looking or self.shots:
            self._ticking.set()

    def _happened(self, event: Event) -> None:
        if isinstance(event, Viewers):
            self._newcomer = self._newcomer or event.count > self._looking
            self._looking = event.count
            if self._newcomer and self.chosen is not None:
                self.chosen.want()
        elif self.chosen is None:
            return
        elif isinstance(event, Key):
            self._held = self._held | {event.code} if event.down else self._held - {event.code}
            self.chosen.tell(event)
        else:
            self._pointed(event, self.chosen)

    def _pointed(self, event: Pointer, chosen: Screen) -> None:
        """A press on the bar chooses another guest; all else is for the one that is shown."""
        pressed, self._pointer = event.buttons & ~self._pointer, event.buttons
        if event.y >= bar.HEIGHT or self._grabbed:
            self._grabbed = bool(event.buttons)
            chosen.tell(Pointer(event.x, max(event.y - bar.HEIGHT, 0), event.buttons))
        elif pressed & 1 and self._seat is not None:
            tabs = self._tabs()
            for tab, (left, right) in zip(tabs, bar.places(tabs, self._seat.width), strict=True):
                if left <= event.x < right:
                    self.choose(self.screens[tab.name])

    def _tick(self, env: Environment, signal: Notification) -> None:
        """A thread of its own that keeps time while time matters."""
        own = signal.bind(env.system)
        while True:
            self._ticking.wait(None)
            env.sleep(PERIOD)
            own.signal(TICK)


class DisplayService(Display):
    """What guests see."""

    def __init__(self, env: Environment, compositor: Compositor) -> None:
        self._env = env
        self._compositor = compositor

    def _screen(self) -> Screen:
        return self._compositor.screen(self._env.caller or f"client-{self._env.badge}")

    def attach(self, frame: Frame, wanted: Notification, happened: Notification) -> None:
        self._screen().attach(frame, wanted, happened)

    def update(self, picture: Picture, changed: list[tuple[int, int]]) -> None:
        self._compositor.update(self._screen(), picture, changed)

    def read(self) -> list[Event]:
        screen = self._screen()
        if not screen.attached:
            raise Failed("no frame is attached")
        events = screen.events
        found = list(events)
        events.clear()
        return found


class ControlService(DisplayControl):
    """What the person's tools see."""

    def __init__(self, env: Environment, compositor: Compositor) -> None:
        self._env = env
        self._compositor = compositor

    def screens(self) -> list[ScreenInfo]:
        return [
            ScreenInfo(
                screen.tab.name,
                screen.tab.label,
                screen.width,
                screen.height,
                screen is self._compositor.chosen,
            )
            for screen in self._compositor.screens.values()
        ]

    def screenshot(self, name: str, bar: bool) -> int:
        screen = self._compositor.find(name)
        return self._compositor.shoot(screen, bar, self._env.badge)  # type: ignore[return-value]

    def piece(self, offset: int) -> bytes:
        taken = self._compositor.taken.get(self._env.badge, b"")
        if offset < 0:
            raise BadRequest("there is nothing before the beginning")
        return taken[offset : offset + MOST]

    def choose(self, name: str) -> None:
        self._compositor.choose(self._compositor.find(name))

    def press(self, name: str, codes: list[int]) -> None:
        screen = self._compositor.find(name)
        for down in (True, False):
            for code in codes if down else reversed(codes):
                screen.tell(Key(code & 0xFF, down))


def main(env: Environment) -> None:
    """Serve ``display`` and ``control``, with the viewer that ``viewer`` names, if there is one."""
    compositor = Compositor(env, env.config(DisplayConfig))
    roots = {
        "display": DisplayService(env, compositor),
        "control": ControlService(env, compositor),
    }
    env.server(roots, compositor.notify).run()
