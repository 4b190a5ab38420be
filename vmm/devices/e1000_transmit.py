"""Frames from the 82540EM's transmit descriptors (manual 317453, 3.3).

legacy   u64 address  u16 length  u8 CSO  u8 command  u8 status  u8 CSS  u16 tag
context  u8 IPCSS  u8 IPCSO  u16 IPCSE  u8 TUCSS  u8 TUCSO  u16 TUCSE
         u20 length of data  u4 kind (0)  u8 command  u8 status  u8 header length  u16 MSS
data     u64 address  u20 length  u4 kind (1)  u8 command  u8 status  u8 options  u16 tag

command  0 end of packet (context: TCP)  1 (context: IPv4)  2 legacy: checksum, else segmentation
         3 report status  5 extended  6 add a VLAN tag
options  0 complete the IP checksum  1 complete TCP's or UDP's
"""

from __future__ import annotations

import struct
from typing import Final

from drivers.net.frames import HEADER, MOST_FRAME, NEEDS_CHECKSUM, OFFLOAD, PLAIN, TCP_4, TCP_6
from drivers.net.frames import checksum as summed

LEGACY, CONTEXT, DATA = -1, 0, 1
END, IP_4, CHECKSUM, SEGMENT, EXTENDED, TAG = 1, 2, 4, 4, 32, 64
IP_SUM, TCP_SUM = 1, 2
_VLAN: Final = b"\x81\x00"
_ADDRESSES: Final = 12
_TCP: Final = 6


class Assembly:
    """The frame that is being put together, and the context that was set last."""

    def __init__(self) -> None:
        self._frame = bytearray()
        self._too_long = False
        self._options = -1  # of the frame's first descriptor; -1 before it
        self._ip = (0, 0, 0)  # where the IP header begins, has its sum, and ends
        self._tcp = (0, 0)
        self._is_ip4 = False
        self._header_length = self._segment = 0

    @staticmethod
    def kind(command: int) -> int:
        return command >> 20 & 15 if command >> 24 & EXTENDED else LEGACY

    @staticmethod
    def length(command: int) -> int:
        """Bytes of data of a descriptor that has any."""
        if not command >> 24 & EXTENDED:
            return command & 0xFFFF
        return command & 0xF_FFFF

    def context(self, fields: int, command: int, more: int) -> None:
        """Offsets for the frames that follow."""
        self._ip = (fields & 0xFF, fields >> 8 & 0xFF, fields >> 16 & 0xFFFF)
        self._tcp = (fields >> 32 & 0xFF, fields >> 40 & 0xFF)
        self._is_ip4 = bool(command >> 24 & IP_4)
        self._header_length, self._segment = more >> 8 & 0xFF, more >> 16

    def add(self, command: int, more: int, data: bytes) -> list[tuple[bytes, bytes]]:
        """Add a descriptor's data; the frame that is complete with it, and its offload."""
        if self._options < 0:
            self._options = more >> 8 & 0xFF if self.kind(command) == DATA else 0
        self._too_long = self._too_long or len(self._frame) + len(data) > MOST_FRAME
        if not self._too_long:
            self._frame += data
        flags = command >> 24
        if not flags & END:
            return []
        frame, options, too_long = self._frame, self._options, self._too_long
        self._frame, self._options, self._too_long = bytearray(), -1, False
        if too_long or len(frame) < HEADER:
            return []
        if self.kind(command) == LEGACY:
            offload = self._legacy(command, more)
        elif flags & SEGMENT:
            offload = self._segmented(frame)
        else:
            offload = self._summed(frame, options)
        if flags & TAG:
            frame[_ADDRESSES:_ADDRESSES] = _VLAN + (more >> 16).to_bytes(2, "big")
            offload = _shifted(offload, 4)
        return [(offload, bytes(frame))]

    @staticmethod
    def _legacy(command: int, more: int) -> bytes:
        start, where = more >> 8 & 0xFF, command >> 16 & 0xFF
        if not command >> 24 & CHECKSUM or where < start:
            return PLAIN
        return OFFLOAD.pack(NEEDS_CHECKSUM, 0, 0, 0, start, where - start)

    def _summed(self, frame: bytearray, options: int) -> bytes:
        if options & IP_SUM:
            self._sum_ip(frame)
        start, where = self._tcp
        if not options & TCP_SUM or where < start:
            return PLAIN
        return OFFLOAD.pack(NEEDS_CHECKSUM, 0, 0, 0, start, where - start)

    def _sum_ip(self, frame: bytearray) -> None:
        start, where, end = self._ip
        if start <= where and where + 2 <= min(end + 1, len(frame)):
            struct.pack_into(">H", frame, where, 0)
            struct.pack_into(">H", frame, where, summed(bytes(frame[start : end + 1])))

    def _segmented(self, frame: bytearray) -> bytes:
        """What the hardware fills in for each segment is filled in for the whole (3.5)."""
        start, where = self._tcp
        at = self._ip[0]
        if not (at >= HEADER and at + 20 <= start and start + 20 <= len(frame) and where > start):
            return PLAIN
        length = len(frame) - start
        if self._is_ip4:
            struct.pack_into(">H", frame, at + 2, len(frame) - at & 0xFFFF)
            self._sum_ip(frame)
            addresses = bytes(frame[at + 12 : at + 20])
        elif start >= at + 40:
            struct.pack_into(">H", frame, at + 4, len(frame) - at - 40 & 0xFFFF)
            addresses = bytes(frame[at + 8 : at + 40])
        else:
            return PLAIN
        if where + 2 > len(frame):
            return PLAIN
        pseudo = 0xFFFF - summed(addresses + struct.pack(">II", _TCP, length))
        struct.pack_into(">H", frame, where, pseudo)
        kind = TCP_4 if self._is_ip4 else TCP_6
        sizes = (self._header_length, self._segment)
        return OFFLOAD.pack(NEEDS_CHECKSUM, kind, *sizes, start, where - start)


def _shifted(offload: bytes, by: int) -> bytes:
    """The offload of a frame into which something was put before what it speaks of."""
    flags, kind, header, segment, start, where = OFFLOAD.unpack(offload)
    if not flags:
        return offload
    return OFFLOAD.pack(flags, kind, header + by if header else 0, segment, start + by, where)
