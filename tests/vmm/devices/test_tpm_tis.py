"""The FIFO interface: the states of PTP 6.5, localities, interrupts."""

from __future__ import annotations

import random

import pytest

from tests.tpm.fake import command, echo, echoed
from tests.vmm.rig import Line
from tests.vmm.tpm_backend import HeldTpm
from vmm.devices.tpm_tis import (
    ACCESS,
    ACTIVE,
    BEEN_SEIZED,
    CANCEL,
    DATA_AVAILABLE,
    DATA_FIFO,
    DID_VID,
    EXPECT,
    GO,
    INT_ALL,
    INT_DATA,
    INT_ENABLE,
    INT_LOCALITY,
    INT_LOW_LEVEL,
    INT_READY,
    INT_STATUS,
    INT_VALID,
    INTERFACE_ID,
    INTF_CAPABILITY,
    NOT_ESTABLISHED,
    PENDING,
    READY,
    REQUEST_USE,
    RESET_ESTABLISHMENT,
    RETRY,
    RID,
    SEIZE,
    STS,
    VALID,
    XDATA_FIFO,
    TpmTis,
)

GLOBAL = 1 << 31


class Guest:
    """Software that drives the interface."""

    def __init__(self, version: str = "2.0", held: bool = False) -> None:
        self.backend = HeldTpm("1.2" if version == "1.2" else "2.0", held)
        self.line = Line()
        self.device = TpmTis(self.backend, lambda action: action(), self.line, 13)

    def read(self, register: int, size: int = 4, locality: int = 0) -> int:
        return self.device.read(locality << 12 | register, size)

    def write(self, register: int, value: int, size: int = 4, locality: int = 0) -> None:
        self.device.write(locality << 12 | register, size, value)

    def access(self, locality: int = 0) -> int:
        return self.read(ACCESS, 1, locality) & ~(VALID | NOT_ESTABLISHED)

    def request(self, locality: int = 0) -> None:
        self.write(ACCESS, REQUEST_USE, 1, locality)

    def status(self, locality: int = 0) -> int:
        return self.read(STS, 4, locality) & 0xFF

    def burst(self, locality: int = 0) -> int:
        return self.read(STS, 4, locality) >> 8 & 0xFFFF

    def send(self, data: bytes, locality: int = 0) -> None:
        self.write(STS, READY, 1, locality)
        assert self.status(locality) & READY
        for byte in data:
            assert self.burst(locality) > 0
            self.write(DATA_FIFO, byte, 1, locality)

    def fetch(self, locality: int = 0) -> bytes:
        data = bytearray()
        while self.status(locality) & DATA_AVAILABLE:
            data.append(self.read(DATA_FIFO, 1, locality))
        return bytes(data)

    def transact(self, data: bytes, locality: int = 0) -> bytes:
        self.send(data, locality)
        self.write(STS, GO, 1, locality)
        return self.fetch(locality)


def test_identity() -> None:
    guest = Guest()
    assert guest.read(DID_VID) not in (0, 0xFFFFFFFF)
    assert guest.read(RID, 1) == 1
    assert guest.read(INTERFACE_ID) & 15 == 0
    assert guest.read(INTERFACE_ID + 4) == guest.read(DID_VID) & 0xFFFF | 0x10000
    assert guest.read(INTERFACE_ID, 8) >> 32 == guest.read(INTERFACE_ID + 4)
    assert guest.read(INTF_CAPABILITY) >> 28 == 3
    assert Guest("1.2").read(INTF_CAPABILITY) >> 28 == 2
    guest.request()
    assert guest.read(STS) >> 26 & 3 == 1
    old = Guest("1.2")
    old.request()
    assert old.read(STS) >> 26 & 3 == 0


def test_a_command_and_its_response() -> None:
    guest = Guest()
    guest.request()
    assert guest.access() == ACTIVE
    for text in (b"", b"x", bytes(range(256)), bytes(4086)):
        assert guest.transact(echo(text)) == echoed(text)
    assert guest.transact(command(0x999)).hex() == "80010000000a00000143"


