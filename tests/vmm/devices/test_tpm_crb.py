"""The command response buffer: PTP 6.4."""

from __future__ import annotations

import random

from tests.tpm.fake import echo, echoed
from tests.vmm.rig import Line
from tests.vmm.tpm_backend import HeldTpm
from vmm.devices.tpm_crb import (
    BUFFER,
    BUFFER_SIZE,
    CMD_HADDR,
    CMD_LADDR,
    CMD_SIZE,
    COMMAND_READY,
    CTRL_CANCEL,
    CTRL_REQ,
    CTRL_START,
    CTRL_STS,
    ERROR,
    GO_IDLE,
    GRANTED,
    IDLE,
    INT_ALL,
    INT_ENABLE,
    INT_LOCALITY,
    INT_READY,
    INT_START,
    INT_STS,
    INTERFACE_ID,
    LOC_CTRL,
    LOC_STATE,
    LOC_STS,
    RELINQUISH,
    REQUEST,
    RESET_ESTABLISHMENT,
    RSP_LADDR,
    RSP_SIZE,
    SEIZE,
    TpmCrb,
)

GLOBAL = 1 << 31


class Guest:
    """Software that drives the interface."""

    def __init__(self, held: bool = False) -> None:
        self.backend = HeldTpm(held=held)
        self.line = Line()
        self.device = TpmCrb(self.backend, lambda action: action(), self.line)

    def read(self, register: int, size: int = 4, locality: int = 0) -> int:
        return self.device.read(locality << 12 | register, size)

    def write(self, register: int, value: int, size: int = 4, locality: int = 0) -> None:
        self.device.write(locality << 12 | register, size, value)

    def put(self, data: bytes, locality: int = 0) -> None:
        for at in range(0, len(data), 8):
            piece = data[at : at + 8]
            self.write(BUFFER + at, int.from_bytes(piece, "little"), len(piece), locality)

    def get(self, size: int, locality: int = 0) -> bytes:
        return b"".join(
            self.read(BUFFER + at, 1, locality).to_bytes(1, "little") for at in range(size)
        )

    def start(self, data: bytes, locality: int = 0) -> None:
        self.write(CTRL_REQ, COMMAND_READY, 4, locality)
        assert self.read(CTRL_REQ, 4, locality) == 0
        assert self.read(CTRL_STS, 4, locality) == 0
        self.put(data, locality)
        self.write(CTRL_START, 1, 4, locality)

    def response(self, locality: int = 0) -> bytes:
        assert self.read(CTRL_START, 4, locality) == 0
        return self.get(int.from_bytes(self.get(6, locality)[2:], "big"), locality)

    def transact(self, data: bytes, locality: int = 0) -> bytes:
        self.start(data, locality)
        return self.response(locality)


def test_what_a_driver_looks_at_first() -> None:
    guest = Guest()
    assert guest.read(INTERFACE_ID) & 0xFF == 0x11
    for locality in range(4):
        buffer = 0xFED40000 + 0x1000 * locality + 0x80
        assert guest.read(CMD_SIZE, 4, locality) == guest.read(RSP_SIZE, 4, locality) == BUFFER_SIZE
        assert guest.read(CMD_LADDR, 4, locality) == buffer
        assert guest.read(RSP_LADDR, 8, locality) == buffer
        assert guest.read(CMD_HADDR, 4, locality) == 0
    assert guest.read(LOC_STATE) == 0x81
    assert guest.read(CTRL_STS) == IDLE


def test_a_command_and_its_response() -> None:
    guest = Guest()
    guest.write(LOC_CTRL, REQUEST)
    assert guest.read(LOC_STS) == GRANTED
    assert guest.read(LOC_STATE) == 0x83
    for text in (b"", b"x", bytes(range(256)), bytes(BUFFER_SIZE - 11)):
        assert guest.transact(echo(text)) == echoed(text)
    guest.write(CTRL_REQ, GO_IDLE)
    assert guest.read(CTRL_STS) == IDLE
    assert guest.get(16) == bytes(16)


