"""What a frame may leave to whoever receives it, beside a plain definition of the same."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.net.frames import (
    MORE,
    MOST_FRAME,
    OFFLOAD,
    PLAIN,
    RECORD,
    TCP_4,
    TCP_6,
    checksum,
    plain,
    records,
)
from drivers.net.main import LENGTH, Framing

ETHERNET = bytes(range(12))


def added(data: bytes) -> int:
    """The one's complement sum of 16-bit words, word by word."""
    total = 0
    for (word,) in struct.iter_unpack(">H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def tcp_packet(version: int, data: bytes, flags: int = 0x18) -> tuple[bytes, int]:
    """A frame with a TCP packet as a sender leaves it, and where its TCP header is."""
    tcp = struct.pack(">HHIIBBHHH", 1000, 80, 0xFFFF_FF00, 1, 0x50, flags, 0xFFFF, 0, 0)
    if version == 4:
        length = (40 + len(data)) & 0xFFFF
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length, 7, 0, 64, 6, 0, b"\n\0\0\1", b"\n\0\0\2")
        return ETHERNET + b"\x08\x00" + ip + tcp + data, 34
    ip = struct.pack(">IHBB16s16s", 6 << 28, (20 + len(data)) & 0xFFFF, 6, 64, b"a" * 16, b"b" * 16)
    return ETHERNET + b"\x86\xdd" + ip + tcp + data, 54


@given(st.binary(min_size=1, max_size=200))
def test_the_sum_of_data_and_its_checksum_is_all_ones(data: bytes) -> None:
    data += b"\0" * (len(data) % 2)
    assert added(data + checksum(data).to_bytes(2, "big")) == 0xFFFF


@given(
    st.sampled_from([4, 6]),
    st.binary(min_size=1, max_size=5000),
    st.integers(1, 1460),
    st.sampled_from([0, MORE]),
)
def test_segments_are_packets_that_add_up(version: int, data: bytes, size: int, more: int) -> None:
    frame, start = tcp_packet(version, data, flags=0x99)
    kind = (TCP_4 if version == 4 else TCP_6) | more
    pieces = plain(OFFLOAD.pack(1, kind, start + 20, size, start, 16), frame)
    assert b"".join(piece[start + 20 :] for piece in pieces) == data
    for number, piece in enumerate(pieces):
        ip, tcp = piece[14:start], piece[start:]
        sequence, flags = struct.unpack_from(">I", tcp, 4)[0], tcp[13]
        assert sequence == (0xFFFF_FF00 + number * size) & 0xFFFF_FFFF
        last = number == len(pieces) - 1
        assert flags == 0x10 | (0x09 if last else 0) | (0x80 if number == 0 else 0)
        if version == 4:
            assert struct.unpack_from(">HH", ip, 2) == (len(piece) - 14, 7 + number)
            assert added(ip) == 0xFFFF
            addresses = ip[12:20]
        else:
            assert struct.unpack_from(">H", ip, 4)[0] == len(tcp)
            addresses = ip[8:40]
        assert added(addresses + struct.pack(">II", 6, len(tcp)) + tcp) == 0xFFFF


@given(st.binary(min_size=OFFLOAD.size, max_size=OFFLOAD.size), st.binary(max_size=200))
def test_any_wish_is_fulfilled_or_dropped(offload: bytes, rest: bytes) -> None:
    frame = ETHERNET + b"\x08\x00" + rest
    assert sum(map(len, plain(offload, frame))) < 100 * (len(frame) + 1)
    assert plain(PLAIN, frame) == [frame]


@given(st.lists(st.binary(min_size=14, max_size=80)), st.binary(max_size=40))
def test_a_batch_is_its_records_and_nonsense_ends_it(frames: list[bytes], rest: bytes) -> None:
    batch = b"".join(RECORD.pack(len(each), PLAIN) + each for each in frames)
    assert [bytes(frame) for _, frame in records(batch)] == frames
    found = [bytes(frame) for _, frame in records(batch + rest)]
    assert found[: len(frames)] == frames


@given(st.lists(st.binary(min_size=14, max_size=300)), st.lists(st.integers(1, 90), min_size=1))
def test_frames_come_out_of_a_stream_however_it_is_cut(
    frames: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(LENGTH.pack(len(each)) + each for each in frames)
    framing, found, at, number = Framing(), [], 0, 0
    while at < len(stream):
        size = cuts[number % len(cuts)]
        found += framing.feed(stream[at : at + size])
        at, number = at + size, number + 1
    assert found == frames


def test_a_peer_that_announces_too_much_is_hung_up() -> None:
    with pytest.raises(ValueError, match=f"^a frame of {MOST_FRAME + 1} bytes$"):
        Framing().feed(LENGTH.pack(MOST_FRAME + 1))
