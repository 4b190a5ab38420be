"""A VGA with the Bochs VBE extension, as QEMU's "standard VGA" (PCI 1234:1111) is known to drivers.

IBM Video Subsystem Technical Reference (S66X-4240), "VGA Function"; PCI ranges as in QEMU's
docs/specs/standard-vga.

  3C0h  attribute controller: index and data by turns (3DAh begins again)   3C1h  read its data
  3C2h  write: miscellaneous output; read: input status 0      3CCh  read miscellaneous output
  3C4h/3C5h sequencer    3CEh/3CFh graphics controller         index/data
  3D4h/3D5h CRT controller (3B4h/3B5h if bit 0 of miscellaneous output is clear)
  3C6h  mask of palette indices   3C7h  DAC: read index, state   3C8h  write index   3C9h  data
  3CAh  read feature control      3DAh (3BAh)  input status 1: 0 no display, 3 vertical retrace
  1CEh, 1CFh, 1D0h  VBE (`vga_vbe.py`)

  BAR 0   the memory, from its beginning
  BAR 2   400h-41Fh  ports 3C0h-3DFh   500h-515h  VBE registers, 16 bits each
          600h  size of what follows, 604h  byte order of the framebuffer

The window at A0000h is in `vga_memory.py`, what a screen shows is in `vga_picture.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import Final

from vmm.bus import MmioBus, PortBus
from vmm.clock import Clock
from vmm.devices.vga_memory import TEXT_SIZE, WINDOW, WINDOW_SIZE, MapWindow, VgaMemory
from vmm.devices.vga_picture import MOST, Painter, Update
from vmm.devices.vga_vbe import BPP, COUNT, ENABLE, Vbe

VENDOR, DEVICE, CLASS, REVISION = 0x1234, 0x1111, 0x03_0000, 2
MMIO_SIZE: Final = 4096
VRAM_SIZE: Final = 16 << 20
FRAME_SIZE: Final = VRAM_SIZE + MOST + TEXT_SIZE
"""What is shared with those that show the picture."""
FRAME_NS: Final = 14_285_714
"""A picture takes as long as with 70 Hz."""
LINES: Final = 449
"""Lines of a picture, those in which the beam returns included."""
_RETRACE_LINE: Final = 400
"""Retrace lasts from here on: a guest that looks for it in vain for long would be slow."""
_SEQUENCER: Final = bytes((0x03, 0x3D, 0x0F, 0x3F, 0x0E))
_GRAPHICS: Final = bytes((0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF))
_ATTRIBUTES: Final = bytes([0x3F] * 16 + [0xEF, 0xFF, 0x3F, 0x0F, 0x0F])
_CRTC: Final = 0x19
"""Registers of the CRT controller."""
_PROTECT: Final = 0x80
_LITTLE_ENDIAN: Final = 0x1E1E_1E1E


class Vga:
    """The adapter."""

    def __init__(
        self,
        frame: memoryview,
        clock: Clock,
        map_window: MapWindow | None = None,
    ) -> None:
        """``frame`` has ``FRAME_SIZE`` bytes, and is what others see of the adapter: its memory,
        a picture where what it shows cannot be seen in the memory, and text."""
        self._clock = clock
        self.memory = VgaMemory(frame, VRAM_SIZE, map_window)
        self.vbe = Vbe(VRAM_SIZE)
        self.misc = 0
        self.feature = 0
        self.sequencer = bytearray(8)
        self.graphics = bytearray(16)
        self.crtc = bytearray(_CRTC)
        self.attributes = bytearray(21)
        self.dac = bytearray(768)
        self.mask = 0xFF
        self._sequencer_index = self._graphics_index = self._crtc_index = 0
        self._attribute_index = 0
        self._attribute_data = False  # whether the next write to 3C0h is data
        self._dac_read = self._dac_write = 0  # three times the index, plus the component
        self._dac_reading = False
        self._paint = Painter(self, frame[VRAM_SIZE : VRAM_SIZE + MOST]).refresh
        self._repaint = True

    # What ``Painter`` needs to know

    @property
    def attribute_index(self) -> int:
        """Its bit 5 lets the picture out."""
        return self._attribute_index

    def refresh(self, everything: bool = False) -> Update:
        """Bring the picture up to date; what changed since the last time."""
        everything, self._repaint = everything or self._repaint, False
        return self._paint(everything)

    # Buses

    def attach(self, ports: PortBus, mmio: MmioBus) -> None:
        for base, count in ((0x3C0, 16), (0x3D4, 2), (0x3DA, 1), (0x3B4, 2), (0x3BA, 1)):
            ports.map_bytes(
                base, count, partial(self._read_from, base), partial(self._write_from, base)
            )
        ports.map(0x1CE, 3, self.read_vbe, self.write_vbe)
        mmio.map(WINDOW, WINDOW_SIZE, self.memory.read, self.memory.write)

    def _read_from(self, base: int, offset: int) -> int:
        return self.read_port(base + offset)

    def _write_from(self, base: int, offset: int, value: int) -> None:
        self.write_port(base + offset, value)

    def read_vbe(self, port: int, size: int) -> int:
        if size != 2:
            return (1 << 8 * size) - 1
        return self.vbe.index if port == 0x1CE else self.vbe.read(self.vbe.index)

    def write_vbe(self, port: int, size: int, value: int) -> None:
        if size != 2:
            return
        if port == 0x1CE:
            self.vbe.index = value & 0xFFFF
        else:
            self._write_vbe(self.vbe.index, value)

    def read_mmio(self, offset: int, size: int) -> int:
        """Read the range behind BAR 2."""
        if 0x400 <= offset < 0x420 and offset + size <= 0x420:
            value = 0
            for i in range(size):
                value |= self.read_port(0x3C0 + offset - 0x400 + i) << 8 * i
            return value
        if 0x500 <= offset < 0x500 + 2 * COUNT and not offset & 1 and size == 2:
            return self.vbe.read(offset - 0x500 >> 1)
        if size == 4:
            return {0x600: 8, 0x604: _LITTLE_ENDIAN}.get(offset, 0)
        return 0

    def write_mmio(self, offset: int, size: int, value: int) -> None:
        """Write the range behind BAR 2."""
        if 0x400 <= offset < 0x420 and offset + size <= 0x420:
            for i in range(size):
                self.write_port(0x3C0 + offset - 0x400 + i, value >> 8 * i & 0xFF)
        elif 0x500 <= offset < 0x500 + 2 * COUNT and not offset & 1 and size == 2:
            self._write_vbe(offset - 0x500 >> 1, value)

    # VGA registers

    def read_port(self, port: int) -> int:
        """Read a byte register by the number of its port."""
        read = _READS.get(self._with_colour(port))
        return 0xFF if read is None else read(self)

    def write_port(self, port: int, value: int) -> None:
        """Write a byte register by the number of its port."""
        write = _WRITES.get(self._with_colour(port))
        if write is not None:
            write(self, value)

    def _with_colour(self, port: int) -> int:
        """The number that a port has in colour modes, 0 if it is not the one in use."""
        if port >> 4 == 0x3C:
            return port
        colour = self.misc & 1
        return (port & 0xF | 0x3D0) if (port >> 4 == 0x3D) == bool(colour) else 0

    def _read_status(self) -> int:
        self._attribute_data = False
        line, within = divmod(self._clock() % FRAME_NS * LINES, FRAME_NS)
        if line >= _RETRACE_LINE:
            return 9
        return 1 if within > FRAME_NS * 4 // 5 else 0

    def _read_attribute(self) -> int:
        index = self._attribute_index & 0x1F
        return self.attributes[index] if index < len(self.attributes) else 0

    def _read_crtc(self) -> int:
        return self.crtc[self._crtc_index] if self._crtc_index < _CRTC else 0

    def _write_attribute(self, value: int) -> None:
        if not self._attribute_data:
            self._attribute_index = value & 0x3F
        else:
            index = self._attribute_index & 0x1F
            if index < len(self.attributes):
                self.attributes[index] = value & _ATTRIBUTES[index]
        self._attribute_data = not self._attribute_data

    def _write_misc(self, value: int) -> None:
        self.misc = value & 0xEF
        self._configure()

    def _set_sequencer_index(self, value: int) -> None:
        self._sequencer_index = value & 7

    def _write_sequencer(self, value: int) -> None:
        if self._sequencer_index < len(_SEQUENCER):
            self.sequencer[self._sequencer_index] = value & _SEQUENCER[self._sequencer_index]
            self._configure()

    def _set_graphics_index(self, value: int) -> None:
        self._graphics_index = value & 15

    def _write_graphics(self, value: int) -> None:
        if self._graphics_index < len(_GRAPHICS):
            self.graphics[self._graphics_index] = value & _GRAPHICS[self._graphics_index]
            self._configure()

    def _set_crtc_index(self, value: int) -> None:
        self._crtc_index = value

    def _write_crtc(self, value: int) -> None:
        index = self._crtc_index
        if index >= _CRTC:
            return
        if self.crtc[0x11] & _PROTECT and index <= 7:
            if index == 7:  # the bit of line compare can always be written
                self.crtc[7] = self.crtc[7] & ~0x10 | value & 0x10
            return
        self.crtc[index] = value

    def _set_mask(self, value: int) -> None:
        self.mask = value

    def _set_dac_read(self, value: int) -> None:
        self._dac_read, self._dac_reading = 3 * value, True

    def _set_dac_write(self, value: int) -> None:
        self._dac_write, self._dac_reading = 3 * value, False

    def _read_dac(self) -> int:
        value = self.dac[self._dac_read]
        self._dac_read = (self._dac_read + 1) % len(self.dac)
        return value

    def _write_dac(self, value: int) -> None:
        self.dac[self._dac_write] = value if self.vbe.wide_dac else value & 0x3F
        self._dac_write = (self._dac_write + 1) % len(self.dac)

    def _set_feature(self, value: int) -> None:
        self.feature = value

    def _configure(self) -> None:
        vbe = self.vbe
        self.memory.configure(self.sequencer, self.graphics, bool(self.misc & 2), vbe.bank)

    def _write_vbe(self, index: int, value: int) -> None:
        was = self.vbe.enabled
        if self.vbe.write(index, value):
            size = self.vbe.pitch * self.vbe.registers[2]
            self.memory.vram[:size] = bytes(size)
        if index == ENABLE and self.vbe.enabled and not was:
            self._prepare_for_vbe()
        self._configure()

    def _prepare_for_vbe(self) -> None:
        """Have the VGA's registers be such that the window shows the bank in use."""
        linear = self.vbe.registers[BPP] != 4
        self.graphics[6] = self.graphics[6] & ~0x0C | 0x05
        self.graphics[5] = self.graphics[5] & ~0x70 | (0x40 if linear else 0)
        self.crtc[0x17] |= 3
        self.crtc[9] &= ~0x9F
        self.sequencer[1] &= ~0x28
        self.sequencer[2] = 0x0F
        self.sequencer[4] = self.sequencer[4] & ~8 | (8 if linear else 0) | 6

    # Snapshots

    kept = ("contents",)

    @property
    def contents(self) -> bytes:
        """The memory, for a snapshot."""
        return zlib.compress(self.memory.saved(), 1)

    @contents.setter
    def contents(self, content: bytes) -> None:
        unpacked = zlib.decompressobj().decompress(content, VRAM_SIZE + 1)
        if len(unpacked) != VRAM_SIZE:
            raise ValueError("the screen's memory is of another size")
        self.memory.put_back(unpacked)

    def restored(self) -> None:
        self.memory.text_apart = False  # it is in the contents, whatever the saved state says
        self._configure()
        self._repaint = True


