"""SeaBIOS on a board with a screen: what it shows, and that it hears the keyboard."""

from __future__ import annotations

import threading
import time

import pytest

from drivers.vnc.interface import Key
from tests.vmm.rig import Recorder, new_memory
from tests.vmm.screens import VGA_BIOS, FakeDisplay, Pixels
from vmm.backends import Backends, Firmware
from vmm.board import Board
from vmm.config import MIB, VmConfig
from vmm.devices.vga_memory import TEXT_SIZE
from vmm.outcome import End
from vmm.pacer import Waiter

BIOS = VGA_BIOS.with_name("bios-256k.bin")
ESC = 1

pytestmark = pytest.mark.skipif(not BIOS.exists(), reason="needs Debian's package seabios")


def test_its_menu() -> None:
    display, waiter = FakeDisplay(), Waiter()
    firmware = Firmware(bios=BIOS.read_bytes(), video=VGA_BIOS.read_bytes(), menu=True)
    board = Board(
        VmConfig(memory=32 * MIB),
        new_memory(32 * MIB),
        Backends(Recorder(), display=display, firmware=firmware),
        idle=waiter.idle,
        wake=waiter.wake,
    )
    board.load_bios()
    seen: list[str] = []

    def shows(text: str) -> bool:
        """Whether it comes to show a text in time."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            characters = bytes(display.frame[-TEXT_SIZE::2]).decode("cp437")
            if text in characters:
                seen.append(text)
                return True
            time.sleep(0.02)
        return False

    def person() -> None:
        if shows("Press ESC for boot menu"):
            board.happened([Key(ESC, True), Key(ESC, False)])
            shows("Select boot device")
        board.refresh()
        board.stop()

    threading.Thread(target=person, daemon=True).start()
    assert board.run().end is End.STOPPED
    assert seen == ["Press ESC for boot menu", "Select boot device"]
    shown = Pixels(display.frame, display.updates[-1])
    assert shown.size == (720, 400)
    assert {shown[x, y] for x in range(9 * 7) for y in range(16)} == {(0, 0, 0), (170, 170, 170)}
    board.close()
