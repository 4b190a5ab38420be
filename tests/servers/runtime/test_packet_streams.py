"""Packet streams: two rings that behave as queues, whatever the other side writes into them."""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.runtime import BadRequest, Environment, Failed, Interface, Notification
from servers.runtime import stream as streams
from servers.runtime.stream import MAX_DATA, Packet, StreamClient, StreamOffer, StreamServer
from tests.support.simulation import Simulation

SLOTS = 4


class Memory:
    """Stands for a mapping."""

    def __init__(self, size: int = 16384) -> None:
        self.view = memoryview(bytearray(size))


class Word:
    """Stands for a notification."""

    def __init__(self) -> None:
        self.signals = 0

    def signal(self) -> None:
        self.signals += 1


def pair(slots: int = SLOTS, start: int = 0) -> tuple[Any, Any, Word, Word, Memory]:
    """Both sides of a stream whose counters begin at ``start``."""
    memory, to_server, to_client = Memory(), Word(), Word()
    client = streams._Side(memory, slots, 0, to_server)  # type: ignore[arg-type]
    server = streams._Side(memory, slots, 1, to_client)  # type: ignore[arg-type]
    for ring in (client._out, client._in, server._out, server._in):
        ring._own = start
    for header in (0, 64):
        struct.pack_into("<II", memory.view, header, start, start)
    return client, server, to_server, to_client, memory


steps = st.lists(st.sampled_from(["ask", "serve", "answer", "hear"]), max_size=80)
starts = st.sampled_from([0, 1, 2**32 - 3, 2**32 - 1, 2**31])


@given(steps, starts, st.sampled_from([1, 2, 4]))
@settings(max_examples=300, deadline=None)
def test_a_stream_is_two_bounded_queues(made: list[str], start: int, slots: int) -> None:
    client, server, to_server, to_client, _ = pair(slots, start)
    requests: deque[Packet] = deque()
    answers: deque[Packet] = deque()
    server_sleeps = client_sleeps = True
    for tag, step in enumerate(made):
        packet = Packet(tag, 1, 2, 3, 2**64 - 1 - tag)
        if step == "ask":
            before = to_server.signals
            assert client.put(packet) == (len(requests) < slots)
            if len(requests) < slots:
                requests.append(packet)
                assert to_server.signals - before == server_sleeps
        elif step == "answer":
            before = to_client.signals
            assert server.put(packet) == (len(answers) < slots)
            if len(answers) < slots:
                answers.append(packet)
                assert to_client.signals - before == client_sleeps
        elif step == "serve":
            found = server.take_all()
            assert found == list(requests)
            server_sleeps = len(found) < slots  # else it has to come again
            requests.clear()
        else:
            found = client.take_all()
            assert found == list(answers)
            client_sleeps = len(found) < slots
            answers.clear()


words = st.integers(0, 2**32 - 1)


@given(words, words, words, st.integers(0, SLOTS))
@settings(max_examples=300, deadline=None)
def test_a_hostile_client_gets_nowhere(head: int, tail: int, answers: int, honest: int) -> None:
    """Any counters: the server sees packets of the ring, or says that it is broken."""
    client, server, _, to_client, memory = pair()
    for tag in range(honest):
        client.put(Packet(tag, 0, 0, 0, 0))
    struct.pack_into("<II", memory.view, 0, head, tail)
    struct.pack_into("<I", memory.view, 64, answers)
    try:
        found = server.take_all()
        assert len(found) <= SLOTS
    except Failed:
        assert tail > SLOTS
    put = 0
    while server.put(Packet(0, 0, 0, 0, 0)):
        put += 1
        assert put <= SLOTS  # it never writes over answers that were not taken
    assert to_client.signals == put


def test_a_side_that_goes_on_putting_does_not_hold_the_other_up() -> None:
    client, server, _, _, _ = pair()
    plain = server._in.take

    def take() -> Packet | None:
        client.put(Packet(1, 0, 0, 0, 0))  # faster than the server
        found: Packet | None = plain()
        return found

    server._in.take = take
    assert len(server.take_all()) == SLOTS


