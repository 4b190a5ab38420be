"""The data channel: raw and framed commands, in whatever pieces they come."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tpm.fake import BREAK, SHUTDOWN, FakeTpm, command, echo, echoed
from tests.tpm.frontends.serving import receive, response, serving, transact
from tpm.frontends.data import DataChannel
from tpm.frontends.loop import Hangup
from tpm.frontends.port import BAD_SIZE, Port
from tpm.frontends.server import Options
from tpm.interface import FAILURE

BAD = BAD_SIZE["2.0"]


def channel(version: str = "2.0") -> DataChannel:
    return DataChannel(Port(FakeTpm("1.2" if version == "1.2" else "2.0")))


def fed(data: bytes, cuts: list[int]) -> bytes:
    """All answers to ``data`` that arrives in pieces."""
    found, answers, at = channel(), b"", 0
    for cut in sorted({c % (len(data) + 1) for c in cuts} | {len(data)}):
        if cut == at:
            continue
        answer = found.receive(data[at:cut])
        while answer is not None:
            answers += answer
            answer = found.more()
        at = cut
    return answers


def frame(data: bytes, locality: int = 0) -> bytes:
    return struct.pack(">IBI", 8, locality, len(data)) + data


def framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(4)


texts = st.lists(st.binary(max_size=200), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(texts, st.lists(st.integers(0, 10_000), max_size=8))
def test_raw_commands_may_come_in_pieces(texts: list[bytes], cuts: list[int]) -> None:
    # a cut inside the next command's tag is taken for rubbish behind a command
    data, places = b"", []
    for text in texts:
        places.append(len(data))
        data += echo(text)
    allowed = [c for c in cuts if c % (len(data) + 1) - 1 not in places]
    assert fed(data, allowed) == b"".join(echoed(text) for text in texts)


@settings(max_examples=200, deadline=None)
@given(texts, st.lists(st.integers(0, 10_000), max_size=8))
def test_frames_may_come_in_pieces(texts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frame(echo(text), i) for i, text in enumerate(texts))
    assert fed(data, cuts) == b"".join(framed(echoed(t, i)) for i, t in enumerate(texts))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_input_breaks_it(pieces: list[bytes]) -> None:
    found = channel()
    for piece in pieces:
        if not piece:
            continue
        try:
            answer = found.receive(piece)
            while answer is not None:
                answer = found.more()
        except Hangup:
            return
    found.expire()
    assert not found.buffered


@pytest.mark.parametrize(
    "data",
    [
        echo(b"x") + b"x",
        echo(b"x") + b"xyz",
        bytes.fromhex("8001 00000009 0000017b 0004"),
        bytes.fromhex("8001 00000000 0000017b 0004"),
        bytes.fromhex("8001 00001001 0000017b") + bytes(4087),
        bytes.fromhex("8001 ffffffff 0000017b"),
    ],
)
def test_a_length_that_cannot_be_right_is_answered_once(data: bytes) -> None:
    found = channel()
    assert found.receive(data) == BAD
    assert not found.buffered
    assert found.receive(echo(b"next")) == echoed(b"next")


def test_a_command_may_fill_the_buffer() -> None:
    text = bytes(4096 - 10)
    assert channel().receive(echo(text)) == echoed(text)


def test_tpm_1_2_tags_are_not_taken_for_frames() -> None:
    found = channel("1.2")
    data = bytes.fromhex("00c1 0000000a 0000f000")
    assert found.receive(data[:3]) is None
    assert found.impatient
    assert found.receive(data[3:]) == echoed(b"")


def test_any_tag_is_the_tpms_to_judge() -> None:
    for tag in (0, 1, 5, 0x1234, 0x8003, 0xFFFF):
        data = struct.pack(">HII", tag, 12, 0x999) + b"ab"
        assert channel().receive(data) == bytes.fromhex("8001 0000000a 00000143")


def test_over_sockets() -> None:
    with serving() as found:
        first, second = found.data(), found.data()
        for number in range(50):
            text = str(number).encode()
            assert transact(first, echo(text)) == echoed(text)
            assert transact(second, echo(text)) == echoed(text)
        with found.data() as third:
            assert transact(third, echo(b"3")) == echoed(b"3")
        assert transact(first, echo(b"still")) == echoed(b"still")


def test_a_half_command_is_given_up_and_keeps_nobody_waiting() -> None:
    with serving() as found:
        slow, other = found.data(), found.data()
        slow.sendall(echo(b"0123456789")[:-3])
        began = time.monotonic()
        assert transact(other, echo(b"x")) == echoed(b"x")
        assert time.monotonic() - began < 0.3
        assert receive(slow, 10) == BAD
        assert transact(slow, echo(b"again")) == echoed(b"again")


def test_a_client_that_does_not_read_stops_itself_alone() -> None:
    with serving() as found:
        greedy, other = found.data(), found.data()
        greedy.settimeout(0.2)
        request, sent = echo(bytes(4000)) * 16, 0
        with pytest.raises(TimeoutError):
            while True:
                sent += greedy.send(request[sent % len(request) :])
        assert transact(other, echo(b"x")) == echoed(b"x")
        whole = sent // 4010
        greedy.settimeout(5)
        assert whole > 100
        for _ in range(whole):
            assert response(greedy) == echoed(bytes(4000))


def test_a_fault_of_the_engine_is_answered() -> None:
    with serving() as found:
        client = found.data()
        assert transact(client, command(BREAK)) == FAILURE["2.0"]
        assert transact(client, echo(b"x")) == echoed(b"x")
        assert "a fault of the engine" in found.log[0]


def test_without_power() -> None:
    with serving(FakeTpm(running=False)) as found:
        assert transact(found.data(), echo(b"x")) == FAILURE["2.0"]


def test_disconnect() -> None:
    with serving(options=Options(once=True)) as found:
        client = found.data()
        assert transact(client, echo(b"x")) == echoed(b"x")
        assert client.recv(1) == b""


def test_terminate() -> None:
    found = serving(options=Options(end_with_data=True))
    with found as server:
        client = server.data()
        transact(client, echo(b"x"))
        client.close()
        server.thread.join(5)
        assert not server.thread.is_alive()


def test_a_connection_that_is_reset() -> None:
    with serving() as found:
        client = found.data()
        client.sendall(echo(b"x" * 100))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert transact(found.data(), echo(b"x")) == echoed(b"x")


def test_the_set_locality_command() -> None:
    request = command(0x2000_1000, b"\2")
    with serving(set_locality=True, reject_locality_4=True) as found:
        client = found.data()
        assert transact(client, request).hex() == "80010000000a00000000"
        assert transact(client, echo(b"x")) == echoed(b"x", 2)
        assert transact(client, command(0x2000_1000, b"\4")).hex() == "80010000000a00000107"
        assert transact(client, echo(b"x")) == echoed(b"x", 2)
    with serving() as found:
        assert transact(found.data(), request).hex() == "80010000000a00000143"


def test_mssim() -> None:
    with serving() as found:
        client = found.data()
        client.sendall(struct.pack(">II", 15, 1))
        assert receive(client, 12) == struct.pack(">III", 1, 13, 0)
        client.sendall(frame(echo(b"abc"), 3))
        assert receive(client, 22) == framed(echoed(b"abc", 3))
        client.sendall(struct.pack(">I", 5))
        assert receive(client, 4) == bytes(4)
        client.sendall(struct.pack(">II", 6, 3) + b"abc")
        assert receive(client, 4) == bytes(4)
        client.sendall(struct.pack(">I", 7))
        assert receive(client, 4) == bytes(4)
        assert found.fake.established
        client.sendall(struct.pack(">I", 20))
        assert client.recv(1) == b""


def test_mssim_short_command_and_unknown_frame() -> None:
    with serving() as found:
        client = found.data()
        client.sendall(frame(b"\x80\1"))
        assert receive(client, 18) == framed(BAD)
        client.sendall(struct.pack(">I", 99))
        assert receive(client, 10) == BAD


def test_the_platform_port() -> None:
    with serving() as found:
        for signal in (1, 11, 3, 9, 10, 17, 2, 17, 1, 1):
            assert found.platform(signal) == bytes(4)
        assert found.fake.log == [
            ("presence", True), ("cancel", True), ("cancel", False), ("on", False), "off",
            ("on", False),
        ]  # fmt: skip
        with found.connect(found.platform_port) as session:
            session.sendall(struct.pack(">I", 20))
            assert session.recv(1) == b""


def test_the_power_goes_in_an_orderly_way() -> None:
    with serving() as found:
        transact(found.data(), echo(b"x"))
        fake = found.fake
    assert fake.log[-2:] == [(SHUTDOWN, 0), "off"]
