"""The store as a process between a block driver and its clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.block import main as block
from drivers.block.client import BlockClient
from servers.runtime import Environment, Failed
from servers.store import main as store
from servers.store.header import empty
from servers.store.qcow2 import Qcow2
from tests.servers.store.images import MemoryFile
from tests.servers.store.test_qcow2 import content, whole
from tests.support.simulation import Simulation, Supervision

SIZE = 1 << 20
DISK = {"disk": "store.block"}


def system(
    folder: Path, seed: int = 0, image: bytes | None = None, backing: bytes = b""
) -> Simulation:
    """An image in ``folder``, its driver and its store."""
    sim = Simulation(seed)
    made = empty(SIZE, "base" if backing else "") if image is None else image
    (folder / "image").write_bytes(made)
    sim.device("file", len(made), str(folder / "image"))
    sim.process("block", block.main, ["block"], {"disk": "device:file"}, {"size": 64 << 20})
    holds = {"image": "block.block"}
    if backing:
        (folder / "base").write_bytes(backing)
        sim.device("base", len(backing), str(folder / "base"), writable=False)
        sim.process("base", block.main, ["block"], {"disk": "device:base"}, {"read_only": True})
        holds["backing"] = "base.block"
    sim.process("store", store.main, ["block"], holds)
    return sim


def test_a_disk_of_an_image(tmp_path: Path) -> None:
    below = bytes(content(1, SIZE))
    sim = system(tmp_path, backing=below)

    @sim.client(DISK)
    def client(env: Environment) -> None:
        disk = BlockClient(env, "disk")
        assert (disk.size, disk.writable) == (SIZE, True)
        assert disk.read(0, SIZE) == below
        disk.write(65024, b"new." * 256)
        assert disk.read(65024, 1024) == b"new." * 256
        disk.flush()

    sim.run()
    assert (tmp_path / "base").read_bytes() == below


def test_a_damaged_image_is_explained_to_clients(tmp_path: Path) -> None:
    sim = system(tmp_path, image=b"no image" * 512)

    @sim.client(DISK)
    def client(env: Environment) -> None:
        with pytest.raises(Failed, match="image of store cannot be used: it is not a qcow2 image"):
            BlockClient(env, "disk")

    sim.run()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("victim", ["store", "block"])
def test_a_killed_process_loses_nothing_and_nobody_notices(
    tmp_path: Path, seed: int, victim: str
) -> None:
    sim = system(tmp_path, seed)
    model = bytearray(SIZE)

    @sim.client(DISK)
    def client(env: Environment) -> None:
        disk = BlockClient(env, "disk")
        for number in range(40):
            at = number * 37 % 61 * 16384
            data = bytes([number + 1]) * 1024 * (1 + number % 9)
            disk.write(at, data)
            model[at : at + len(data)] = data
            if number % 7 == 0:
                disk.flush()
        assert disk.read(0, SIZE) == bytes(model)
        disk.flush()

    @sim.client()
    def killer(env: Environment) -> None:
        supervisor = env.open(Supervision, "supervisor")
        for number in range(4):
            env.sleep(30_000 + 17_000 * (seed + number) % 90_000)
            supervisor.kill(victim)
            env.sleep(20_000 * (number % 3))
            supervisor.start(victim)

    sim.run()
    assert sim.processes[victim].starts == 5
    left = (tmp_path / "image").read_bytes()
    assert whole(Qcow2(MemoryFile(left), writable=False)) == bytes(model)