def test_a_packet_that_comes_while_the_taker_falls_asleep_is_not_lost() -> None:
    client, server, to_server, _, _ = pair()
    plain, late = server._in.sleep, [Packet(7, 0, 0, 0, 0)]

    def sleep(sleeping: bool) -> None:
        if sleeping and late:
            client.put(late.pop())  # finds the server awake, and does not signal
        plain(sleeping)

    server._in.sleep = sleep
    assert [packet.tag for packet in server.take_all()] == [7]
    assert to_server.signals == 0
    client.put(Packet(8, 0, 0, 0, 0))
    assert to_server.signals == 1


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_part_is_within_the_data_area(offset: int, length: int) -> None:
    _, server, _, _, memory = pair()
    size = len(memory.view) - 8192
    packet = Packet(0, 0, length, offset, 0)
    if offset + length <= size:
        assert len(server.part(packet)) == length
    else:
        with pytest.raises(Failed, match="outside its stream"):
            server.part(packet)


@pytest.mark.parametrize("slots", [0, 3, 1 << 11, -4])
def test_a_stream_has_a_power_of_two_of_slots(slots: int) -> None:
    sim = Simulation()

    @sim.client()
    def client(env: Environment) -> None:
        word = env.notification()
        with pytest.raises(ValueError, match="a power of two of slots"):
            StreamClient(env, slots, 4096, word)
        offer = StreamOffer(env.frame(1 << 20), slots, word)
        with pytest.raises(BadRequest, match="a power of two of slots"):
            StreamServer(offer)

    sim.run()


class Doubler(Interface):
    def attach(self, offer: StreamOffer) -> Notification: ...


class DoublerService(Doubler):
    """Answers each packet with its data doubled."""

    def __init__(self, env: Environment) -> None:
        self._word = env.listen()
        self._stream: StreamServer | None = None

    def attach(self, offer: StreamOffer) -> Notification:
        if self._stream is not None:
            self._stream.close()
        self._stream = StreamServer(offer)
        return self._word

    def notify(self, _bits: int) -> None:
        assert self._stream is not None
        try:
            for packet in self._stream.take_all():
                part = self._stream.part(packet)
                part[:] = bytes(2 * byte & 255 for byte in part)
                assert self._stream.put(packet)
        except Failed:
            pass  # the client took the stream back


def doubler(env: Environment) -> None:
    service = DoublerService(env)
    env.serve(service, "doubler", service.notify)


def test_a_stream_between_two_processes_and_once_more() -> None:
    sim = Simulation()
    sim.process("doubler", doubler, ["doubler"])

    @sim.client({"doubler": "doubler.doubler"})
    def client(env: Environment) -> None:
        word = env.notification()
        stream = StreamClient(env, 8, 4096, word)
        service = env.open(Doubler, "doubler")
        for _ in range(3):
            stream.connect(service.attach(stream.offer))
            stream.data[:4] = b"\x01\x02\x03\x84"
            for tag in range(4):
                assert stream.put(Packet(tag, 0, 1, tag, 0))
            tags: list[int] = []
            while len(tags) < 4:
                word.wait(10**9)
                tags += [packet.tag for packet in stream.take_all()]
            assert tags == [0, 1, 2, 3]
            assert bytes(stream.data[:4]) == b"\x02\x04\x06\x08"
            stream.reset()
            assert stream.take_all() == []
        stream.close()

    sim.run()
    assert not sim.processes["doubler"].ends


def test_a_server_maps_no_more_than_it_agreed_to() -> None:
    sim = Simulation()
    sim.process("doubler", doubler, ["doubler"])

    def client(env: Environment) -> None:
        service = env.open(Doubler, "doubler")
        for size in (8192, MAX_DATA + 16384):
            offer = StreamOffer(env.frame(size), 128, env.notification())
            with pytest.raises(BadRequest, match="at most 64 MiB of data"):
                service.attach(offer)

    holds = {"doubler": "doubler.doubler"}
    sim.process("client", client, holds=holds, memory=256 << 20, client=True)
    sim.run()