@pytest.mark.parametrize("register", [DATA_FIFO, XDATA_FIFO, XDATA_FIFO + 0x3C])
def test_wide_transfers(register: int) -> None:
    guest = Guest()
    guest.request()
    guest.write(STS, READY, 1)
    data = echo(bytes(range(60)))
    for at in range(0, len(data), 4):
        piece = data[at : at + 4]
        guest.write(register, int.from_bytes(piece, "little"), len(piece))
    guest.write(STS, GO)
    answer = b""
    while guest.status() & DATA_AVAILABLE:
        size = min(8, guest.burst())
        answer += guest.read(register, size).to_bytes(size, "little")
    assert answer == echoed(bytes(range(60)))


def test_expect_says_when_the_command_is_whole() -> None:
    guest = Guest()
    guest.request()
    guest.write(STS, READY)
    data = echo(b"abc")
    for number, byte in enumerate(data):
        assert bool(guest.status() & EXPECT) == (number > 0)
        guest.write(DATA_FIFO, byte, 1)
        guest.write(STS, GO) if number < len(data) - 1 else None
    assert not guest.status() & EXPECT
    guest.write(DATA_FIFO, 0xFF, 1)  # more than it said: dropped
    guest.write(STS, GO)
    assert guest.fetch() == echoed(b"abc")


def test_a_command_that_is_too_long_or_too_short_ends() -> None:
    guest = Guest()
    guest.request()
    guest.write(STS, READY)
    for byte in bytes.fromhex("8001 ffffffff 0000f000") + bytes(5000):
        guest.write(DATA_FIFO, byte, 1)
    assert guest.burst() == 0
    assert not guest.status() & EXPECT
    guest.write(STS, GO)
    assert len(guest.fetch()) == 4096 - 10 + 11
    assert len(guest.transact(bytes.fromhex("8001 00000000 0000f000"))) == 11


def test_what_is_not_asked_for_does_nothing() -> None:
    guest = Guest()
    guest.request()
    guest.write(DATA_FIFO, 1, 1)  # idle
    guest.write(STS, GO)
    assert guest.status() & ~(VALID | 4) == 0
    guest.write(STS, READY)
    guest.write(STS, GO)
    assert guest.status() & READY
    assert guest.read(DATA_FIFO, 1) == 0xFF
    assert guest.backend.fake.log == []


def test_a_response_can_be_read_again() -> None:
    guest = Guest()
    guest.request()
    assert guest.transact(echo(b"again")) == echoed(b"again")
    guest.write(STS, RETRY)
    assert guest.fetch() == echoed(b"again")
    guest.write(STS, READY)
    assert guest.status() & READY


def test_execution_leaves_the_guest_free_and_can_be_cancelled() -> None:
    guest = Guest(held=True)
    guest.request()
    guest.send(echo(b"x"))
    guest.write(STS, GO)
    assert guest.status() & (READY | EXPECT | DATA_AVAILABLE) == 0
    assert guest.burst() == 0
    guest.write(STS, READY)  # aborts
    assert not guest.status() & READY
    assert guest.backend.cancelled == 1
    guest.backend.release()
    assert guest.status() & READY
    assert guest.fetch() == b""
    guest.send(echo(b"y"))
    guest.write(STS, GO)
    guest.write(STS, CANCEL)
    guest.write(STS + 3, 1, 1)
    assert guest.backend.cancelled == 3
    guest.backend.release()
    assert guest.fetch() == echoed(b"y")


def test_localities_wait_for_each_other() -> None:
    guest = Guest()
    guest.request(1)
    guest.request(0)
    guest.request(3)
    assert guest.access(1) == ACTIVE | PENDING
    assert guest.access(0) == REQUEST_USE | PENDING
    assert guest.status(0) == 0xFF
    guest.write(ACCESS, ACTIVE, 1, 1)
    assert guest.access(3) == ACTIVE | PENDING
    guest.write(ACCESS, ACTIVE, 1, 0)  # withdraws
    guest.write(ACCESS, ACTIVE, 1, 3)
    assert [guest.access(n) for n in range(4)] == [0] * 4


def test_a_command_is_executed_at_its_locality() -> None:
    for locality in range(4):
        guest = Guest()
        guest.request(locality)
        assert guest.transact(echo(b"x"), locality) == echoed(b"x", locality)