def test_nothing_starts_while_idle() -> None:
    guest = Guest()
    guest.write(LOC_CTRL, REQUEST)
    guest.put(echo(b"x"))
    guest.write(CTRL_START, 1)
    assert guest.backend.fake.log == []


def test_execution_leaves_the_guest_free() -> None:
    guest = Guest(held=True)
    guest.write(LOC_CTRL, REQUEST)
    guest.start(echo(b"x"))
    assert guest.read(CTRL_START) == 1
    assert guest.get(4) == b"\xff" * 4
    guest.put(echo(b"changed"))
    guest.write(CTRL_START, 1)
    guest.write(CTRL_CANCEL, 1)
    assert guest.backend.cancelled == 1
    guest.backend.release()
    assert guest.response() == echoed(b"x")


def test_a_response_that_does_not_fit_is_an_error() -> None:
    guest = Guest()
    guest.write(LOC_CTRL, REQUEST)
    guest.start(echo(bytes(BUFFER_SIZE - 10)))
    assert guest.read(CTRL_STS) & ERROR


def test_localities() -> None:
    guest = Guest(held=True)
    guest.write(LOC_CTRL, REQUEST, 4, 1)
    guest.write(LOC_CTRL, REQUEST, 4, 0)
    assert guest.read(LOC_STS, 4, 0) == 0
    assert guest.read(LOC_STATE, 4, 0) >> 2 & 7 == 1
    guest.write(CTRL_REQ, COMMAND_READY, 4, 0)
    assert guest.read(CTRL_STS, 4, 1) == IDLE
    guest.start(echo(b"x"), 1)
    guest.write(LOC_CTRL, SEIZE, 4, 3)
    guest.backend.release()
    assert guest.read(LOC_STS, 4, 3) == GRANTED
    assert guest.read(LOC_STS, 4, 1) == 2
    guest.backend.held = False
    assert guest.transact(echo(b"y"), 3) == echoed(b"y", 3)
    guest.backend.established = True
    guest.write(LOC_CTRL, RESET_ESTABLISHMENT, 4, 3)
    assert not guest.backend.established
    guest.write(LOC_CTRL, RELINQUISH, 4, 3)
    assert guest.read(LOC_STS, 4, 0) == GRANTED
    assert guest.get(8, 0) == bytes(8), "the next locality sees what the last one left"
    guest.write(LOC_CTRL, SEIZE, 4, 4)
    assert guest.read(LOC_STS, 4, 0) == GRANTED
    assert guest.read(LOC_STATE, 4, 4) == 0xFFFFFFFF


def test_interrupts() -> None:
    guest = Guest(held=True)
    guest.write(LOC_CTRL, REQUEST)
    guest.write(INT_ENABLE, GLOBAL | INT_ALL)
    guest.start(echo(b"x"))
    assert guest.read(INT_STS) == INT_READY
    guest.write(INT_STS, INT_READY)
    assert not guest.line.level
    guest.backend.release()
    assert guest.line.level
    assert guest.read(INT_STS) == INT_START
    guest.write(INT_STS, INT_ALL)
    guest.write(LOC_CTRL, REQUEST, 4, 2)
    guest.write(LOC_CTRL, RELINQUISH)
    assert guest.read(INT_STS) == INT_LOCALITY


def test_whatever_a_guest_does_it_goes_on() -> None:
    rng = random.Random(6)
    guest = Guest(held=True)
    for _ in range(20_000):
        offset = rng.randrange(5) << 12 | rng.choice(
            (0, 8, 8, 0xC, 0x30, 0x40, 0x40, 0x44, 0x48, 0x4C, 0x4C, 0x50, 0x54, 0x68, 0x80, 0xFF9)
        )
        size = rng.choice((1, 2, 4, 8))
        if rng.random() < 0.4:
            assert 0 <= guest.device.read(offset, size) < 1 << 8 * size
        else:
            value = rng.choice((1 << rng.randrange(8 * size), rng.getrandbits(8 * size)))
            guest.device.write(offset, size, value)
        if rng.random() < 0.05:
            guest.backend.release()
    assert len(guest.device._buffer) == BUFFER_SIZE
