"""Intel's 82540EM Ethernet controller.

PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (317453), chapters 3
(descriptors) and 13 (registers).

  0000 CTRL  0008 STATUS  0010 EECD  0014 EERD  0020 MDIC  00C0 ICR (cleared by reading)
  00C8 ICS  00D0 IMS  00D8 IMC  0100 RCTL  0400 TCTL
  2800 RDBAL  2804 RDBAH  2808 RDLEN  2810 RDH  2818 RDT     rings: base, bytes, head, tail
  3800 TDBAL  3804 TDBAH  3808 TDLEN  3810 TDH  3818 TDT
  5200 MTA, 128 words  5400 RAL, RAH, 16 pairs
  I/O: 0 address of a register  4 its value

Other registers keep what is written to them.  There is no moderation of interrupts, and counters
stay zero.  Checksums and the cutting of TCP streams are left to whoever receives a frame.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final

from drivers.net.frames import HEADER, MOST_FRAME
from vmm.backends import Network
from vmm.devices.e1000_eeprom import Eeprom
from vmm.devices.e1000_phy import Phy
from vmm.devices.e1000_transmit import CONTEXT, Assembly
from vmm.devices.pci import Bar, PciDevice
from vmm.devices.virtio.device import Post
from vmm.memory import GuestAddressError, GuestMemory

MMIO_SIZE, IO_SIZE = 0x20000, 64
CTRL, STATUS, EECD, EERD, MDIC = 0x0000, 0x0008, 0x0010, 0x0014, 0x0020
ICR, ICS, IMS, IMC = 0x00C0, 0x00C8, 0x00D0, 0x00D8
RCTL, TCTL = 0x0100, 0x0400
RECEIVE, TRANSMIT = 0x2800, 0x3800
"""Of the rings' registers, which are at the same places from there on."""
BASE_LOW, BASE_HIGH, LENGTH, HEAD, TAIL = 0x00, 0x04, 0x08, 0x10, 0x18
MTA, RAL = 0x5200, 0x5400
COUNTERS, COUNTERS_END = 0x4000, 0x4100
CTRL_RESET, CTRL_PHY_RESET = 1 << 26, 1 << 31
STATUS_UP: Final = 0x0383
"""Full duplex, link up, 1000 Mb/s, detected so."""
TXDW, TXQE, LSC, RXDMT, RXT = 1 << 0, 1 << 1, 1 << 2, 1 << 4, 1 << 7
RCTL_ON, RCTL_UNICAST, RCTL_MULTICAST, RCTL_BROADCAST = 1 << 1, 1 << 3, 1 << 4, 1 << 15
RCTL_LONG, RCTL_LARGER, RCTL_STRIP = 1 << 5, 1 << 25, 1 << 26
TCTL_ON: Final = 1 << 1
ADDRESS_VALID: Final = 1 << 31
DESCRIPTOR: Final = 16
DONE, LAST = 1, 2
REPORT: Final = 1 << 3
"""Bit of a descriptor's command: its status is to be written."""
SHORTEST, LONGEST = 60, 1518
_WORD: Final = struct.Struct("<I")
_TRANSMITTED: Final = struct.Struct("<QII")
_RECEIVED: Final = struct.Struct("<HHBBH")
_HASH_SHIFT: Final = (4, 3, 2, 0)
_READ_ONLY: Final = (STATUS,)