_READS: Final[dict[int, Callable[[Vga], int]]] = {
    0x3C0: lambda vga: vga._attribute_index,
    0x3C1: Vga._read_attribute,
    0x3C2: lambda vga: 0x10,  # a screen is connected
    0x3C4: lambda vga: vga._sequencer_index,
    0x3C5: lambda vga: vga.sequencer[vga._sequencer_index],
    0x3C6: lambda vga: vga.mask,
    0x3C7: lambda vga: 3 if vga._dac_reading else 0,
    0x3C8: lambda vga: vga._dac_write // 3,
    0x3C9: Vga._read_dac,
    0x3CA: lambda vga: vga.feature,
    0x3CC: lambda vga: vga.misc,
    0x3CE: lambda vga: vga._graphics_index,
    0x3CF: lambda vga: vga.graphics[vga._graphics_index],
    0x3D4: lambda vga: vga._crtc_index,
    0x3D5: Vga._read_crtc,
    0x3DA: Vga._read_status,
}
_WRITES: Final[dict[int, Callable[[Vga, int], None]]] = {
    0x3C0: Vga._write_attribute,
    0x3C2: Vga._write_misc,
    0x3C4: Vga._set_sequencer_index,
    0x3C5: Vga._write_sequencer,
    0x3C6: Vga._set_mask,
    0x3C7: Vga._set_dac_read,
    0x3C8: Vga._set_dac_write,
    0x3C9: Vga._write_dac,
    0x3CE: Vga._set_graphics_index,
    0x3CF: Vga._write_graphics,
    0x3D4: Vga._set_crtc_index,
    0x3D5: Vga._write_crtc,
    0x3DA: Vga._set_feature,
}
