"""Batches of Ethernet frames, and the work that a frame may leave to whoever receives it.

A batch is records, one after the other: u32 length of the frame, 10 bytes *offload*, 2 bytes
nothing, and the frame without its check sequence.

Offload is Virtio's ``virtio_net_hdr`` without its last field (Virtio 1.1, 5.1.6):

  0 u8 flags: 1 the checksum is to be completed   1 u8 kind of segmentation, 80h more
  2 u16 bytes of headers   4 u16 bytes of a segment   6 u16 where what is summed begins
  8 u16 where the sum is to be stored, from there on

So a sender on the same machine hands over a piece of a TCP stream as large as 64 KiB, and a
receiver that understands takes it as it is; ``plain`` does the work for others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

RECORD: Final = struct.Struct("<I10s2x")
OFFLOAD: Final = struct.Struct("<BBHHHH")
PLAIN: Final = bytes(OFFLOAD.size)
"""Nothing is left to do."""
BATCH: Final = 128 << 10
"""Bytes of a batch at most."""
MOST_FRAME: Final = 65_536 + 18
"""Bytes of a frame at most: the largest IP packet, and an Ethernet header with a tag."""
HEADER: Final = 14
"""Bytes of an Ethernet header."""
NEEDS_CHECKSUM: Final = 1
TCP_4, TCP_6, MORE = 1, 4, 0x80
_ETHERNET_IP4, _ETHERNET_IP6 = b"\x08\x00", b"\x86\xdd"
_TCP: Final = 6
_CONGESTED: Final = 0x80
_LAST_ONLY: Final = 0x09
"""FIN and PSH, which only the last segment has."""


def records(batch: bytes | memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The offload and the frame of each record; ends at one that makes no sense."""
    view, at = memoryview(batch), 0
    while at + RECORD.size <= len(view):
        length, offload = RECORD.unpack_from(view, at)
        at += RECORD.size
        if not HEADER <= length <= MOST_FRAME or at + length > len(view):
            return
        yield offload, view[at : at + length]
        at += length


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071), never zero, which means "none" to UDP."""
    if len(data) & 1:
        data += b"\0"
    # Adding with end-around carry is arithmetic modulo FFFFh.
    return 0xFFFF - int.from_bytes(data, "big") % 0xFFFF or 0xFFFF


def plain(offload: bytes, frame: bytes) -> list[bytes]:
    """The frames that go onto a wire; none if the sender's wishes make no sense."""
    flags, kind, _, size, start, where = OFFLOAD.unpack(offload)
    if not flags & NEEDS_CHECKSUM:
        return [frame] if not kind else []
    at = start + where
    if not start >= HEADER or at + 2 > len(frame):
        return []
    if not kind:
        return [frame[:at] + checksum(frame[start:]).to_bytes(2, "big") + frame[at + 2 :]]
    return _segments(kind & ~MORE, size, start, frame)


def _segments(kind: int, size: int, start: int, frame: bytes) -> list[bytes]:
    """Cut a TCP packet; ``start`` is where its TCP header begins."""
    ip = next((i + 2 for i in (12, 16) if frame[i : i + 2] == _ETHER_TYPES.get(kind)), 0)
    if not ip or not size or start + 20 > len(frame):
        return []
    smallest = 20 if kind == TCP_4 else 40
    data = start + (frame[start + 12] >> 4) * 4
    if start - ip < smallest or not start + 20 <= data < len(frame):
        return []
    found = []
    (sequence,) = struct.unpack_from(">I", frame, start + 4)
    for number, begin in enumerate(range(data, len(frame), size)):
        piece = frame[begin : begin + size]
        header = bytearray(frame[:data])
        struct.pack_into(">I", header, start + 4, sequence + begin - data & 0xFFFF_FFFF)
        if begin + size < len(frame):
            header[start + 13] &= ~_LAST_ONLY
        if number:
            header[start + 13] &= ~_CONGESTED
        _complete(kind, ip, start, header, number, piece)
        found.append(bytes(header) + piece)
    return found


_ETHER_TYPES: Final = {TCP_4: _ETHERNET_IP4, TCP_6: _ETHERNET_IP6}


def _complete(kind: int, ip: int, start: int, header: bytearray, number: int, piece: bytes) -> None:
    """Fill in the lengths and sums of a segment's headers."""
    tcp_length = len(header) - start + len(piece)
    if kind == TCP_4:
        (identifier,) = struct.unpack_from(">H", header, ip + 4)
        struct.pack_into(">H", header, ip + 2, start - ip + tcp_length)
        struct.pack_into(">H", header, ip + 4, identifier + number & 0xFFFF)
        header[ip + 10 : ip + 12] = b"\0\0"
        struct.pack_into(">H", header, ip + 10, checksum(bytes(header[ip:start])))
        addresses = bytes(header[ip + 12 : ip + 20])
    else:
        struct.pack_into(">H", header, ip + 4, start - ip - 40 + tcp_length)
        addresses = bytes(header[ip + 8 : ip + 40])
    header[start + 16 : start + 18] = b"\0\0"
    pseudo = addresses + struct.pack(">II", _TCP, tcp_length)
    struct.pack_into(">H", header, start + 16, checksum(pseudo + header[start:] + piece))
