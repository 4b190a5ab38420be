"""A guest with a screen, saved in one machine and going on in another."""

from __future__ import annotations

from tests.vmm.screens import ScreenMachine
from vmm.snapshot import machine as states


def test_the_picture_goes_with_the_guest() -> None:
    first, second = ScreenMachine(), ScreenMachine()
    for one in (first, second):
        one.load_16("hlt")
    desk = first.board.desk
    assert desk is not None
    desk.start()
    for at in range(0, 4096, 4):
        first.display.frame[at : at + 3] = b"\x10\x20\x30"
    first.board.i8042.keyboard.key(0x1E, True)
    states.check(second.board, states.describe(first.board))
    states.restore(second.board, states.save(first.board))
    shown = second.pixels()
    assert shown.size == (1024, 768)
    assert shown[1000, 0] == (0x30, 0x20, 0x10)
    assert shown[0, 1] == (0, 0, 0)
    assert second.board.ports.read(0x60, 1) == 0x1E
    for one in (first, second):
        one.board.close()


def test_text_goes_with_the_guest() -> None:
    first, second = ScreenMachine(), ScreenMachine()
    for one in (first, second):
        one.load_16("hlt")
    for port, index, value in ((0x3C4, 2, 3), (0x3C4, 4, 2), (0x3CE, 5, 0x10), (0x3CE, 6, 0x0E)):
        first.board.ports.write(port, 2, index | value << 8)
    first.board.ports.write(0x3C2, 1, 3)
    assert first.board.desk is not None
    _, offset, length = first.board.desk._window
    assert length == 0x8000
    first.display.frame[offset : offset + 4] = b"A\x07B\x07"
    states.restore(second.board, states.save(first.board))
    assert second.board.desk is not None
    assert second.board.desk._window == first.board.desk._window
    assert second.display.frame[offset : offset + 4] == b"A\x07B\x07"
    for one in (first, second):
        one.board.close()
