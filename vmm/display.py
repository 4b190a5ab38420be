"""A screen, a keyboard and a mouse on the board: the adapter, and what the person at it does.

The board imports this for machines that have a screen alone: others start faster without.
"""

from __future__ import annotations

import struct
from typing import Final

from drivers.vnc.interface import LEFT, MIDDLE, RIGHT, WHEEL_DOWN, WHEEL_UP, Event, Key, Pointer
from vmm.backends import Display
from vmm.bus import MmioBus, PortBus
from vmm.clock import Clock
from vmm.devices import ps2_mouse, vga, vga_vbe
from vmm.devices.i8042 import I8042
from vmm.devices.pci import Bar, PciBus, PciDevice, Windows

SLOT: Final = 2
WIDTH, HEIGHT, DEPTH = 1024, 768, 32
"""The mode that a system finds that is started without firmware."""
_BUTTONS: Final = {LEFT: ps2_mouse.LEFT, MIDDLE: ps2_mouse.MIDDLE, RIGHT: ps2_mouse.RIGHT}
_LINEAR: Final = 0x23  # VIDEO_TYPE_VLFB
_SCREEN: Final = struct.Struct("<6xBB6xBBHHHHIIxxxxH8B")


class Desk:
    """The screen and what is before it."""

    def __init__(self, backend: Display, i8042: I8042, clock: Clock, windows: Windows) -> None:
        """``backend.frame`` is the adapter's memory, of ``vga.FRAME_SIZE`` bytes."""
        self._backend = backend
        self._i8042 = i8042
        self._windows = windows
        self._window = (0, 0, 0)  # what of the frame is seen at A0000h: address, offset, length
        self._pointer = Pointer(0, 0, 0)
        self._pci: PciDevice | None = None
        backend.frame[: vga.VRAM_SIZE] = bytes(vga.VRAM_SIZE)
        self.vga = vga.Vga(backend.frame, clock, self._map_window)

    def attach(self, ports: PortBus, mmio: MmioBus, pci: PciBus, rom: bytes = b"") -> None:
        """Put the adapter on the buses; ``rom`` is its BIOS, which firmware runs."""
        memory = self._backend.frame[: vga.VRAM_SIZE]
        self.vga.attach(ports, mmio)
        self._pci = PciDevice(
            vga.VENDOR,
            vga.DEVICE,
            vga.CLASS,
            vga.REVISION,
            bars={
                0: Bar(vga.VRAM_SIZE, "ram", None, None, memory),
                2: Bar(vga.MMIO_SIZE, "memory", self.vga.read_mmio, self.vga.write_mmio),
            },
            rom=rom,
            subsystem=(0x1AF4, 0x1100),
            pin=0,
        )
        pci.add(self._pci, SLOT)

    def detach(self) -> None:
        """The board is built anew: nothing of this one is to be seen any more."""
        self._map_window(0, 0, 0)

    def _map_window(self, address: int, offset: int, length: int) -> None:
        wanted = (address, offset, length) if length else (0, 0, 0)
        if wanted == self._window:
            return
        if self._window[2]:
            self._windows.unmap_window(self._window[0])
        self._window = wanted
        if length:
            self._windows.map_window(address, self._backend.frame, offset, length)

    # What firmware does

    def start(self) -> bytes:
        """Set a mode, and say which in the way of Linux's boot protocol (``screen_info``)."""
        for index, value in (
            (vga_vbe.ENABLE, 0),
            (vga_vbe.XRES, WIDTH),
            (vga_vbe.YRES, HEIGHT),
            (vga_vbe.BPP, DEPTH),
            (vga_vbe.ENABLE, vga_vbe.ENABLED | vga_vbe.LINEAR),
        ):
            self.vga.write_vbe(0x1CE, 2, index)
            self.vga.write_vbe(0x1CF, 2, value)
        assert self._pci is not None
        colours = (8, 16, 8, 8, 8, 0, 8, 24)  # size and place: red, green, blue, nothing
        return _SCREEN.pack(
            *(3, 80, 25, _LINEAR, 16, WIDTH, HEIGHT, DEPTH),
            *(self._pci.address(0), vga.VRAM_SIZE >> 16, WIDTH * DEPTH // 8, *colours),
        )

    # The person, on the vCPU thread

    def refresh(self, everything: bool = False) -> None:
        """Bring the picture up to date, and say so."""
        self._backend.update(self.vga.refresh(everything))

    def happened(self, events: list[Event]) -> None:
        """Keys and the pointer."""
        for event in events:
            if isinstance(event, Key):
                self._i8042.keyboard.key(event.code, event.down)
            elif isinstance(event, Pointer):
                self._move(event)

    def _move(self, pointer: Pointer) -> None:
        before, self._pointer = self._pointer, pointer
        right, down = pointer.x - before.x, pointer.y - before.y
        pressed = pointer.buttons & ~before.buttons
        wheel = bool(pressed & WHEEL_UP) - bool(pressed & WHEEL_DOWN)
        buttons = sum(mouse for ours, mouse in _BUTTONS.items() if pointer.buttons & ours)
        self._i8042.mouse.move(right, down, wheel, buttons)
