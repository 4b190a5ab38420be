"""SeaBIOS's video BIOS on the adapter: it sets every kind of mode, and draws text in it."""

from __future__ import annotations

import pytest

from tests.vmm.screens import VGA_BIOS, ScreenMachine

pytestmark = pytest.mark.skipif(not VGA_BIOS.exists(), reason="needs Debian's package seabios")

BLACK = (0, 0, 0)


def _say(text: str, colour: int) -> str:
    """Lines that write a text through the BIOS."""
    return f"mov ah, 0x0e; mov bx, {colour};" + "".join(
        f"mov al, {ord(character)}; int 0x10;" for character in text
    )


@pytest.mark.parametrize(
    ("mode", "size", "ink"),
    [
        (0x01, (720, 400), (170, 170, 170)),
        (0x03, (720, 400), (170, 170, 170)),
        (0x04, (640, 400), (255, 85, 255)),
        (0x06, (640, 400), (255, 255, 255)),
        (0x0D, (640, 400), (255, 255, 85)),
        (0x12, (640, 480), (255, 255, 85)),
        (0x13, (640, 400), (255, 255, 85)),
    ],
)
def test_vga_modes(mode: int, size: tuple[int, int], ink: tuple[int, int, int]) -> None:
    machine = ScreenMachine()
    colour = {0x04: 2, 0x06: 1}.get(mode, 14)
    machine.run_16(f"mov ax, {mode}; int 0x10;" + _say("H", colour), bios=True)
    shown = machine.pixels()
    assert shown.size == size
    across = size[0] // (40 if mode in (0x01, 0x04, 0x0D, 0x13) else 80)
    cell = {shown[x, y] for x in range(across) for y in range(8)}
    assert cell == {BLACK, ink}
    assert all(shown[0, y] == BLACK for y in range(32, size[1]))
    machine.board.close()


@pytest.mark.parametrize(
    ("mode", "size"), [(0x102, (800, 600)), (0x103, (800, 600)), (0x105, (1024, 768))]
)
def test_vesa_modes(mode: int, size: tuple[int, int]) -> None:
    machine = ScreenMachine()
    machine.run_16(f"mov ax, 0x4f02; mov bx, {mode}; int 0x10;" + _say("H", 10), bios=True)
    shown = machine.pixels()
    assert shown.size == size
    assert {shown[x, y] for x in range(8) for y in range(16)} == {BLACK, (85, 255, 85)}
    machine.board.close()


def test_the_window_is_written_at_full_speed_where_it_can_be() -> None:
    """A million octets through the window, of which none costs a call."""
    machine = ScreenMachine()
    calls = []
    write = machine.board.vga.memory.write  # type: ignore[union-attr]
    machine.board.mmio.unmap(0xA0000)
    machine.board.mmio.map(
        0xA0000, 0x20000, lambda *_: 0xFF, lambda *args: calls.append(args) or write(*args)
    )
    machine.run_16(
        "mov ax, 0x13; int 0x10; mov ax, 0xa000; mov es, ax; mov al, 14; mov dx, 16;"
        "again: xor di, di; mov cx, 0xffff; rep stosb; dec dx; jnz again",
        bios=True,
    )
    assert machine.pixels()[100, 100] == (255, 255, 85)
    assert len(calls) < 20_000  # the BIOS's own, in text mode and while it loads its font
    machine.board.close()


def test_a_guest_that_restarts_has_an_adapter_as_new() -> None:
    machine = ScreenMachine()
    machine.run_16("mov ax, 0x13; int 0x10", bios=True)
    machine.board._restart()
    assert machine.pixels()[0, 0] == BLACK
    assert machine.board.desk is not None
    assert machine.board.desk._window == (0, 0, 0)
    machine.board.close()
