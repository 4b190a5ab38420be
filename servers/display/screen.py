"""One guest's screen: the frame that it shares, and the picture as it was last.

The guest may write its frame at any time, and says anything it likes about it.  So what is shown is
a copy, made when the guest says that the picture is up to date, and no number of a guest's is used
before it was checked.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from servers.display.bar import Tab
from servers.display.interface import (
    LARGEST_FRAME,
    MOST_ACROSS,
    MOST_DOWN,
    PIXEL,
    Event,
    Picture,
    Pointer,
)
from servers.runtime import BadRequest, Failed, Frame, KernelError, Mapping, Notification

QUEUE: Final = 1024
"""Events that wait for a guest; what it does not take is lost, a pointer's moves first."""
MOST_RANGES: Final = 1024


class Screen:
    """One guest's."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.width = self.height = 0
        self.pixels = bytearray()
        """The picture, without the bar."""
        self.events: deque[Event] = deque()
        self._shared: tuple[Frame, Mapping] | None = None
        self._signals: tuple[Notification, Notification] | None = None

    @property
    def attached(self) -> bool:
        return self._shared is not None

    def attach(self, frame: Frame, wanted: Notification, happened: Notification) -> None:
        """Look at this frame from now on."""
        self.detach()
        mapping = frame.map(writable=False)
        self._shared, self._signals = (frame, mapping), (wanted, happened)
        if mapping.size > LARGEST_FRAME:
            self.detach()
            raise BadRequest(f"a frame of {mapping.size} bytes is too large for a picture")

    def detach(self) -> None:
        """Forget the frame; the picture stays as it is."""
        held = [*(self._signals or ()), *(self._shared[:1] if self._shared else ())]
        if self._shared is not None:
            self._shared[1].close()
        self._shared = self._signals = None
        for capability in held:
            try:
                capability.drop()
            except KernelError:  # the guest took it away
                pass

    def want(self) -> bool:
        """Ask for the picture to be brought up to date; whether there is anyone to ask."""
        return self._signal(0)

    def tell(self, event: Event) -> None:
        """Something happened to this screen's keyboard or pointer."""
        if len(self.events) >= QUEUE and isinstance(event, Pointer):
            return
        self.events.append(event)
        if len(self.events) > 2 * QUEUE:
            self.events.popleft()
        self._signal(1)

    def _signal(self, number: int) -> bool:
        if self._signals is None:
            return False
        try:
            self._signals[number].signal()
        except KernelError:  # it is gone
            self.detach()
            return False
        return True

    def update(self, picture: Picture, changed: list[tuple[int, int]]) -> bool:
        """Copy what changed; whether the picture has another size now."""
        if self._shared is None:
            raise Failed("no frame is attached")
        view = self._shared[1].view
        _check(picture, changed, len(view))
        resized = (picture.width, picture.height) != (self.width, self.height)
        if resized:
            self.pixels = bytearray(picture.width * picture.height * PIXEL)
            self.width, self.height = picture.width, picture.height
            changed = [(0, picture.height)]
        line = picture.width * PIXEL
        for top, count in changed:
            at = picture.offset + top * picture.pitch
            if line == picture.pitch:
                self.pixels[top * line : (top + count) * line] = view[at : at + count * line]
                continue
            for number in range(top, top + count):
                self.pixels[number * line : (number + 1) * line] = view[at : at + line]
                at += picture.pitch
        return resized


def _check(picture: Picture, changed: list[tuple[int, int]], size: int) -> None:
    """Raise ``BadRequest`` unless the picture is in the frame, and the ranges in the picture."""
    offset, pitch, width, height = (
        picture.offset,
        picture.pitch,
        picture.width,
        picture.height,
    )
    if not (0 < width <= MOST_ACROSS and 0 < height <= MOST_DOWN):
        raise BadRequest(f"a picture of {width} by {height} is none that can be shown")
    end = offset + (height - 1) * pitch + width * PIXEL
    if offset < 0 or pitch < width * PIXEL or end > size:
        raise BadRequest("the picture is not within the frame")
    if len(changed) > MOST_RANGES:
        raise BadRequest(f"more than {MOST_RANGES} ranges of lines")
    if any(top < 0 or count < 0 or top + count > height for top, count in changed):
        raise BadRequest("lines changed that are not in the picture")
