"""The TPM's FIFO interface, also known as TIS.

PTP 1.05, 6.3 to 6.5 (for TPM 2.0) and TIS 1.3 (for TPM 1.2).  At FED40000h, 4 KiB a locality:

  000  ACCESS, 8 bits   0 not established, 1 request use, 2 others wait, 3 seize, 4 been seized,
                        5 active, 7 valid; write: 1 request, 3 seize, 4 clear, 5 give up
  008  INT_ENABLE       0 data available, 1 status valid, 2 locality changed, 4:3 type (low level),
                        7 command ready, 31 all
  00C  INT_VECTOR       3:0 the interrupt
  010  INT_STATUS       as INT_ENABLE; writing a one clears
  014  INTF_CAPABILITY
  018  STS              1 response retry, 2 self-test done, 3 expect, 4 data available, 5 go,
                        6 command ready, 7 valid, 23:8 burst count, 24 cancel,
                        25 reset establishment, 27:26 family (1: TPM 2.0)
  024  DATA_FIFO        also at 080 to 0BF, up to 64 bits wide
  030  INTERFACE_ID     64 bits, TPM 2.0
  F00  DID_VID          F04  RID, 8 bits

The FIFO takes as many bytes as there is room for and has all of a response, so that the burst count
is what is left.  Execution does not hold up the guest: it polls STS or waits for the interrupt.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from vmm.backends import Tpm
from vmm.bus import MmioBus
from vmm.devices import IrqLine
from vmm.devices.tpm import (
    BASE,
    DEVICE,
    HEADER_SIZE,
    PAGE,
    REVISION,
    SIZE,
    SOFTWARE_LOCALITIES,
    VENDOR,
    Executor,
    Interrupts,
    Localities,
    command_size,
    read_registers,
)
from vmm.devices.virtio.device import Post

ACCESS, INT_ENABLE, INT_VECTOR, INT_STATUS, INTF_CAPABILITY, STS = 0, 8, 0xC, 0x10, 0x14, 0x18
DATA_FIFO, INTERFACE_ID, XDATA_FIFO, DID_VID, RID = 0x24, 0x30, 0x80, 0xF00, 0xF04
FIFO_ENDS: Final = {DATA_FIFO: DATA_FIFO + 4, XDATA_FIFO: XDATA_FIFO + 64}

NOT_ESTABLISHED, REQUEST_USE, PENDING, SEIZE, BEEN_SEIZED, ACTIVE, VALID = (
    1, 2, 4, 8, 0x10, 0x20, 0x80
)  # fmt: skip
INT_DATA, INT_VALID, INT_LOCALITY, INT_READY = 1, 2, 4, 0x80
INT_ALL: Final = INT_DATA | INT_VALID | INT_LOCALITY | INT_READY
INT_LOW_LEVEL: Final = 1 << 3
RETRY, SELF_TEST_DONE, EXPECT, DATA_AVAILABLE, GO, READY, STS_VALID = (
    2, 4, 8, 0x10, 0x20, 0x40, 0x80
)  # fmt: skip
CANCEL, RESET_ESTABLISHMENT, FAMILY_2_0 = 1 << 24, 1 << 25, 1 << 26
CAP_64_BYTES: Final = 3 << 9
CAP_LOW_LEVEL: Final = 1 << 4
CAP_VERSION: Final = {"1.2": 2 << 28, "2.0": 3 << 28}
ID_2_0: Final = REVISION << 24 | 1 << 13 | 3 << 11 | 1 << 8
"""FIFO, with five localities and 64 bytes at a time."""


class State(enum.Enum):
    """PTP 1.05, 6.5.2.1."""

    IDLE = "idle"
    READY = "ready"
    RECEPTION = "reception"
    EXECUTION = "execution"
    COMPLETION = "completion"


class TpmTis:
    """The interface."""

    def __init__(self, backend: Tpm, post: Post, irq: IrqLine, vector: int) -> None:
        """``irq`` is interrupt ``vector``, level-triggered."""
        self._backend = backend
        self._executor = Executor(backend, post)
        self._localities = Localities(lambda _locality: self._interrupts.raise_(INT_LOCALITY))
        self._interrupts = Interrupts(irq, INT_ALL, INT_LOW_LEVEL)
        self._vector = vector
        self._state = State.IDLE
        self._data = bytearray()  # the command as it comes, or the response
        self._at = 0  # of the response: what was read
        self._size = backend.buffer_size

    def attach(self, mmio: MmioBus) -> None:
        mmio.map(BASE, SIZE, self.read, self.write)

    # Reading

    def read(self, offset: int, size: int) -> int:
        locality, register = divmod(offset, PAGE)
        if locality >= SOFTWARE_LOCALITIES:
            return (1 << 8 * size) - 1
        if _is_fifo(register):
            return self._read_fifo(locality, size)
        return read_registers(lambda at: self._register(locality, at), register, size)

    def _register(self, locality: int, register: int) -> int:
        two = self._backend.version == "2.0"
        if register == ACCESS:
            return self._access(locality)
        if register == STS:
            return self._status(locality)
        values = {
            INT_ENABLE: self._interrupts.enable,
            INT_VECTOR: self._vector,
            INT_STATUS: self._interrupts.status,
            INTF_CAPABILITY: CAP_VERSION[self._backend.version]
            | CAP_64_BYTES | CAP_LOW_LEVEL | INT_ALL,
            INTERFACE_ID: ID_2_0 if two else 0xFFFF_FFFF,
            INTERFACE_ID + 4: VENDOR | DEVICE << 16 if two else 0xFFFF_FFFF,
            DID_VID: DEVICE << 16 | VENDOR,
            RID: REVISION,
        }  # fmt: skip
        return values.get(register, 0xFFFF_FFFF)

    def _access(self, locality: int) -> int:
        found = self._localities
        return (
            VALID
            | (0 if self._backend.established else NOT_ESTABLISHED)
            | (ACTIVE if found.active == locality else 0)
            | (BEEN_SEIZED if locality in found.seized else 0)
            | (PENDING if found.requests - {locality} else 0)
            | (REQUEST_USE if locality in found.requests else 0)
        )

    def _status(self, locality: int) -> int:
        if self._localities.active != locality:
            return 0xFFFF_FFFF
        value = STS_VALID | SELF_TEST_DONE | self._burst() << 8
        if self._backend.version == "2.0":
            value |= FAMILY_2_0
        if self._state is State.READY:
            value |= READY
        elif self._state is State.RECEPTION and self._expects():
            value |= EXPECT
        elif self._state is State.COMPLETION and self._at < len(self._data):
            value |= DATA_AVAILABLE
        return value

    def _burst(self) -> int:
        if self._state in (State.READY, State.RECEPTION):
            return self._size - len(self._data)
        return len(self._data) - self._at if self._state is State.COMPLETION else 0

    def _expects(self) -> bool:
        """Whether the command is incomplete.  What is longer than the buffer is cut off there, and
        the TPM's to refuse."""
        if len(self._data) < HEADER_SIZE:
            return True
        return len(self._data) < min(command_size(self._data), self._size)

    def _read_fifo(self, locality: int, size: int) -> int:
        if self._localities.active != locality or self._state is not State.COMPLETION:
            return (1 << 8 * size) - 1
        data = bytes(self._data[self._at : self._at + size])
        self._at = min(self._at + size, len(self._data))
        return int.from_bytes(data.ljust(size, b"\xff"), "little")

    # Writing

    def write(self, offset: int, size: int, value: int) -> None:
        locality, register = divmod(offset, PAGE)
        if locality >= SOFTWARE_LOCALITIES:
            return
        if _is_fifo(register):
            self._write_fifo(locality, value.to_bytes(size, "little"))
            return
        if size > 4:
            self.write(offset, 4, value & 0xFFFF_FFFF)
            self.write(offset + 4, size - 4, value >> 32)
            return
        shift = 8 * (register & 3)
        register &= ~3
        value <<= shift
        if register == ACCESS:
            self._write_access(locality, value)
        elif self._localities.active != locality:
            return
        elif register == STS:
            self._write_status(locality, value)
        elif register == INT_ENABLE:
            keep = self._interrupts.enable & ~((1 << 8 * size) - 1 << shift)
            self._interrupts.set_enable(keep | value)
        elif register == INT_VECTOR:
            self._vector = value & 15
        elif register == INT_STATUS:
            self._interrupts.clear(value)

    def _write_access(self, locality: int, value: int) -> None:
        found = self._localities
        if value & ACTIVE:
            if found.active == locality:
                self._abort(found.release)
            else:
                found.withdraw(locality)
        if value & BEEN_SEIZED:
            found.seized.discard(locality)
        if value & SEIZE and found.may_seize(locality):
            self._abort(lambda: found.seize(locality))
        if value & REQUEST_USE:
            found.request(locality)

    def _abort(self, then: Callable[[], None]) -> None:
        """Leave whatever is being done, and then do that."""

        def idle() -> None:
            self._become(State.IDLE)
            then()

        self._executor.abort(idle)

    def _write_status(self, locality: int, value: int) -> None:
        if value & RESET_ESTABLISHMENT and locality >= 3:
            self._backend.reset_established(locality)
        if value & CANCEL:
            self._executor.cancel()
        if value & READY:
            if self._state is not State.READY:
                self._executor.abort(self._make_ready)
        elif value & GO:
            if self._state is State.RECEPTION and not self._expects():
                self._execute(locality)
        elif value & RETRY and self._state is State.COMPLETION:
            self._at = 0

    def _make_ready(self) -> None:
        self._become(State.READY)
        self._interrupts.raise_(INT_READY)

    def _become(self, state: State) -> None:
        self._state = state
        self._data = bytearray()
        self._at = 0

    def _write_fifo(self, locality: int, data: bytes) -> None:
        if self._localities.active != locality:
            return
        if self._state not in (State.READY, State.RECEPTION):
            return
        self._state = State.RECEPTION
        for byte in data:
            if self._expects():
                self._data.append(byte)
        if not self._expects():
            self._interrupts.raise_(INT_VALID)

    def _execute(self, locality: int) -> None:
        self._state = State.EXECUTION
        self._executor.start(bytes(self._data), locality, self._complete)

    def _complete(self, response: bytes) -> None:
        self._become(State.COMPLETION)
        self._data += response
        self._interrupts.raise_(INT_DATA | INT_VALID)


def _is_fifo(register: int) -> bool:
    return any(start <= register < end for start, end in FIFO_ENDS.items())
