"""An IDE channel: two drives behind one set of registers (ATA/ATAPI-7 volume 2, 9 and 10).

  offset    read              written
  0         data              data
  1         error             features
  2         sector count, or interrupt reason (0: command or data, 1: to the host)
  3 4 5     LBA low, middle, high; 4 and 5: byte count of packet commands
  6         device: 6 LBA, 4 drive 1, 3:0 head
  7         status            command
  control   alternate status  device control: 7 HOB, 2 SRST, 1 nIEN

Both drives take what is written to the registers, the one that is selected answers.  The host never
waits in here: a drive is BSY while its backend is at work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from vmm.backends import SECTOR, BlockOperation
from vmm.devices.ata.action import (
    ABRT,
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
from vmm.devices.ata.requests import Piece, Requests, TooShort
from vmm.memory import GuestAddressError

HOB, SOFT_RESET, NO_INTERRUPT = 0x80, 0x04, 0x02
DRIVE_1 = 0x10
COMMAND_DATA, TO_HOST = 1, 2
"""Interrupt reason: a command packet or a status and not data; from drive to host."""
DIAGNOSE, DEVICE_RESET = 0x90, 0x08
CHUNK = 256 * SECTOR
"""Bytes that are fetched or kept at a time for a host that moves them itself."""
FLOATING = 0xFF


class Master(Protocol):
    """The DMA engine beside a channel."""

    active: bool

    def gather(self, length: int) -> list[Piece]:
        """Where the transfer's bytes go; raises ``TooShort`` and ``GuestAddressError``."""

    def finished(self) -> None: ...

    def failed(self, broken: bool) -> None:
        """The transfer stops early; ``broken``: because of an address."""

    def interrupted(self) -> None: ...


