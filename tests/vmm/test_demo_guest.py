"""The demonstration guest runs on the board: every device it uses, from power-on to power-off."""

from __future__ import annotations

import threading

import pytest

from images.guests.build import build
from tests.vmm.backends import MemoryBlock
from tests.vmm.rig import Machine
from vmm.config import MIB
from vmm.outcome import End, Outcome

PROMPT = b"demo> "
LIMIT = 20.0  # seconds until a guest is given up


class Session:
    """Somebody at the guest's console, who types the next command at each prompt."""

    def __init__(self, machine: Machine, *commands: str) -> None:
        self.machine = machine
        self._commands = [*commands]
        self._seen = 0
        machine.serial.heard = self._heard

    def _heard(self, data: bytes) -> None:
        while self._commands and (at := data.find(PROMPT, self._seen)) >= 0:
            self._seen = at + len(PROMPT)
            self.machine.board.receive(self._commands.pop(0).encode() + b"\r")

    def run(self) -> Outcome:
        board = self.machine.board
        board.load_multiboot(build("demo"))
        watchdog = threading.Timer(LIMIT, board.stop)
        watchdog.start()
        try:
            return board.run()
        finally:
            watchdog.cancel()
            watchdog.join()
            board.close()


def test_from_power_on_to_power_off() -> None:
    machine = Machine(memory=32 * MIB)
    outcome = Session(machine, "ticks", "disk", "fault", "off").run()
    assert outcome.end is End.POWER_OFF, machine.serial.text
    assert "the timer runs" in machine.serial.text


def test_the_disk_remembers() -> None:
    disk = MemoryBlock(2048)
    for expected in ("1", "2"):
        machine = Machine(disk, memory=32 * MIB)
        outcome = Session(machine, "disk", "off").run()
        assert outcome.end is End.POWER_OFF, machine.serial.text
        assert f"boot counter: {expected}" in machine.serial.text


@pytest.mark.parametrize(("command", "end"), [("reboot", End.RESET), ("triple", End.TRIPLE_FAULT)])
def test_other_ends(command: str, end: End) -> None:
    outcome = Session(Machine(memory=32 * MIB), command).run()
    assert outcome.end is end
