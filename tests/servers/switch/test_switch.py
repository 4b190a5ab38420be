"""The switch on the simulated machine: who hears whom, and what hostile clients achieve."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.net.client import ROOMS
from drivers.net.frames import BATCH, OFFLOAD, RECORD, TCP_4
from drivers.net.interface import RECEIVE, SEND, Link
from servers.runtime import BadRequest, Environment, NotPermitted, TimedOut
from servers.runtime.stream import Packet, StreamClient, StreamOffer
from servers.switch.main import main
from tests.support.links import ALICE, BOB, EVERYBODY, MALLORY, Station, dotted, frame
from tests.support.simulation import Simulation


def port(*addresses: bytes, segment: str = "lan") -> dict[str, Any]:
    return {"segments": [segment], "addresses": [dotted(each) for each in addresses]}


def simulation(seed: int = 1, **ports: list[dict[str, Any]]) -> Simulation:
    sim = Simulation(seed)
    sim.process("switch", main, offers=["port"], memory=64 << 20, config={"ports": ports})
    return sim


NET = {"net": "switch.port"}
TWO = [port(ALICE), port(BOB)]


def test_frames_reach_the_one_they_are_for_and_groups_reach_all() -> None:
    sim = simulation(client=[*TWO, port(MALLORY)])

    @sim.client(NET)
    def client(env: Environment) -> None:
        alice, bob, third = (Station(env, port=n) for n in range(3))
        alice.send(frame(BOB, ALICE, b"one"), frame(EVERYBODY, ALICE, b"all"))
        assert bob.receive() == frame(BOB, ALICE, b"one")
        assert bob.receive() == frame(EVERYBODY, ALICE, b"all")
        assert third.receive() == frame(EVERYBODY, ALICE, b"all")
        bob.send(frame(ALICE, BOB, b"two"))
        assert alice.receive() == frame(ALICE, BOB, b"two")
        with pytest.raises(TimedOut):
            third.receive()

    sim.run()


def test_nobody_sends_from_an_address_that_is_not_its_own() -> None:
    sim = simulation(client=[*TWO, port()])

    @sim.client(NET)
    def client(env: Environment) -> None:
        alice, bob, trunk = (Station(env, port=n) for n in range(3))
        alice.send(frame(BOB, MALLORY, b"as another"), frame(BOB, BOB, b"as the receiver"))
        trunk.send(frame(BOB, ALICE, b"taking over"), frame(BOB, EVERYBODY, b"from a group"))
        alice.send(frame(BOB, ALICE, b"honest"))
        assert bob.receive() == frame(BOB, ALICE, b"honest")
        bob.send(frame(ALICE, BOB, b"still here"))
        assert alice.receive() == frame(ALICE, BOB, b"still here")

    sim.run()


def test_segments_do_not_hear_each_other() -> None:
    sim = simulation(client=[port(ALICE), port(BOB, segment="other"), port()])

    @sim.client(NET)
    def client(env: Environment) -> None:
        alice, bob, trunk = (Station(env, port=n) for n in range(3))
        alice.send(frame(BOB, ALICE), frame(EVERYBODY, ALICE))
        assert trunk.receive() == frame(BOB, ALICE)  # nobody known in this segment: outside perhaps
        assert trunk.receive() == frame(EVERYBODY, ALICE)
        with pytest.raises(TimedOut):
            bob.receive()

    sim.run()


def test_large_frames_are_cut_for_simple_receivers_alone() -> None:
    sim = simulation(client=TWO)
    # Ethernet, IPv4 and TCP, with 3,000 bytes of data in segments of 1,460
    headers = bytes.fromhex("0800 4500 0be0 0001 4000 4006 0000 0a000001 0a000002")
    headers += bytes.fromhex("04d2 0050 00000001 00000002 5018 ffff 0000 0000")
    large = BOB + ALICE + headers + bytes(range(250)) * 12
    offload = OFFLOAD.pack(1, TCP_4, 54, 1460, 34, 16)

    @sim.client(NET)
    def client(env: Environment) -> None:
        alice, bob = (Station(env, port=n) for n in range(2))
        alice.send(large, offload=offload)
        assert bob.receive() == large
        alice.send(large, offload=offload)
        pieces = [bob.receive(simple=True) for _ in range(3)]
        assert [len(piece) - 54 for piece in pieces] == [1460, 1460, 80]
        assert b"".join(piece[54:] for piece in pieces) == large[54:]

    sim.run()


def test_a_receiver_that_does_not_listen_loses_frames_and_nobody_else_waits() -> None:
    sim = simulation(client=[*TWO, port(MALLORY)])

    @sim.client(NET)
    def client(env: Environment) -> None:
        alice, _, third = (Station(env, port=n) for n in range(3))
        for _ in range(3 * ROOMS):
            alice.send(frame(BOB, ALICE, bytes(60_000)))
            alice.send(frame(MALLORY, ALICE, b"x"))
            assert third.receive() == frame(MALLORY, ALICE, b"x")
            alice.link.poll()

    sim.run()


def test_what_was_not_promised_is_refused() -> None:
    sim = simulation(client=[port(ALICE)])

    @sim.client(NET)
    def client(env: Environment) -> None:
        Station(env)
        with pytest.raises(NotPermitted, match=r"no port 1 for 'client'"):
            Station(env, port=1)

    sim.run()


@pytest.mark.parametrize(
    "packet",
    [
        Packet(1, 7, 0, 0, 0),
        Packet(1, SEND, 1 << 31, 0, 0),
        Packet(1, RECEIVE, 16, 1 << 40, 0),
    ],
)
def test_a_client_that_breaks_the_rules_is_detached_alone(packet: Packet) -> None:
    sim = simulation(client=TWO)

    @sim.client(NET)
    def client(env: Environment) -> None:
        word = env.notification()
        stream = StreamClient(env, 16, 2 * BATCH, word)
        link = env.open(Link, "net")
        stream.connect(link.attach(0, stream.offer))
        stream.put(packet)
        link.attend(0)  # returns, since the switch gave the stream up
        alice, bob = (Station(env, port=n) for n in range(2))
        alice.send(frame(BOB, ALICE))
        assert bob.receive() == frame(BOB, ALICE)

    sim.run()


def test_records_that_make_no_sense_are_dropped() -> None:
    sim = simulation(client=TWO)

    @sim.client(NET)
    def client(env: Environment) -> None:
        bob = Station(env, port=1)
        word = env.notification()
        stream = StreamClient(env, 16, 2 * BATCH, word)
        stream.connect(env.open(Link, "net").attach(0, stream.offer))
        good = frame(BOB, ALICE, b"good")
        batch = RECORD.pack(len(good), bytes(10)) + good + RECORD.pack(1 << 30, b"") + good
        stream.data[: len(batch)] = batch
        stream.put(Packet(1, SEND, len(batch), 0, 0))
        assert bob.receive() == good
        with pytest.raises(TimedOut):
            bob.receive()

    sim.run()


def test_a_stream_that_is_none_is_refused() -> None:
    sim = simulation(client=TWO)

    @sim.client(NET)
    def client(env: Environment) -> None:
        stream = StreamClient(env, 16, BATCH, env.notification())
        wrong = StreamOffer(stream.offer.frame, 3, stream.offer.to_client)
        with pytest.raises(BadRequest):
            env.open(Link, "net").attach(0, wrong)

    sim.run()
