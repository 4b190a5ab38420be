"""QEMU's firmware configuration device, by which firmware asks for what it cannot find out.

QEMU, docs/specs/fw_cfg; the structure of the items' contents is that of the firmware's readers.

  510h  write, 16 bits: select an item, from its beginning
  511h  read: its next octet; zeros after its end
  514h  read: "QEMU CFG"; write, big-endian: high half of the address of a request for DMA
  518h  write, big-endian: low half, which starts it
  A request: u32 control, u32 length, u64 address, big-endian
  control  0 out: error   1 read   2 skip   3 select the item in 31:16   4 write

  Item 0 "QEMU", 1 features, 19h the directory of files: u32 count, then for each u32 size, u16
  item, u16 zero, 56 octets of name; files are items from 20h on

No item can be written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from vmm.bus import PortBus
from vmm.memory import GuestAddressError, GuestMemory

SELECTOR, DATA, DMA = 0x510, 0x511, 0x514
SIGNATURE, FEATURES, DIRECTORY, FIRST_FILE = 0x00, 0x01, 0x19, 0x20
NAME_SIZE: Final = 56
MASK: Final = 0x3FFF | 0x8000
"""Of an item's number; bit 14 used to ask for writing."""
ERROR, READ, SKIP, SELECT, WRITE = 1, 2, 4, 8, 16
REQUEST: Final = struct.Struct(">IIQ")
_SIGNATURE: Final = int.from_bytes(b"QEMU CFG", "big")
_CHUNK: Final = 1 << 20


class FwCfg:
    """The device."""

    def __init__(self, memory: GuestMemory, invalidate: Callable[[int, int], None]) -> None:
        """``invalidate`` tells the engine that (address, length) was written."""
        self._memory = memory
        self._invalidate = invalidate
        self._item = 0
        self._offset = 0
        self._address = 0
        self.tell({}, {})

    def tell(self, items: Mapping[int, bytes], files: Mapping[str, bytes]) -> None:
        """Have ``items`` by number, and ``files`` by name."""
        names = sorted(files)
        directory = struct.pack(">I", len(names)) + b"".join(
            struct.pack(f">IHxx{NAME_SIZE}s", len(files[name]), FIRST_FILE + i, name.encode())
            for i, name in enumerate(names)
        )
        known = {SIGNATURE: b"QEMU", FEATURES: struct.pack("<I", 3), DIRECTORY: directory}
        contents = {FIRST_FILE + i: files[name] for i, name in enumerate(names)}
        self._items: Callable[[int], bytes | None] = {**items, **known, **contents}.get

    def attach(self, ports: PortBus) -> None:
        ports.map(SELECTOR, 1, lambda _port, _size: 0, self._write_selector)
        ports.map(DATA, 1, self._read_data, lambda _port, _size, _value: None)
        ports.map(DMA, 8, self._read_dma, self._write_dma)

    def _select(self, item: int) -> None:
        self._item, self._offset = item & MASK, 0

    def _next(self, count: int) -> bytes:
        """What is left of the next ``count`` octets of the item."""
        content = self._items(self._item) or b""
        start = self._offset
        self._offset = min(start + count, len(content))
        return content[start : self._offset]

    # Ports

    def _write_selector(self, _port: int, size: int, value: int) -> None:
        if size == 2:
            self._select(value)

    def _read_data(self, _port: int, size: int) -> int:
        return self._next(1)[0] if size == 1 and self._left() else 0

    def _left(self) -> int:
        return len(self._items(self._item) or b"") - self._offset

    def _read_dma(self, port: int, size: int) -> int:
        after = 8 - (port - DMA) - size
        return _SIGNATURE >> 8 * after & (1 << 8 * size) - 1 if after >= 0 else 0

    def _write_dma(self, port: int, size: int, value: int) -> None:
        if size != 4:
            return
        half = int.from_bytes(value.to_bytes(4, "little"), "big")
        if port == DMA:
            self._address = half << 32
        elif port == DMA + 4:
            at, self._address = self._address | half, 0
            try:
                self._serve(at)
            except GuestAddressError:
                pass  # nobody could be told

    # Requests

    def _serve(self, at: int) -> None:
        """Do what a request asks for; raises ``GuestAddressError`` if it is not in memory."""
        control, length, address = self._memory.read_struct(REQUEST, at)
        if control & SELECT:
            self._select(control >> 16)
        failed = 0
        if control & READ:
            failed = self._read_to(address, length)
        elif control & WRITE:
            failed = ERROR
        elif control & SKIP:
            self._next(length)
        self._memory.write(at, struct.pack(">I", failed))
        self._invalidate(at, 4)

    def _read_to(self, address: int, length: int) -> int:
        """Copy the next octets of the item, and zeros after its end."""
        try:
            window = self._memory.view(address, length)
        except GuestAddressError:
            return ERROR
        content = self._next(length)
        window[: len(content)] = content
        for start in range(len(content), length, _CHUNK):
            end = min(start + _CHUNK, length)
            window[start:end] = bytes(end - start)
        self._invalidate(address, length)
        return 0
