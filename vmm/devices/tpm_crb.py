"""The TPM's command response buffer interface (CRB), for TPM 2.0.

PTP 1.05, 6.4.  At FED40000h, 4 KiB a locality:

  000  LOC_STATE    0 not established, 1 assigned, 4:2 active locality, 7 valid
  008  LOC_CTRL     write: 0 request, 1 relinquish, 2 seize, 3 reset establishment
  00C  LOC_STS      0 granted, 1 been seized
  030  INTERFACE_ID 64 bits
  040  CTRL_REQ     0 command ready, 1 go idle; clear themselves
  044  CTRL_STS     0 fatal error, 1 idle
  048  CTRL_CANCEL  04C  CTRL_START, clears itself when the response is there
  050  INT_ENABLE   0 start, 1 command ready, 2 establishment, 3 locality changed, 31 all
  054  INT_STS      writing a one clears
  058  CMD_SIZE  05C CMD_LADDR  060 CMD_HADDR  064 RSP_SIZE  068 RSP_ADDR, 64 bits
  080  the buffer for commands and responses, to FFF

The operating system's control area begins at 040.
"""

from __future__ import annotations

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

LOC_STATE, LOC_CTRL, LOC_STS, INTERFACE_ID = 0, 8, 0xC, 0x30
CTRL_REQ, CTRL_STS, CTRL_CANCEL, CTRL_START, INT_ENABLE, INT_STS = range(0x40, 0x58, 4)
CMD_SIZE, CMD_LADDR, CMD_HADDR, RSP_SIZE, RSP_LADDR, RSP_HADDR = range(0x58, 0x70, 4)
BUFFER: Final = 0x80
BUFFER_SIZE: Final = PAGE - BUFFER
CONTROL_AREA: Final = BASE + CTRL_REQ

NOT_ESTABLISHED, ASSIGNED, STATE_VALID = 1, 2, 0x80
REQUEST, RELINQUISH, SEIZE, RESET_ESTABLISHMENT = 1, 2, 4, 8
GRANTED, BEEN_SEIZED = 1, 2
COMMAND_READY, GO_IDLE = 1, 2
ERROR, IDLE = 1, 2
INT_START, INT_READY, INT_ESTABLISHMENT, INT_LOCALITY = 1, 2, 4, 8
INT_ALL: Final = INT_START | INT_READY | INT_ESTABLISHMENT | INT_LOCALITY
ID: Final = REVISION << 24 | 1 << 17 | 1 << 14 | 3 << 11 | 1 << 8 | 1 << 4 | 1
"""CRB, version 1, five localities, 64 bytes at a time, CRB is what is selected."""


class TpmCrb:
    """The interface."""

    def __init__(self, backend: Tpm, post: Post, irq: IrqLine) -> None:
        self._backend = backend
        self._executor = Executor(backend, post)
        self._localities = Localities(lambda _locality: self._interrupts.raise_(INT_LOCALITY))
        self._interrupts = Interrupts(irq, INT_ALL)
        self._buffer = bytearray(BUFFER_SIZE)
        self._idle = True
        self._error = False

    def attach(self, mmio: MmioBus) -> None:
        mmio.map(BASE, SIZE, self.read, self.write)

    # Reading

    def read(self, offset: int, size: int) -> int:
        locality, register = divmod(offset, PAGE)
        if locality >= SOFTWARE_LOCALITIES:
            return (1 << 8 * size) - 1
        if register >= BUFFER:
            return self._read_buffer(locality, register - BUFFER, size)
        return read_registers(lambda at: self._register(locality, at), register, size)

    def _read_buffer(self, locality: int, at: int, size: int) -> int:
        if self._localities.active != locality or self._executor.busy:
            return (1 << 8 * size) - 1
        return int.from_bytes(self._buffer[at : at + size], "little")

    def _register(self, locality: int, register: int) -> int:
        buffer = BASE + locality * PAGE + BUFFER
        active = self._localities.active
        if register == LOC_STATE:
            found = STATE_VALID | (0 if self._backend.established else NOT_ESTABLISHED)
            return found if active is None else found | ASSIGNED | active << 2
        if register == LOC_STS:
            seized = BEEN_SEIZED if locality in self._localities.seized else 0
            return seized | (GRANTED if active == locality else 0)
        values = {
            INTERFACE_ID: ID,
            INTERFACE_ID + 4: VENDOR | DEVICE << 16,
            CTRL_STS: (ERROR if self._error else 0) | (IDLE if self._idle else 0),
            CTRL_START: int(self._executor.busy),
            INT_ENABLE: self._interrupts.enable,
            INT_STS: self._interrupts.status,
            CMD_SIZE: BUFFER_SIZE,
            CMD_LADDR: buffer,
            RSP_SIZE: BUFFER_SIZE,
            RSP_LADDR: buffer,
        }
        return values.get(register, 0)

    # Writing

    def write(self, offset: int, size: int, value: int) -> None:
        locality, register = divmod(offset, PAGE)
        if locality >= SOFTWARE_LOCALITIES:
            return
        if register >= BUFFER:
            self._write_buffer(locality, register - BUFFER, value.to_bytes(size, "little"))
            return
        if size > 4:
            self.write(offset, 4, value & 0xFFFF_FFFF)
            self.write(offset + 4, size - 4, value >> 32)
            return
        value <<= 8 * (register & 3)
        register &= ~3
        if register == LOC_CTRL:
            self._control_locality(locality, value)
        elif self._localities.active == locality:
            self._control(locality, register, value)

    def _write_buffer(self, locality: int, at: int, data: bytes) -> None:
        if self._localities.active == locality and not self._executor.busy:
            self._buffer[at : at + len(data)] = data

    def _control_locality(self, locality: int, value: int) -> None:
        found = self._localities
        if value & REQUEST:
            found.seized.discard(locality)
            found.request(locality)
        if value & RELINQUISH:
            if found.active == locality:
                self._abort(found.release)
            else:
                found.withdraw(locality)
        if value & SEIZE and found.may_seize(locality):
            self._abort(lambda: found.seize(locality))
        if value & RESET_ESTABLISHMENT and locality >= 3 and found.active == locality:
            self._backend.reset_established(locality)
            self._interrupts.raise_(INT_ESTABLISHMENT)

    def _abort(self, then: Callable[[], None]) -> None:
        """Leave whatever is being done, and then do that."""

        def idle() -> None:
            self._go_idle()
            then()

        self._executor.abort(idle)

    def _control(self, locality: int, register: int, value: int) -> None:
        if register == CTRL_REQ:
            if value & COMMAND_READY:
                self._executor.abort(self._make_ready)
            elif value & GO_IDLE:
                self._executor.abort(self._go_idle)
        elif register == CTRL_CANCEL:
            if value & 1:
                self._executor.cancel()
        elif register == CTRL_START:
            if value & 1 and not self._idle and not self._executor.busy:
                size = min(max(command_size(self._buffer), HEADER_SIZE), BUFFER_SIZE)
                self._executor.start(bytes(self._buffer[:size]), locality, self._complete)
        elif register == INT_ENABLE:
            self._interrupts.set_enable(value)
        elif register == INT_STS:
            self._interrupts.clear(value)

    def _go_idle(self) -> None:
        self._idle = True
        self._buffer[:] = bytes(BUFFER_SIZE)

    def _make_ready(self) -> None:
        self._idle = False
        self._interrupts.raise_(INT_READY)

    def _complete(self, response: bytes) -> None:
        if len(response) > BUFFER_SIZE:
            self._error = True
        else:
            self._buffer[: len(response)] = response
        self._interrupts.raise_(INT_START)