class E1000(PciDevice):
    """One adapter."""

    def __init__(
        self,
        backend: Network,
        address: bytes,
        memory: GuestMemory,
        invalidate: Callable[[int, int], None],
        post: Post,
        rom: bytes = b"",
    ) -> None:
        """``address`` is its own; ``invalidate`` tells the engine what of memory was written."""
        super().__init__(
            0x8086,
            0x100E,
            0x02_0000,
            3,
            bars={
                0: Bar(MMIO_SIZE, "memory", self.read, self.write),
                1: Bar(IO_SIZE, "io", self._read_port, self._write_port),
            },
            rom=rom,
            subsystem=(0x8086, 0x001E),
        )
        self._backend = backend
        self._memory = memory
        self._invalidate = invalidate
        self._address = address
        self._eeprom = Eeprom(address)
        self._phy = Phy()
        self._port_address = 0
        self._writers: tuple[tuple[int, Callable[[int], None]], ...] = (
            (CTRL, self._control),
            (EECD, self._eeprom.write),
            (EERD, self._read_word),
            (MDIC, self._manage),
            (ICS, self._interrupt),
            (IMS, lambda value: self._mask(self._get(IMS) | value)),
            (IMC, lambda value: self._mask(self._get(IMS) & ~value)),
            (ICR, self._acknowledge),
        )
        self._kicks: tuple[tuple[int, Callable[[], None]], ...] = (
            (RCTL, self._receive),
            (RECEIVE + TAIL, self._receive),
            (TCTL, self._transmit),
            (TRANSMIT + TAIL, self._transmit),
        )
        self._switch_on()
        backend.changed = lambda: post(self._changed)

    def _switch_on(self) -> None:
        self._registers = bytearray(MMIO_SIZE)
        self._assembly = Assembly()
        self._set(STATUS, STATUS_UP)
        low, high = struct.unpack("<IH", self._address)
        self._set(RAL, low)
        self._set(RAL + 4, high | ADDRESS_VALID)
        self.set_irq(False)

    def _get(self, offset: int) -> int:
        return int(_WORD.unpack_from(self._registers, offset)[0])

    def _set(self, offset: int, value: int) -> None:
        _WORD.pack_into(self._registers, offset, value & 0xFFFF_FFFF)

    # Registers

    def read(self, offset: int, size: int) -> int:
        at = offset & ~3 & MMIO_SIZE - 1
        value = self._get(at)
        if at == ICR:
            self._acknowledge(0xFFFF_FFFF)
        elif at == EECD:
            value = self._eeprom.read()
        elif at in (ICS, IMC):
            value = 0
        return value >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        at = offset & ~3 & MMIO_SIZE - 1
        if size != 4 or offset & 3:
            return  # registers are written whole (13.2)
        for register, writer in self._writers:
            if register == at:
                writer(value)
                return
        if at not in _READ_ONLY and not COUNTERS <= at < COUNTERS_END:
            self._set(at, value)
        for register, kick in self._kicks:
            if register == at:
                kick()

    def _read_port(self, offset: int, size: int) -> int:
        if offset == 0:
            return self._port_address
        return self.read(self._port_address, size) if offset == 4 else 0

    def _write_port(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self._port_address = value & MMIO_SIZE - 1
        elif offset == 4:
            self.write(self._port_address, size, value)

    def _control(self, value: int) -> None:
        if value & CTRL_RESET:
            self._switch_on()
        else:
            self._set(CTRL, value & ~CTRL_PHY_RESET)

    def _read_word(self, value: int) -> None:
        if value & 1:
            value = value & 0xFF00 | 1 << 4 | self._eeprom.word(value >> 8 & 0xFF) << 16
        self._set(EERD, value)

    def _manage(self, value: int) -> None:
        self._set(MDIC, self._phy.manage(value))
        if self._phy.take_restarted():
            self._interrupt(LSC)

    # Interrupts

    def _interrupt(self, causes: int) -> None:
        self._set(ICR, self._get(ICR) | causes)
        self.set_irq(bool(self._get(ICR) & self._get(IMS)))

    def _mask(self, value: int) -> None:
        self._set(IMS, value)
        self._interrupt(0)

    def _acknowledge(self, causes: int) -> None:
        self._set(ICR, self._get(ICR) & ~causes)
        self._interrupt(0)

    # Rings

    def _ring(self, ring: int) -> tuple[int, int, int, int]:
        """Base, descriptors, head, tail; no descriptors if what the driver wrote makes no sense."""
        base = self._get(ring + BASE_LOW) & ~15 | self._get(ring + BASE_HIGH) << 32
        count = (self._get(ring + LENGTH) & 0xF_FF80) // DESCRIPTOR
        head, tail = self._get(ring + HEAD) & 0xFFFF, self._get(ring + TAIL) & 0xFFFF
        return (base, count, head, tail) if head < count and tail < count else (base, 0, 0, 0)

    def _changed(self) -> None:
        """The backend has frames for us, or room for ours."""
        self._transmit()
        self._receive()

    def _transmit(self) -> None:
        base, count, head, tail = self._ring(TRANSMIT)
        if not self._get(TCTL) & TCTL_ON or head == tail or not count:
            return
        causes = 0
        try:
            while head != tail and self._backend.room():
                causes |= self._descriptor(base + DESCRIPTOR * head)
                head = (head + 1) % count
        except GuestAddressError:  # a driver that points nowhere: as if the bus answered nothing
            head = tail
        self._set(TRANSMIT + HEAD, head)
        self._backend.flush()
        self._interrupt(causes | (TXQE if head == tail else 0))

    def _descriptor(self, at: int) -> int:
        """Carry one out; the causes of interrupts."""
        address, command, more = self._memory.read_struct(_TRANSMITTED, at)
        length = self._assembly.length(command)
        if self._assembly.kind(command) == CONTEXT:
            self._assembly.context(address, command, more)
        else:
            data = self._memory.read(address, length) if length else b""
            for offload, frame in self._assembly.add(command, more, data):
                self._backend.send([frame], offload)
        if not command >> 24 & REPORT:
            return 0
        self._memory.write(at + 12, bytes([more & 0xFF | DONE]))
        self._invalidate(at + 12, 1)
        return TXDW

    # Receiving

    def _receive(self) -> None:
        """Give the driver what has arrived, as far as it has made room."""
        control = self._get(RCTL)
        arrived = False
        while control & RCTL_ON and (found := self._backend.peek(True)) is not None:
            frame = bytes(found[1])
            if self._wanted(control, frame):
                try:
                    if not self._store(control, frame):
                        break
                except GuestAddressError:
                    pass
                arrived = True
            self._backend.skip()
        if arrived:
            self._interrupt(RXT)

    def _wanted(self, control: int, frame: bytes) -> bool:
        """Whether a frame passes the filters (3.2.1)."""
        if not HEADER <= len(frame) <= MOST_FRAME:
            return False
        if len(frame) > LONGEST and not control & RCTL_LONG:
            return False
        target = frame[:6]
        if target == b"\xff" * 6:
            return bool(control & (RCTL_BROADCAST | RCTL_MULTICAST))
        for at in range(RAL, RAL + 128, 8):
            high = self._get(at + 4)
            own = struct.pack("<IH", self._get(at), high & 0xFFFF)
            if high & ADDRESS_VALID and own == target:
                return True
        if not target[0] & 1:
            return bool(control & RCTL_UNICAST)
        hashed = int.from_bytes(target[4:], "little") >> _HASH_SHIFT[control >> 12 & 3] & 0xFFF
        known = self._get(MTA + 4 * (hashed >> 5)) >> (hashed & 31) & 1
        return bool(known or control & RCTL_MULTICAST)

    def _store(self, control: int, frame: bytes) -> bool:
        """Put a frame into the driver's buffers; False if it is to wait for more of them."""
        frame = frame.ljust(SHORTEST, b"\0")
        if not control & RCTL_STRIP:
            frame += zlib.crc32(frame).to_bytes(4, "little")
        size = 2048 >> (control >> 16 & 3)
        if control & RCTL_LARGER and size < 2048:
            size *= 16
        base, count, head, tail = self._ring(RECEIVE)
        pieces = [frame[at : at + size] for at in range(0, len(frame), size)]
        if not count or (tail - head) % count < len(pieces):
            return False
        for number, piece in enumerate(pieces, 1):
            at = base + DESCRIPTOR * head
            address = int.from_bytes(self._memory.read(at, 8), "little")
            head = (head + 1) % count
            self._set(RECEIVE + HEAD, head)
            self._memory.write(address, piece)
            self._invalidate(address, len(piece))
            status = DONE | (LAST if number == len(pieces) else 0)
            self._memory.write(at + 8, _RECEIVED.pack(len(piece), 0, status, 0, 0))
            self._invalidate(at + 8, 8)
        return True
