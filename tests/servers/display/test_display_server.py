"""The display server on the simulated machine."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest

from drivers.vnc.interface import Event, Key, Pointer, Viewer, Viewers
from servers.display import bar
from servers.display.interface import Display, DisplayControl, Picture
from servers.display.main import main
from servers.runtime import BadRequest, Environment, Failed, Frame, NotFound, Right
from tests.support.simulation import Simulation

SIZE = 1 << 20
RED = bytes((0, 0, 255, 0))


class Guest:
    """A guest's side of the server."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        frame = env.frame(SIZE)
        self.pixels = frame.map().view
        self.word = env.notification()
        self.display = env.open(Display, "display")
        flags = Right.SEND | Right.GRANT
        shared = frame.mint(Right.READ | Right.GRANT)
        self.display.attach(shared, self.word.mint(flags, 1), self.word.mint(flags, 2))

    def show(self, width: int, height: int, pixel: bytes, offset: int = 0) -> None:
        self.pixels[offset : offset + 4 * width * height] = pixel * (width * height)
        self.display.update(Picture(offset, 4 * width, width, height), [(0, height)])


def simulation(**more: Any) -> Simulation:
    sim = Simulation(1)
    sim.process(
        "display",
        main,
        offers=["display", "control"],
        memory=256 << 20,
        config={"labels": {"alice": "office", "bob": "guests"}},
        **more,
    )
    return sim


def unpacked(control: DisplayControl, name: str, with_bar: bool) -> tuple[int, int, bytes]:
    """A screenshot's size and its lines' bytes, filters undone."""
    size = control.screenshot(name, with_bar)
    file = b""
    while len(file) < size:
        file += control.piece(len(file))
    width, height = struct.unpack_from(">II", file, 16)
    at, data = 33, b""
    while at < len(file):
        length, kind = struct.unpack_from(">I4s", file, at)
        check = zlib.crc32(file[at + 4 : at + 8 + length])
        assert struct.unpack_from(">I", file, at + 8 + length) == (check,)
        if kind == b"IDAT":
            data += file[at + 8 : at + 8 + length]
        at += 12 + length
    raw = zlib.decompress(data)
    lines, above = [], bytes(3 * width)
    for line in range(height):
        start = line * (3 * width + 1)
        row = raw[start + 1 : start + 1 + 3 * width]
        if raw[start] == 2:
            row = bytes((a + b) & 0xFF for a, b in zip(row, above, strict=True))
        lines.append(row)
        above = row
    return width, height, b"".join(lines)


def test_a_screenshot_is_what_the_guest_shows_now() -> None:
    sim = simulation()

    @sim.client(holds={"display": "display.display", "control": "display.control"})
    def alice(env: Environment) -> None:
        guest = Guest(env)
        guest.show(20, 10, bytes(4))

        def answer(own: Environment) -> None:
            word = guest.word.bind(own.system)
            while not word.wait() & 1:
                pass
            guest.pixels[:4] = RED
            own.open(Display, "display").update(Picture(0, 80, 20, 10), [(0, 1)])

        env.thread(answer, "answer")
        width, height, pixels = unpacked(env.open(DisplayControl, "control"), "alice", False)
        assert (width, height) == (20, 10)
        assert pixels[:6] == b"\xff\0\0\0\0\0"

    sim.run()


def test_the_bar_says_whose_it_is() -> None:
    sim = simulation()

    @sim.client(holds={"display": "display.display", "control": "display.control"})
    def alice(env: Environment) -> None:
        Guest(env).show(500, 50, RED)
        width, height, pixels = unpacked(env.open(DisplayControl, "control"), "alice", True)
        assert (width, height) == (500, 50 + bar.HEIGHT)
        drawn = bar.draw([bar.Tab("alice", "office", bar.LABELS[1])], 0, 500)
        line = 3 * 500 * 10
        assert pixels[line : line + 3] == bytes(
            drawn[4 * 500 * 10 + 2 : 4 * 500 * 10 : -1] + drawn[4 * 500 * 10 : 4 * 500 * 10 + 1]
        )
        assert pixels[3 * 500 * bar.HEIGHT :] == b"\xff\0\0" * (500 * 50)

    sim.run()


def test_a_guest_that_does_not_answer_is_shown_as_it_was() -> None:
    sim = simulation()

    @sim.client(holds={"display": "display.display", "control": "display.control"})
    def alice(env: Environment) -> None:
        guest = Guest(env)
        guest.show(8, 8, RED)
        guest.pixels[:256] = bytes(256)
        before = env.clock()
        *_, pixels = unpacked(env.open(DisplayControl, "control"), "alice", False)
        assert pixels == b"\xff\0\0" * 64
        assert 0.9e9 < env.clock() - before < 1.5e9

    sim.run()


