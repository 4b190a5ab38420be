"""A board with a screen whose world is all in this process, running a few lines in real mode."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

from servers.display import png
from tests.vmm.rig import Recorder, assemble, new_memory
from vmm.backends import Backends
from vmm.board import Board
from vmm.clock import Clock
from vmm.config import MIB, VmConfig
from vmm.devices import vga
from vmm.devices.vga_picture import Update
from vmm.engine.interface import Registers, Segment, Table
from vmm.memory import GuestMemory
from vmm.outcome import End, Outcome
from vmm.pacer import Waiter

START = 0x7C00
VGA_BIOS = Path("/usr/share/seabios/vgabios-stdvga.bin")
END = "mov al, 0xfe; out 0x64, al; hlt"
"""How a snippet ends: with a reset, which ends the run."""


def real_mode(entry: int) -> Registers:
    data = Segment(0, 0, 0xFFFF, 0x9300)
    code = Segment(0, 0, 0xFFFF, 0x9B00)
    made = Registers(rip=entry, cs=code, ds=data, es=data, ss=data, fs=data, gs=data, cr0=0x10)
    made.idtr = Table(0, 0x3FF)
    made.general[4] = START
    return made


class FakeDisplay:
    """A display server that keeps what it is told."""

    def __init__(self) -> None:
        self.frame = memoryview(mmap.mmap(-1, vga.FRAME_SIZE))
        self.updates: list[Update] = []

    def update(self, update: Update) -> None:
        self.updates.append(update)


class Pixels:
    """A picture, as a screen would show it."""

    def __init__(self, frame: memoryview, update: Update) -> None:
        mode = update.mode
        self.width, self.height = mode.width, mode.height
        lines = (mode.offset + line * mode.pitch for line in range(mode.height))
        self.data = b"".join(frame[at : at + 4 * mode.width] for at in lines)

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, int, int]:
        """Red, green and blue at a place."""
        x, y = place
        blue, green, red, _ = self.data[4 * (y * self.width + x) :][:4]
        return red, green, blue

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def save(self, path: Path) -> None:
        """Write a file for a person to look at."""
        path.write_bytes(png.encode(self.width, self.height, self.data))


class ScreenMachine:
    """A board with a screen."""

    def __init__(self, clock: Clock = time.monotonic_ns, engine: str = "soft", kvm: int = -1):
        self.display = FakeDisplay()
        self.serial = Recorder()
        waiter = Waiter()
        self.board = Board(
            VmConfig(memory=8 * MIB, engine=engine),
            new_memory(8 * MIB),
            Backends(self.serial, display=self.display),
            idle=waiter.idle,
            wake=waiter.wake,
            clock=clock,
            kvm=kvm,
        )

    def load_16(self, source: str, *, bios: bool = False) -> None:
        """Lines to run in real mode, the video BIOS initialised before them if asked for."""
        before = "cld; mov ax, 0x0010; lcall 0xc000, 3;" if bios else "cld;"
        code = assemble(before + source + ";" + END, START, 16)

        def load(memory: GuestMemory) -> Registers:
            memory.write(START, code)
            if bios:
                memory.write(0xC0000, VGA_BIOS.read_bytes())
            return real_mode(START)

        self.board._load(load)

    def run_16(self, source: str, *, bios: bool = False) -> Outcome:
        self.load_16(source, bios=bios)
        outcome = self.board.run()
        assert outcome.end is End.RESET, outcome.report
        return outcome

    def pixels(self) -> Pixels:
        """What the screen shows now."""
        self.board.show()
        return Pixels(self.display.frame, self.display.updates[-1])
