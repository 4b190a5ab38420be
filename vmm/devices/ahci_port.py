"""A port of an AHCI controller, with its drive (Serial ATA AHCI 1.3.1, 3.3, 4 and 5).

  00 u64 command list  08 u64 received FISes  10 interrupt status  14 interrupt enable
  18 command and status: 0 start, 1 spin up, 2 power, 3 override, 4 receive FISes, 12:8 slot,
     14 receiving, 15 running, 24 ATAPI
  20 task file  24 signature  28 SATA status  2C SATA control  30 SATA error  38 command issue

  command header  u16 flags (5 ATAPI, 10 clear busy), u16 regions, u32 bytes moved, u64 table
  command table   00 FIS from the host  40 ATAPI command  80 regions
  region          u64 address, u32, u32 bytes - 1 (21:0)
  received FISes  20 PIO set-up  40 register

Commands are carried out one after the other, the lowest slot first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from vmm.backends import SECTOR, BlockOperation
from vmm.devices.ata.action import (
    BSY,
    DRQ,
    ERR,
    PACKET,
    READY,
    Action,
    AwaitPacket,
    CommandError,
    Device,
    Done,
    Flush,
    Reply,
    Transfer,
)
from vmm.devices.ata.requests import Piece, Requests, TooShort, gather
from vmm.memory import GuestAddressError, GuestMemory

LIST, LIST_HIGH, RECEIVED, RECEIVED_HIGH, STATUS, ENABLE, COMMAND = range(0x00, 0x1C, 4)
TASK_FILE, SIGNATURE, SATA_STATUS, SATA_CONTROL, SATA_ERROR, ACTIVE, ISSUE = range(0x20, 0x3C, 4)
START, SPIN_UP, POWER, OVERRIDE, RECEIVE = 1, 2, 4, 8, 16
RECEIVING, RUNNING, IS_ATAPI = 1 << 14, 1 << 15, 1 << 24
WRITABLE: Final = {LIST: 0xFFFF_FC00, RECEIVED: 0xFFFF_FF00, ENABLE: 0xFDC0_00FF}
CAME_REGISTER, CAME_PIO, CONNECT_CHANGED = 1, 2, 1 << 6
OVERFLOWED, HOST_BUS_FATAL, TASK_FILE_ERROR = 1 << 24, 1 << 29, 1 << 30
CONNECTED = 0x123
"""Device there, second generation's speed, active."""
EXCHANGED = 1 << 26
HEADER = struct.Struct("<HHIQ")
REGION = struct.Struct("<QII")
FIS = struct.Struct("<BBBBBBBBBBBBBBBB4x")
HOST_FIS, REGISTER_FIS, PIO_FIS = 0x27, 0x34, 0x5F
FIS_COMMAND, FIS_INTERRUPT, FIS_TO_HOST = 0x80, 0x40, 0x20
HEADER_ATAPI, HEADER_CLEAR_BUSY = 1 << 5, 1 << 10
SOFT_RESET = 4
NOTHING = 0x7F
"""The task file's status before the first FIS from the drive."""