@pytest.mark.parametrize(
    ("picture", "changed"),
    [
        (Picture(0, 400, 100, 100_000), []),
        (Picture(0, 400, 0, 10), []),
        (Picture(-4, 400, 100, 10), []),
        (Picture(0, 396, 100, 10), []),
        (Picture(SIZE - 400 * 9, 400, 100, 10), []),
        (Picture(0, 1 << 40, 100, 2), []),
        (Picture(0, 400, 100, 10), [(9, 2)]),
        (Picture(0, 400, 100, 10), [(-1, 2)]),
        (Picture(0, 400, 100, 10), [(0, -1)]),
        (Picture(0, 400, 100, 10), [(0, 1)] * 2000),
    ],
)
def test_what_a_guest_says_of_its_picture_is_checked(
    picture: Picture, changed: list[tuple[int, int]]
) -> None:
    sim = simulation()

    @sim.client(holds={"display": "display.display"})
    def alice(env: Environment) -> None:
        guest = Guest(env)
        with pytest.raises(BadRequest):
            guest.display.update(picture, changed)
        guest.show(10, 10, RED)

    sim.run()


def test_nothing_is_shown_before_a_frame_is_attached() -> None:
    sim = simulation()

    @sim.client(holds={"display": "display.display", "control": "display.control"})
    def alice(env: Environment) -> None:
        display, control = env.open(Display, "display"), env.open(DisplayControl, "control")
        for call in (display.read, lambda: display.update(Picture(0, 4, 1, 1), [])):
            with pytest.raises(Failed):
                call()
        with pytest.raises(NotFound):
            control.screenshot("alice", True)
        with pytest.raises(NotFound):
            control.screenshot("nobody", True)

    sim.run()


class FakeViewer(Viewer):
    """A person with two eyes and one hand."""

    def __init__(self, env: Environment, script: list[list[Event]]) -> None:
        self._env, self._script = env, script

    def show(self, picture: Frame, width: int, height: int) -> None:
        view = picture.map(writable=False).view
        seen.append((width, height, bytes(view[: 4 * width * height])))

    def changed(self, ranges: list[tuple[int, int]]) -> None:
        seen.append(ranges)

    def read(self) -> list[Event]:
        if self._script:
            return self._script.pop(0)
        answer: Any = self._env.defer()
        return answer  # type: ignore[no-any-return]


seen: list[Any] = []


def test_keys_go_to_the_guest_that_is_seen_and_the_bar_chooses() -> None:
    seen.clear()
    script: list[list[Event]] = [[Viewers(1)], [Viewers(0)]]
    sim = simulation(holds={"viewer": "viewer.viewer"})

    def viewer(env: Environment) -> None:
        env.serve(FakeViewer(env, script), on="viewer")

    sim.process("viewer", viewer, offers=["viewer"])

    @sim.client(holds={"display": "display.display", "control": "display.control"})
    def alice(env: Environment) -> None:
        guest = Guest(env)
        guest.show(600, 100, RED)
        control = env.open(DisplayControl, "control")
        control.press("alice", [0x1D, 0x1E])
        while not guest.word.wait() & 2:
            pass
        keys = [Key(0x1D, True), Key(0x1E, True), Key(0x1E, False), Key(0x1D, False)]
        assert guest.display.read() == keys
        assert [(info.name, info.chosen) for info in control.screens()] == [("alice", True)]

    sim.run()
    assert any(isinstance(one, tuple) and one[:2] == (600, 100 + bar.HEIGHT) for one in seen)


def test_a_click_on_another_tab_shows_that_guest() -> None:
    seen.clear()
    tabs = [bar.Tab("alice", "office", (0, 0, 0)), bar.Tab("bob", "guests", (0, 0, 0))]
    place = bar.places(tabs, 600)[1][0] + 5
    script: list[list[Event]] = [
        [Viewers(1), Key(0x1E, True), Pointer(50, bar.HEIGHT + 7, 0)],
        [Pointer(place, 3, 1), Pointer(place, 3, 0), Key(0x30, True), Viewers(0)],
    ]
    sim = simulation(holds={"viewer": "viewer.viewer"})
    ready: list[str] = []

    def viewer(env: Environment) -> None:
        while len(ready) < 2:
            env.sleep(1_000_000)
        env.serve(FakeViewer(env, script), on="viewer")

    def guest(name: str, wanted: list[Event]) -> Any:
        def run(env: Environment) -> None:
            if name == "bob":
                while not ready:
                    env.sleep(1_000_000)
            mine = Guest(env)
            mine.show(600, 50, RED)
            ready.append(name)
            found: list[Event] = []
            while len(found) < len(wanted):
                mine.word.wait()
                found += mine.display.read()
            assert found == wanted

        run.__name__ = name
        return run

    sim.process("viewer", viewer, offers=["viewer"])
    holds = {"display": "display.display"}
    sim.client(holds=holds)(guest("alice", [Key(0x1E, True), Pointer(50, 7, 0), Key(0x1E, False)]))
    sim.client(holds=holds)(guest("bob", [Key(0x30, True)]))
    sim.run()