def test_seizing() -> None:
    guest = Guest(held=True)
    guest.request(1)
    guest.write(ACCESS, SEIZE, 1, 0)
    assert guest.access(1) == ACTIVE
    guest.send(echo(b"x"), 1)
    guest.write(STS, GO, 1, 1)
    guest.write(ACCESS, SEIZE, 1, 2)
    assert guest.access(1) == ACTIVE
    guest.backend.release()
    assert guest.access(2) == ACTIVE
    assert guest.access(1) == BEEN_SEIZED
    guest.write(ACCESS, BEEN_SEIZED, 1, 1)
    assert guest.access(1) == 0
    assert guest.fetch(2) == b""
    guest.backend.held = False
    assert guest.transact(echo(b"y"), 2) == echoed(b"y", 2)


def test_locality_4_is_the_machines() -> None:
    guest = Guest()
    guest.request(4)
    guest.write(ACCESS, SEIZE, 1, 4)
    assert guest.read(ACCESS, 1, 4) == 0xFF
    assert guest.access(0) == 0


def test_the_establishment_flag() -> None:
    guest = Guest()
    assert guest.read(ACCESS, 1) & NOT_ESTABLISHED
    guest.backend.established = True
    assert not guest.read(ACCESS, 1) & NOT_ESTABLISHED
    guest.request(0)
    guest.write(STS, RESET_ESTABLISHMENT)
    assert guest.backend.established
    guest.write(ACCESS, SEIZE, 1, 3)
    guest.write(STS, RESET_ESTABLISHMENT, 4, 3)
    assert not guest.backend.established


def test_interrupts() -> None:
    guest = Guest(held=True)
    guest.request()
    assert guest.read(INT_ENABLE) == INT_LOW_LEVEL
    guest.send(echo(b"x"))
    assert not guest.line.level
    guest.write(INT_ENABLE, GLOBAL | INT_DATA | INT_READY | INT_LOCALITY)
    guest.write(STS, GO)
    assert not guest.line.level
    guest.backend.release()
    assert guest.line.level
    assert guest.read(INT_STATUS) == INT_DATA
    guest.write(INT_STATUS, INT_DATA)
    assert not guest.line.level
    guest.write(STS, READY)
    assert guest.read(INT_STATUS) == INT_READY
    guest.write(INT_ENABLE, INT_READY)
    assert not guest.line.level
    guest.write(INT_ENABLE + 3, 0x80, 1)
    assert guest.line.level
    guest.write(INT_STATUS, INT_ALL)
    guest.write(INT_ENABLE, GLOBAL | INT_ALL)
    guest.request(2)
    guest.write(ACCESS, ACTIVE, 1)
    assert guest.read(INT_STATUS, 4, 2) == INT_LOCALITY
    guest.write(INT_STATUS, INT_ALL, 4, 2)
    guest.send(echo(b""), 2)
    assert guest.read(INT_STATUS, 4, 2) == INT_READY | INT_VALID


def test_whatever_a_guest_does_it_goes_on() -> None:
    rng = random.Random(5)
    guest = Guest(held=True)
    for _ in range(20_000):
        offset = rng.randrange(5) << 12 | rng.choice(
            (0, 8, 0xC, 0x10, 0x18, 0x18, 0x18, 0x19, 0x1B, 0x24, 0x24, 0x80, 0xBE, 0xF00, 0xFFF)
        )
        size = rng.choice((1, 2, 4, 8))
        if rng.random() < 0.4:
            assert 0 <= guest.device.read(offset, size) < 1 << 8 * size
        else:
            value = rng.choice((1 << rng.randrange(8 * size), rng.getrandbits(8 * size)))
            guest.device.write(offset, size, value & (1 << 8 * size) - 1)
        if rng.random() < 0.05:
            guest.backend.release()
    guest.backend.release()
    guest.write(ACCESS, SEIZE, 1, 3)
    guest.backend.release()
    guest.backend.held = False
    if guest.access(3) & ACTIVE:
        assert guest.transact(echo(b"end"), 3) == echoed(b"end", 3)