class Port:
    """One port; its drive is always there."""

    def __init__(
        self,
        drive: Device,
        memory: GuestMemory,
        requests: Requests,
        changed: Callable[[], None],
        allowed: Callable[[], bool],
    ) -> None:
        """``changed`` is called when the interrupt status or its enabling has changed; ``allowed``
        says whether the controller may use the bus."""
        self.drive = drive
        self._allowed = allowed
        self._memory = memory
        self._requests = requests
        requests.quiet = self._now_quiet
        self._changed = changed
        self._is_atapi = drive.registers.middle == 0x14
        self._actions: dict[type, Callable[..., None]] = {
            Done: lambda _action: self._complete(),
            Flush: lambda _action: self._requests.flush(self.drive.backend, self._end),
            Reply: self._reply,
            Transfer: self._transfer,
            AwaitPacket: lambda _action: self._packet(),
        }
        self.reset()

    def reset(self) -> None:
        """As after a reset of the controller."""
        self._registers = {LIST: 0, LIST_HIGH: 0, RECEIVED: 0, RECEIVED_HIGH: 0, ENABLE: 0}
        self._status = 0
        self._command = SPIN_UP | POWER
        self._control = 0
        self._error = 0
        self._issued = 0
        self._slot = -1  # whose command is under way
        self._header = self._table = self._regions = 0
        self._pio_in = False
        self._soft_reset = False
        self._halted = False  # by an error, until it is started again
        self._going = False
        self._task_file = NOTHING
        self._requests.forget()
        self._reconnect()

    @property
    def interrupting(self) -> bool:
        return bool(self._status & self._registers[ENABLE])

    @property
    def busy(self) -> bool:
        """Whether a command is under way."""
        return self._slot >= 0 or self._resetting

    # Registers

    def read(self, offset: int) -> int:
        """A register of 32 bits."""
        if offset in self._registers:
            return self._registers[offset]
        registers = self.drive.registers
        if offset == ISSUE:
            return self._issued
        if offset == STATUS:
            return self._status
        if offset == COMMAND:
            return self._read_command()
        if offset == TASK_FILE:
            return self._task_file | (registers.error << 8 if self._task_file & ERR else 0)
        if offset == SIGNATURE:
            return 0xEB14_0101 if self._is_atapi else 0x0000_0101
        if offset == SATA_STATUS:
            return 0 if self._control & 0xF else CONNECTED
        return {SATA_CONTROL: self._control, SATA_ERROR: self._error}.get(offset, 0)

    def _read_command(self) -> int:
        value = self._command | (IS_ATAPI if self._is_atapi else 0)
        if self._command & RECEIVE:
            value |= RECEIVING
        if self._command & START or self._requests.in_flight:
            value |= RUNNING
        return value | max(self._slot, 0) << 8

    def write(self, offset: int, value: int) -> None:
        if offset in self._registers:
            self._registers[offset] = value & WRITABLE.get(offset, 0xFFFF_FFFF)
            self._changed()
        elif offset == STATUS:
            self._status &= ~value
            self._changed()
        elif offset == ISSUE:
            if self._command & START:
                self._issued |= value
                self._go_on()
        elif offset == COMMAND:
            self._write_command(value)
        elif offset == SATA_ERROR:
            self._error &= ~value
        elif offset == SATA_CONTROL:
            self._write_control(value)

    def _write_command(self, value: int) -> None:
        was = self._command
        self._command = value & (START | SPIN_UP | POWER | RECEIVE)
        if value & OVERRIDE and not was & START:
            self._task_file &= ~(BSY | DRQ)
        if was & START and not value & START:
            self._issued, self._slot = 0, -1
            self._halted = False
            self._requests.forget()
            if self._requests.in_flight:
                self._task_file = READY | BSY
        self._go_on()

    def _write_control(self, value: int) -> None:
        was, self._control = self._control, value & 0xFFF
        if value & 0xF == 1:
            self._task_file = NOTHING
            self._issued, self._slot = 0, -1
            self._requests.forget()
        elif was & 0xF == 1 and not value & 0xF:
            self._reconnect()

    # Resets

    def _reconnect(self) -> None:
        """The drive has been found (again), and sends its signature."""
        self._task_file = READY | BSY
        self._resetting = True
        self._error |= EXCHANGED
        self._interrupt(CONNECT_CHANGED)
        self._now_quiet()

    def _now_quiet(self) -> None:
        """No request may write memory any more, so that a reset can end."""
        if self._resetting and not self._requests.in_flight:
            self._resetting = False
            self.drive.reset(hard=True)
            self._announce()
        self._go_on()

    def _announce(self) -> None:
        """Send the signature."""
        self._task_file = 0 if self._is_atapi else READY
        self._send_registers(interrupt=False)

    # Commands

    def _go_on(self) -> None:
        """Begin the next command, if there is one and nothing is in the way."""
        if self._going:
            return  # the loop below is what called
        self._going = True
        while self._issued and self._slot < 0 and self._can_begin():
            self._slot = (self._issued & -self._issued).bit_length() - 1
            try:
                self._begin()
            except GuestAddressError:
                self._stop(HOST_BUS_FATAL)
        self._going = False

    def _can_begin(self) -> bool:
        return (
            bool(self._command & START)
            and not self._halted
            and not self._resetting
            and not self._control & 0xF
            and not self._requests.in_flight
            and self._allowed()
        )

    def _address(self, low: int) -> int:
        return self._registers[low] | self._registers[low + 4] << 32

    def _begin(self) -> None:
        self._header = self._address(LIST) + 32 * self._slot
        flags, self._regions, _, table = self._memory.read_struct(HEADER, self._header)
        self._table = table & ~0x7F
        fis = self._memory.read_struct(FIS, self._table)
        if fis[0] != HOST_FIS:
            self._stop(TASK_FILE_ERROR)
        elif fis[1] & FIS_COMMAND:
            self._take(fis)
            self._attempt(lambda: self._execute(fis[2], bool(flags & HEADER_ATAPI)))
        else:
            self._reset_softly(bool(fis[15] & SOFT_RESET))

    def _take(self, fis: tuple[int, ...]) -> None:
        """Put a FIS into the drive's registers."""
        registers = self.drive.registers
        registers.features = fis[3] | fis[11] << 8
        registers.low, registers.middle, registers.high = (
            fis[4 + i] | fis[8 + i] << 8 for i in range(3)
        )
        registers.device = fis[7]
        registers.count = fis[12] | fis[13] << 8
        registers.error = 0
        self._task_file = READY | BSY
        self._pio_in = False

    def _execute(self, command: int, atapi: bool) -> Action:
        action = self.drive.execute(command)
        if isinstance(action, AwaitPacket) and not atapi:
            raise CommandError
        if isinstance(action, Reply | Transfer):
            reading = isinstance(action, Reply) or action.operation is BlockOperation.READ
            self._pio_in = reading and not action.dma
        return action

    def _attempt(self, begin: Callable[[], Action]) -> None:
        try:
            action = begin()
        except CommandError as error:
            self._fail(error)
            return
        self._actions[type(action)](action)

    def _packet(self) -> None:
        packet = self._memory.read(self._table + 0x40, PACKET)
        self._attempt(lambda: self.drive.packet(packet))

    def _places(self) -> Iterator[tuple[int, int]]:
        at = self._table + 0x80
        for _ in range(self._regions):
            address, _, size = self._memory.read_struct(REGION, at)
            yield address & ~1, (size & 0x3F_FFFF | 1) + 1
            at += REGION.size

    def _gather(self, length: int) -> list[Piece] | None:
        try:
            return gather(self._memory, self._places(), length)
        except TooShort:
            self._stop(OVERFLOWED)
            return None

    def _reply(self, action: Reply) -> None:
        pieces = self._gather(len(action.data))
        if pieces is not None:
            self._requests.fill(pieces, action.data)
            self._count(len(action.data))
            self._complete()

    def _transfer(self, action: Transfer) -> None:
        pieces = self._gather(action.sectors * SECTOR)
        if pieces is None:
            return

        def moved(well: bool) -> None:
            if well:
                self._count(action.sectors * SECTOR)
                self._complete()
            else:
                self._fail(self.drive.failed(action.operation))

        self._requests.move(self.drive.backend, action, pieces, moved)

    def _count(self, size: int) -> None:
        self._memory.write(self._header + 4, struct.pack("<I", size))

    # Ends of commands

    def _end(self, well: bool) -> None:
        if well:
            self._complete()
        else:
            self._fail(self.drive.failed(BlockOperation.WRITE))

    def _complete(self) -> None:
        self._issued &= ~(1 << self._slot)
        self._slot = -1
        self._task_file = READY
        if self._is_atapi:
            self.drive.registers.count = 3
        if self._pio_in and not self._is_atapi:
            self._send_pio()
        else:
            self._send_registers(interrupt=True)
        self._go_on()

    def _fail(self, error: CommandError) -> None:
        registers = self.drive.registers
        registers.error = error.error
        self._task_file = READY | ERR
        if self._is_atapi:
            registers.count = 3
        self._send_registers(interrupt=True)
        self._stop(TASK_FILE_ERROR)

    def _stop(self, why: int) -> None:
        """Wait until the host has seen to an error; its slot stays issued."""
        self._halted = True
        self._slot = -1
        self._interrupt(why)

    def _reset_softly(self, begin: bool) -> None:
        """A FIS of the control register: software reset, which begins and ends by one each."""
        ends = self._soft_reset and not begin
        self._soft_reset = begin
        self._issued &= ~(1 << self._slot)
        self._slot = -1
        self._task_file = READY | BSY
        if ends:
            self.drive.reset(hard=False)
            self._announce()

    # What the drive sends

    def _send(self, at: int, *fis: int) -> None:
        if self._command & RECEIVE:
            try:
                self._memory.write(self._address(RECEIVED) + at, FIS.pack(*fis))
            except GuestAddressError:
                self._stop(HOST_BUS_FATAL)

    def _fields(self) -> tuple[int, ...]:
        """The registers as a FIS has them, from byte 4 on."""
        r = self.drive.registers
        low = (r.low & 0xFF, r.middle & 0xFF, r.high & 0xFF)
        high = (r.low >> 8, r.middle >> 8, r.high >> 8)
        return (*low, r.device, *high, 0, r.count & 0xFF, r.count >> 8, 0)

    def _send_registers(self, interrupt: bool) -> None:
        error = self.drive.registers.error
        flags = FIS_INTERRUPT if interrupt else 0
        self._send(0x40, REGISTER_FIS, flags, self._task_file, error, *self._fields(), 0)
        if interrupt:
            self._interrupt(CAME_REGISTER)

    def _send_pio(self) -> None:
        flags = FIS_INTERRUPT | FIS_TO_HOST
        self._send(0x20, PIO_FIS, flags, READY | DRQ, 0, *self._fields(), READY)
        self._interrupt(CAME_PIO)

    def _interrupt(self, why: int) -> None:
        self._status |= why
        self._changed()
