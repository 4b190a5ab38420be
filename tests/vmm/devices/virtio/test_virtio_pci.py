"""The PCI transport (Virtio 1.1, 4.1)."""

from __future__ import annotations

import struct

from tests.vmm.backends import CountingEntropy
from tests.vmm.devices.virtio.driver import BUFFERS, VERSION_1, Driver
from vmm.devices.virtio.rng import VirtioRng


def new_driver(features: int = VERSION_1) -> Driver:
    return Driver(VirtioRng(CountingEntropy(), lambda action: action()), features)


def capabilities(driver: Driver) -> dict[int, tuple[int, int, int, int]]:
    """Offset, bar, start and length of each vendor capability, by its kind."""
    config = driver.pci.config
    found = {}
    at = config[0x34]
    while at:
        assert config[at] == 9
        kind, bar = config[at + 3], config[at + 4]
        found[kind] = (at, bar, *struct.unpack_from("<II", config, at + 8))
        at = config[at + 1]
    return found


def test_identity_and_capabilities() -> None:
    driver = new_driver()
    assert driver.pci.read_config(0, 4) == 0x1044_1AF4
    assert driver.pci.read_config(8, 1) >= 1
    found = capabilities(driver)
    assert set(found) == {1, 2, 3, 4, 5}
    assert all(start + length <= driver.pci.bar_size for _, _, start, length in found.values())


def test_features_must_be_a_subset_with_version_1() -> None:
    for features, accepted in ((VERSION_1, True), (0, False), (VERSION_1 | 1 << 50, False)):
        driver = new_driver(features)
        driver.start()
        assert bool(driver.status & 8) == accepted
    assert new_driver().offered() & VERSION_1


def test_nothing_is_served_before_driver_ok() -> None:
    driver = new_driver()
    driver.start()
    driver.put(0x14, 1, 0)
    driver.send([(BUFFERS, 4, True)])
    assert not driver.used()


def test_queue_registers() -> None:
    driver = new_driver()
    assert driver.get(0x12, 2) == 1
    assert driver.get(0x18, 2) == 256
    driver.put(0x18, 2, 100)  # no power of two
    assert driver.get(0x18, 2) == 256
    driver.put(0x20, 4, 0x1234_5000)
    driver.put(0x24, 4, 0x1)
    assert driver.get(0x20, 4) | driver.get(0x24, 4) << 32 == 0x1_1234_5000
    driver.put(0x16, 2, 1)
    assert driver.get(0x18, 2) == 0  # there is no such queue
    assert driver.get(0x1A, 2) == 0xFFFF


def test_the_window_in_configuration_space() -> None:
    driver = new_driver()
    at = capabilities(driver)[5][0]
    driver.pci.write_config(at + 4, 1, 0)
    driver.pci.write_config(at + 8, 4, 0x12)
    driver.pci.write_config(at + 12, 4, 2)
    assert driver.pci.read_config(at + 16, 2) == 1  # one queue
    driver.pci.write_config(at + 8, 4, 0x14)
    driver.pci.write_config(at + 12, 4, 1)
    driver.pci.write_config(at + 16, 1, 3)
    assert driver.status == 3
    driver.pci.write_config(at + 8, 4, 0xFFFF_FFF0)
    driver.pci.write_config(at + 16, 4, 0xFFFF_FFFF)
    driver.pci.read_config(at + 16, 4)
