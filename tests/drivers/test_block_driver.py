"""The block driver against clients of every kind: honest, odd, hostile."""

from __future__ import annotations

import struct

import pytest

from drivers.block import main as block
from drivers.block.client import PIECE, BlockClient
from drivers.block.interface import READ, WRITE, Block, Status
from servers.runtime import (
    BadRequest,
    Busy,
    Environment,
    Failed,
    Frame,
    Right,
    TimedOut,
)
from servers.runtime.attachments import CLIENTS
from servers.runtime.stream import Packet, StreamOffer
from tests.support.disks import DISK, LONG, SIZE, Raw, system
from tests.support.simulation import Simulation


def test_reads_writes_and_flushes() -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        disk = BlockClient(env, "disk")
        assert (disk.size, disk.writable) == (SIZE, True)
        disk.write(512, b"x" * 1024)
        disk.flush()
        assert disk.read(0, 2048) == bytes(512) + b"x" * 1024 + bytes(512)
        disk.write(SIZE - 512, b"end!" * 128)
        assert disk.read(SIZE - 512, 512) == b"end!" * 128

    sim.run()
    assert sim.memory("disk").read_at(512, 1024) == b"x" * 1024


def test_a_client_whose_submit_makes_no_system_call() -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        disk = BlockClient(env, "disk", prompt=True)
        for at in range(0, SIZE, SIZE // 16):
            disk.write(at, bytes([at >> 16]) * 512)
        disk.flush()
        assert disk.read(SIZE // 2, 512) == bytes([SIZE >> 17]) * 512

    sim.run()


@pytest.mark.parametrize(
    ("operation", "length", "offset", "argument"),
    [
        (READ, 512, 0, SIZE),
        (READ, 1024, 0, SIZE - 512),
        (READ, 512, 0, 2**64 - 512),
        (WRITE, 512, 0, 100),
        (READ, 100, 0, 0),
        (READ, 512, 8192, 0),
        (WRITE, 2**32 - 512, 0, 0),
        (READ, 512, 2**64 - 512, 0),
        (7, 512, 0, 0),
        (2**32 - 1, 512, 0, 0),
    ],
)
def test_a_bad_request_is_answered_and_does_no_harm(
    operation: int, length: int, offset: int, argument: int
) -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        raw = Raw(env)
        found = raw.ask(Packet(1, operation, length, offset, argument), Packet(2, READ, 512, 0, 0))
        assert found == {1: Status.BAD_REQUEST, 2: Status.OK}

    sim.run()
    assert sim.memory("disk").read_at(0, SIZE) == bytes(SIZE)


def test_a_read_only_disk_refuses_writes() -> None:
    sim = system(read_only=True)

    @sim.client(DISK)
    def client(env: Environment) -> None:
        disk = BlockClient(env, "disk")
        assert not disk.writable
        with pytest.raises(Failed, match="write at byte 0 of the disk: read only"):
            disk.write(0, bytes(512))
        assert disk.read(0, 512) == bytes(512)
        disk.flush()

    sim.run()


def test_a_device_without_the_right_to_write_is_read_only() -> None:
    sim = Simulation()
    sim.device("disk", size=SIZE, writable=False)
    sim.process("block", block.main, ["block"], {"disk": "device:disk"})

    @sim.client(DISK)
    def client(env: Environment) -> None:
        assert not BlockClient(env, "disk").writable

    sim.run()


def test_the_last_odd_bytes_of_a_device_are_out_of_reach() -> None:
    sim = system(size=1000)

    @sim.client(DISK)
    def client(env: Environment) -> None:
        assert BlockClient(env, "disk").size == 512

    sim.run()


def test_large_requests_and_more_of_them_than_fit() -> None:
    sim = system(size=8 << 20)

    @sim.client(DISK)
    def client(env: Environment) -> None:
        word = env.notification()
        disk = BlockClient(env, "disk", word, 4, slots=4, data_size=PIECE)
        data = bytes(range(256)) * 4096 * 3  # three pieces and more
        disk.write(4096, data)
        assert disk.read(4096, len(data)) == data
        buffers = [bytearray(1000), bytearray(24), bytearray(1024)]
        answers: list[Status] = []
        for _ in range(20):
            views = [memoryview(b) for b in buffers]
            disk.submit(READ, 4096, views, answers.append)
        assert disk.busy
        while len(answers) < 20:
            assert word.wait(LONG) == 4
            disk.poll()
        assert not disk.busy
        assert b"".join(buffers) == data[:2048]
        assert answers == [Status.OK] * 20

    sim.run()


def test_hostile_neighbours_do_not_disturb() -> None:
    sim = system()

    @sim.client(DISK)
    def honest(env: Environment) -> None:
        disk = BlockClient(env, "disk")
        for number in range(40):
            disk.write(number * 512, bytes([number]) * 512)
            assert disk.read(number * 512, 512) == bytes([number]) * 512

    @sim.client(DISK)
    def liar(env: Environment) -> None:
        """Claims more requests than the ring has slots: it is detached, and told."""
        raw = Raw(env)
        raw.stream._mapping.view[4:8] = struct.pack("<I", 500)
        raw.to_driver.signal()
        raw.driver.attend()

    @sim.client(DISK)
    def thief(env: Environment) -> None:
        """Takes its memory and its notification back."""
        raw = Raw(env)
        raw.stream.post(Packet(1, READ, 512, 0, 0))
        raw.stream.offer.to_client.revoke()
        raw.to_driver.signal()
        raw.driver.attend()

    @sim.client(DISK)
    def glutton(env: Environment) -> None:
        """Takes no answers: they are kept until there is room, and none is lost."""
        raw = Raw(env)
        for round_ in range(4):
            for number in range(8):
                while not raw.stream.put(Packet(round_ * 8 + number, READ, 512, 0, 0)):
                    if round_ > 1:
                        break
                    env.sleep(1000)
            env.sleep(1_000_000)
        tags: list[int] = []
        for _ in range(10):
            tags += [packet.tag for packet in raw.stream.take_all()]
            raw.to_driver.signal()
            env.sleep(1_000_000)
        assert tags[:16] == list(range(16))
        assert len(tags) == len(set(tags))

    sim.run()
    assert not sim.processes["block"].ends


def test_bad_offers_are_refused_and_cost_the_driver_nothing() -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        driver = env.open(Block, "disk")
        word = env.notification()
        small = env.frame(4096)
        blind = env.frame(1 << 16).mint(Right.GRANT | Right.READ)
        for _ in range(300):
            for offer in (
                StreamOffer(small, 8, word),
                StreamOffer(small, 7, word),
                StreamOffer(small, 1 << 20, word),
                StreamOffer(blind, 8, word),
                StreamOffer(Frame(env.system, word.slot), 8, word),
            ):
                with pytest.raises(BadRequest):
                    driver.attach(offer)

    sim.processes["block"].memory = 1 << 20
    sim.run()


def test_attaching_again_replaces_the_stream() -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        first = Raw(env)
        over = env.event()

        def watch(own: Environment) -> None:
            own.open(Block, "disk").attend()
            over.set()

        env.thread(watch, "watch")
        assert not over.wait(LONG)
        second = Raw(env)
        assert over.wait(LONG)
        first.stream.put(Packet(1, READ, 512, 0, 0))
        with pytest.raises(TimedOut):
            first.word.wait(LONG)
        assert second.ask(Packet(2, READ, 512, 0, 0)) == {2: Status.OK}

    sim.run()


def test_the_driver_has_a_limited_number_of_clients() -> None:
    sim = system()
    refused: list[int] = []

    def client(env: Environment) -> None:
        try:
            BlockClient(env, "disk", slots=2, data_size=PIECE).read(0, 512)
        except Busy:
            refused.append(1)

    for number in range(CLIENTS + 2):
        sim.process(f"client{number}", client, holds=DISK, client=True)
    sim.run()
    assert len(refused) == 2
