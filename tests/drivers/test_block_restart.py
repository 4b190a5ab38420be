"""The block driver's end and new beginning: nothing is lost, and nobody notices."""

from __future__ import annotations

import pytest

from drivers.block.client import BlockClient
from drivers.block.interface import FLUSH, READ, WRITE, Status
from servers.runtime import (
    Environment,
    Failed,
)
from tests.support.disks import DISK, LONG, system
from tests.support.simulation import Supervision


def test_two_threads_share_a_client() -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        word = env.notification()
        disk = BlockClient(env, "disk", word)
        answers: list[Status] = []
        over = env.event()

        def submitter(own: Environment) -> None:
            for number in range(50):
                data = memoryview(bytes([number]) * 512)
                disk.submit(WRITE, number * 512, [data], answers.append, own.system)
            over.set()

        env.thread(submitter, "submitter")
        while len(answers) < 50:
            word.wait(LONG)
            disk.poll()
        assert over.wait(LONG)
        assert disk.read(49 * 512, 512) == bytes([49]) * 512

    sim.run()


@pytest.mark.parametrize("seed", range(25))
def test_a_killed_driver_loses_nothing_and_nobody_notices(seed: int) -> None:
    sim = system(seed)

    @sim.client(DISK)
    def client(env: Environment) -> None:
        word = env.notification()
        disk = BlockClient(env, "disk", word, slots=8)
        acknowledged: dict[int, int] = {}
        statuses: list[Status] = []
        for number in range(60):

            def done(status: Status, at: int = number % 20, what: int = number) -> None:
                statuses.append(status)
                acknowledged[at] = what

            data = memoryview(bytes([number]) * 512)
            disk.submit(WRITE, number % 20 * 512, [data], done)
            if number % 10 == 9:
                disk.submit(FLUSH, 0, [], statuses.append)
        while len(statuses) < 66:
            word.wait(LONG)
            disk.poll()
        assert set(statuses) == {Status.OK}
        for at, what in acknowledged.items():
            assert what == 40 + at  # answered in order
            assert disk.read(at * 512, 512) == bytes([what]) * 512

    @sim.client()
    def killer(env: Environment) -> None:
        supervisor = env.open(Supervision, "supervisor")
        for number in range(6):
            env.sleep(5_000 + 7_000 * (seed + number) % 50_000)
            supervisor.kill("block")
            env.sleep(20_000 * (number % 3))
            supervisor.start("block")

    sim.run()
    assert sim.processes["block"].starts == 7


def test_a_driver_that_died_while_nothing_was_asked_is_found_again() -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        disk = BlockClient(env, "disk")
        disk.write(0, b"a" * 512)
        supervisor = env.open(Supervision, "supervisor")
        supervisor.kill("block")
        supervisor.start("block")
        assert disk.read(0, 512) == b"a" * 512
        supervisor.kill("block")
        word_before = env.clock()
        answers: list[Status] = []
        disk.submit(WRITE, 512, [memoryview(b"b" * 512)], answers.append)
        env.sleep(LONG)
        disk.poll()
        assert not answers and env.clock() - word_before >= LONG
        supervisor.start("block")
        assert disk.read(512, 512) == b"b" * 512
        assert answers == [Status.OK]

    sim.run()


def test_requests_fail_once_the_disk_is_taken_away() -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        word = env.notification()
        disk = BlockClient(env, "disk", word)
        env.open(Supervision, "supervisor").disown("block")
        answers: list[Status] = []
        for _ in range(2):
            disk.submit(READ, 0, [memoryview(bytearray(512))], answers.append)
            while not answers:
                word.wait(LONG)
                disk.poll()
            assert answers.pop() in (Status.FAILED, Status.OK)
        with pytest.raises(Failed):
            for _ in range(100):
                disk.read(0, 512)
                env.sleep(10**8)

    sim.run()


def test_a_device_that_fails_is_said_to() -> None:
    sim = system()

    @sim.client(DISK)
    def client(env: Environment) -> None:
        disk = BlockClient(env, "disk")
        device = sim.memory("disk")

        def fail(*_: object) -> int:
            raise OSError(5, "input/output error")

        device.read_into = device.write_from = device.sync = fail  # type: ignore
        for call in (lambda: disk.read(0, 512), lambda: disk.write(0, bytes(512)), disk.flush):
            with pytest.raises(Failed, match="failed"):
                call()

    sim.run()


def test_the_same_seed_gives_the_same_run() -> None:
    def trace(seed: int) -> list[tuple[int, ...]]:
        sim = system(seed)

        def client(env: Environment) -> None:
            disk = BlockClient(env, "disk")
            for number in range(10):
                disk.write(number * 512, bytes([number]) * 512)

        for name in ("one", "two", "three"):
            sim.process(name, client, holds=DISK, client=True)
        sim.run()
        return sim.trace()

    assert trace(7) == trace(7)
    assert len({tuple(trace(seed)) for seed in range(5)}) > 1