class Channel:
    """One channel."""

    def __init__(
        self,
        drives: Sequence[Device | None],
        requests: Requests,
        irq: Callable[[bool], None],
        master: Master,
    ) -> None:
        self._drives = tuple(drives)
        self._present = [drive for drive in drives if drive is not None]
        self._requests = requests
        requests.quiet = self._now_quiet
        self._irq = irq
        self._master = master
        self._selected = 0
        self._control = 0
        self._pending = False  # the interrupt
        self._resetting = False
        self._clear()
        self._actions: dict[type, Callable[..., None]] = {
            Done: lambda _drive, _action: self._finish(),
            Flush: self._flush,
            Reply: self._reply,
            Transfer: self._transfer,
            AwaitPacket: self._await_packet,
        }

    def _clear(self) -> None:
        """No command is under way."""
        self._packet = False  # it is a packet command
        self._dma: Reply | Transfer | None = None  # waits for the bus master
        self._data: bytearray | memoryview = memoryview(b"")
        self._at = self._limit = 0  # the part of the data that the host may move now
        self._block = SECTOR
        self._writing = False
        self._next_sector = self._sectors_left = 0
        self._durable = False

    @property
    def busy(self) -> bool:
        """Whether a command is under way."""
        return any(drive.registers.status & (BSY | DRQ) for drive in self._present)

    # Registers

    def read(self, offset: int) -> int:
        """A register of the command block but the data's."""
        drive = self._drives[self._selected]
        if drive is None:
            return 0 if self._present else FLOATING
        registers = drive.registers
        if offset == 7:
            if self._pending:
                self._interrupt(False)
            return registers.status
        if offset == 6:
            return registers.device | 0xA0 | (DRIVE_1 if self._selected else 0)
        if offset == 1:
            return registers.error
        value = (registers.count, registers.low, registers.middle, registers.high)[offset - 2]
        return value >> 8 if self._control & HOB else value & 0xFF

    def read_control(self, _offset: int) -> int:
        """The alternate status."""
        drive = self._drives[self._selected]
        if drive is None:
            return 0 if self._present else FLOATING
        return drive.registers.status

    def write(self, offset: int, value: int) -> None:
        self._control &= ~HOB
        if offset == 7:
            self._command(value)
            return
        if self.busy:
            return  # a drive that is at work does not listen
        if offset == 6:
            self._selected = value >> 4 & 1
        for drive in self._present:
            registers = drive.registers
            if offset == 1:
                registers.features = (registers.features << 8 | value) & 0xFFFF
            elif offset == 2:
                registers.count = (registers.count << 8 | value) & 0xFFFF
            elif offset == 3:
                registers.low = (registers.low << 8 | value) & 0xFFFF
            elif offset == 4:
                registers.middle = (registers.middle << 8 | value) & 0xFFFF
            elif offset == 5:
                registers.high = (registers.high << 8 | value) & 0xFFFF
            else:
                registers.device = value & ~DRIVE_1

    def write_control(self, _offset: int, value: int) -> None:
        was, self._control = self._control, value & (HOB | SOFT_RESET | NO_INTERRUPT)
        if value & SOFT_RESET and not was & SOFT_RESET:
            self._selected = 0
            self._requests.forget()
            self._clear()
            for drive in self._present:
                drive.registers.status = BSY
            self._interrupt(False)
        elif was & SOFT_RESET and not value & SOFT_RESET:
            if self._requests.in_flight:
                self._resetting = True  # drives stay BSY as long as memory may be written
            else:
                self._reset_drives()
        self._drive_irq()

    def _now_quiet(self) -> None:
        if self._resetting:
            self._reset_drives()

    def _reset_drives(self) -> None:
        self._resetting = False
        self._clear()
        for drive in self._present:
            drive.reset(hard=False)
        self._interrupt(False)

    # Interrupts

    def _interrupt(self, pending: bool) -> None:
        if pending and not self._pending:
            self._master.interrupted()
        self._pending = pending
        self._drive_irq()

    def _drive_irq(self) -> None:
        self._irq(self._pending and not self._control & NO_INTERRUPT)

    # Commands

    def _command(self, command: int) -> None:
        if self._control & SOFT_RESET:
            return
        drive = self._drives[self._selected]
        if command == DIAGNOSE and self._present and not self.busy:
            self._selected = 0
            self._reset_drives()
            self._interrupt(True)
            return
        if drive is None or self.busy:
            return  # DEVICE RESET, too: what is under way may still write memory
        self._interrupt(False)
        self._clear()
        registers = drive.registers
        registers.error = 0
        registers.status = BSY
        self._attempt(drive, lambda: drive.execute(command))
        if command == DEVICE_RESET and not registers.status & ERR:
            registers.status = 0
            self._interrupt(False)

    def _attempt(self, drive: Device, begin: Callable[[], Action]) -> None:
        try:
            action = begin()
        except CommandError as error:
            self._fail(error)
            return
        self._actions[type(action)](drive, action)

    @property
    def _drive(self) -> Device:
        """The drive that a command was given to."""
        drive = self._drives[self._selected]
        assert drive is not None
        return drive

    def _finish(self) -> None:
        """The command ended well."""
        registers = self._drive.registers
        if self._packet:
            registers.count = COMMAND_DATA | TO_HOST
        registers.status = READY
        self._clear()
        self._interrupt(True)

    def _fail(self, error: CommandError) -> None:
        registers = self._drive.registers
        if self._packet:
            registers.count = COMMAND_DATA | TO_HOST
        registers.error = error.error
        registers.status = READY | ERR
        self._clear()
        self._interrupt(True)

    def _end(self, well: bool, operation: BlockOperation = BlockOperation.WRITE) -> None:
        if well:
            self._finish()
        else:
            self._fail(self._drive.failed(operation))

    def _flush(self, drive: Device, _action: Flush) -> None:
        self._requests.flush(drive.backend, self._end)

    # DMA

    def _await_dma(self, action: Reply | Transfer) -> None:
        self._drive.registers.status = READY | DRQ
        if self._packet:
            self._drive.registers.count = TO_HOST
        self._dma = action
        if self._master.active:
            self.start_dma()

    def start_dma(self) -> None:
        """The bus master is active."""
        action, self._dma = self._dma, None
        if action is None:
            return
        drive = self._drive
        reply = isinstance(action, Reply)
        length = len(action.data) if isinstance(action, Reply) else action.sectors * SECTOR
        try:
            pieces = self._master.gather(length)
        except TooShort:
            self._master.failed(broken=False)
            return  # the drive has more to move, and waits until it is reset
        except GuestAddressError:
            self._master.failed(broken=True)
            self._fail(CommandError(ABRT))
            return
        if reply and isinstance(action, Reply):
            self._requests.fill(pieces, action.data)
            self._master.finished()
            self._finish()
            return
        assert isinstance(action, Transfer)
        drive.registers.status = BSY
        operation = action.operation

        def moved(well: bool) -> None:
            self._master.finished()
            self._end(well, operation)

        self._requests.move(drive.backend, action, pieces, moved)

    # Data that the host moves itself

    def _await_packet(self, drive: Device, _action: AwaitPacket) -> None:
        self._packet = True
        drive.registers.count = COMMAND_DATA
        self._data = bytearray(PACKET)
        self._writing, self._at, self._limit = True, 0, PACKET
        drive.registers.status = READY | DRQ

    def _reply(self, _drive: Device, action: Reply) -> None:
        if action.dma:
            self._await_dma(action)
            return
        self._data, self._block = memoryview(action.data), action.block
        self._at = self._limit = 0
        self._writing = False
        self._offer()

    def _transfer(self, _drive: Device, action: Transfer) -> None:
        if action.dma:
            self._await_dma(action)
            return
        self._block, self._durable = action.block, action.durable
        self._next_sector, self._sectors_left = action.sector, action.sectors
        self._writing = action.operation is BlockOperation.WRITE
        if self._writing:
            self._collect()
        else:
            self._fetch()

    def _offer(self) -> None:
        """Let the host have the next block of what is here."""
        registers = self._drive.registers
        size = min(self._block, len(self._data) - self._limit)
        self._limit += size
        if self._packet:
            registers.count = TO_HOST
            registers.middle, registers.high = size & 0xFF, size >> 8
        registers.status = READY | DRQ
        self._interrupt(True)

    def _fetch(self) -> None:
        """Read the next chunk from the medium."""
        drive = self._drive
        drive.registers.status = BSY
        size = min(self._sectors_left * SECTOR, CHUNK)
        sector = self._next_sector
        self._data = memoryview(bytearray(size))
        self._at = self._limit = 0
        self._next_sector += size // SECTOR
        self._sectors_left -= size // SECTOR

        def fetched(well: bool) -> None:
            if well:
                self._offer()
            else:
                self._fail(drive.failed(BlockOperation.READ))

        self._requests.submit(
            drive.backend, BlockOperation.READ, sector, (memoryview(self._data),), fetched
        )

    def _collect(self) -> None:
        """Take the next chunk from the host."""
        self._data = memoryview(bytearray(min(self._sectors_left * SECTOR, CHUNK)))
        self._at = 0
        self._limit = min(self._block, len(self._data))
        self._drive.registers.status = READY | DRQ

    def read_data(self, _port: int, size: int) -> int:
        """The data register; it is as wide as the access."""
        at = self._at
        end = at + size
        if end > self._limit or self._writing:
            return self._read_odd(size)
        self._at = end
        value = int.from_bytes(self._data[at:end], "little")
        if end == self._limit:
            self._taken()
        return value

    def _read_odd(self, size: int) -> int:
        """More than there is: the last bytes, and zeros."""
        if self._writing or self._at == self._limit:
            return 0 if self._present else (1 << 8 * size) - 1
        value = int.from_bytes(self._data[self._at : self._limit], "little")
        self._at = self._limit
        self._taken()
        return value

    def _taken(self) -> None:
        """The host has read a block."""
        if self._limit < len(self._data):
            self._offer()
        elif self._sectors_left:
            self._fetch()
        elif self._packet:
            self._finish()
        else:
            self._drive.registers.status = READY
            self._clear()

    def write_data(self, _port: int, size: int, value: int) -> None:
        at = self._at
        limit = self._limit
        if at >= limit or not self._writing:
            return
        end = min(at + size, limit)
        self._data[at:end] = value.to_bytes(size, "little")[: end - at]
        self._at = end
        if end == limit:
            self._given()

    def _given(self) -> None:
        """The host has written a block."""
        drive = self._drive
        if self._packet:
            packet = bytes(self._data)
            self._writing, self._at, self._limit = False, 0, 0
            drive.registers.status = BSY
            self._attempt(drive, lambda: drive.packet(packet))
            return
        if self._limit < len(self._data):
            self._limit = min(self._limit + self._block, len(self._data))
            self._interrupt(True)
            return
        self._at = self._limit = 0
        drive.registers.status = BSY
        sector, size = self._next_sector, len(self._data) // SECTOR
        self._next_sector += size
        self._sectors_left -= size
        views = (memoryview(self._data),)
        self._requests.submit(drive.backend, BlockOperation.WRITE, sector, views, self._stored)

    def _stored(self, well: bool) -> None:
        if not well:
            self._end(well)
        elif self._sectors_left:
            self._collect()
            self._interrupt(True)
        elif self._durable:
            self._requests.flush(self._drive.backend, self._end)
        else:
            self._finish()
