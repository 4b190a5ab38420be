"""A TPM's process, on the simulator: what its offers let their holders do, and its restart."""

from __future__ import annotations

import pytest

from servers.runtime import BadRequest, Environment, Failed, NotPermitted, ServerDied
from tests.support.simulation import Simulation, Supervision
from tpm import main as program
from tpm.interface import FAILURE, TpmDevice, TpmPlatform

CLEAR = bytes.fromhex("8001 0000000c 00000144 0000")
RANDOM = bytes.fromhex("8001 0000000c 0000017b 0010")
READ_17 = bytes.fromhex("8001 00000014 0000017e 00000001 000b 03 000002")


def simulation(size: int = 1 << 20) -> Simulation:
    sim = Simulation()
    sim.device("state", size)
    sim.device("key", 4096)
    sim.process(
        "tpm",
        program.main,
        offers=["device", "platform"],
        holds={"state": "device:state", "key": "device:key"},
        config={"version": "2.0"},
    )
    return sim


BOTH = {"device": "tpm.device", "platform": "tpm.platform"}


def test_power_comes_from_the_platform() -> None:
    sim = simulation()

    @sim.client(holds=BOTH)
    def machine(env: Environment) -> None:
        device = env.open(TpmDevice, "device")
        platform = env.open(TpmPlatform, "platform")
        assert device.execute(CLEAR, 0) == FAILURE["2.0"]
        assert not device.facts().running
        platform.reset()
        assert device.execute(CLEAR, 0)[6:] == bytes(4)
        assert len(device.execute(RANDOM, 0)) == 28
        platform.reset()
        assert device.execute(RANDOM, 0).hex() == "80010000000a00000100"

    sim.run()


def test_software_does_not_reach_the_hardwares_locality() -> None:
    sim = simulation()

    @sim.client(holds=BOTH)
    def machine(env: Environment) -> None:
        device = env.open(TpmDevice, "device")
        platform = env.open(TpmPlatform, "platform")
        platform.reset()
        assert platform.execute(CLEAR, 3)[6:] == bytes(4)
        for locality in (4, 5, -1, 32):
            with pytest.raises(NotPermitted):
                device.execute(RANDOM, locality)
        with pytest.raises(BadRequest):
            platform.execute(RANDOM, 5)
        with pytest.raises(BadRequest):
            device.execute(bytes(4097), 0)
        before = device.execute(READ_17, 0)
        platform.hash([b"measured", b"launch"])
        assert device.execute(READ_17, 0) != before
        assert device.facts().established
        assert not device.reset_established(4)
        assert not device.reset_established(1)
        assert device.reset_established(3)

    sim.run()


def test_the_device_offer_is_no_platform() -> None:
    sim = simulation()

    @sim.client(holds={"platform": "tpm.device"})
    def impostor(env: Environment) -> None:
        platform = env.open(TpmPlatform, "platform")
        with pytest.raises(BadRequest):
            platform.hash([b"x"])

    sim.run()


def test_a_new_process_has_the_state_but_no_power() -> None:
    sim = simulation()

    @sim.client(holds=BOTH)
    def machine(env: Environment) -> None:
        device = env.open(TpmDevice, "device")
        platform = env.open(TpmPlatform, "platform")
        supervision = env.open(Supervision, "supervisor")
        platform.reset()
        device.execute(CLEAR, 0)
        stored = sim.memory("state").read_at(0, 1 << 20)
        supervision.kill("tpm")
        supervision.start("tpm")
        try:
            answer = device.execute(CLEAR, 0)
        except ServerDied:
            answer = device.execute(CLEAR, 0)
        assert answer == FAILURE["2.0"]
        platform.reset()
        assert sim.memory("state").read_at(0, 1 << 20) == stored
        assert device.execute(CLEAR, 0)[6:] == bytes(4)

    sim.run()


def test_the_state_is_unreadable_without_the_key() -> None:
    sim = simulation()

    @sim.client(holds=BOTH)
    def machine(env: Environment) -> None:
        platform = env.open(TpmPlatform, "platform")
        platform.reset()
        sim.memory("key").write_from(8, [memoryview(bytes(32))])
        supervision = env.open(Supervision, "supervisor")
        supervision.kill("tpm")
        supervision.start("tpm")
        with pytest.raises(Failed, match="another key"):
            try:
                platform.reset()
            except ServerDied:
                platform.reset()

    sim.run()


def test_a_device_that_is_too_small() -> None:
    sim = simulation(size=8192)

    @sim.client(holds=BOTH)
    def machine(env: Environment) -> None:
        with pytest.raises(Failed, match="needs 65536 bytes"):
            env.open(TpmPlatform, "platform").reset()

    sim.run()
