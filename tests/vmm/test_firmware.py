"""Machines that start from a BIOS: our own few instructions, and SeaBIOS if its image is there."""

from __future__ import annotations

import mmap
import struct

import pytest

from images import cache
from images.recipes import grub_disk, seabios
from tests.vmm.backends import FileBlock, MemoryBlock
from tests.vmm.boot.test_measured_boot import new_tpm, pcrs
from tests.vmm.rig import Recorder, assemble
from tpm.eventlog import SHA256, parse, replay
from vmm.acpi import loader, tables
from vmm.backends import Backends, Block, Firmware, Tpm
from vmm.board import Board
from vmm.boot import BootError
from vmm.boot.measure import LOG_SIZE
from vmm.config import MIB, VmConfig
from vmm.memory import GuestMemory
from vmm.outcome import End
from vmm.pacer import Waiter
from vmm.snapshot import machine

BIOS = cache.image(seabios.NAME) / seabios.BIOS
LINUX_ROM = cache.image(seabios.NAME) / seabios.LINUX_ROM
DISK = cache.image(grub_disk.NAME) / "disk.img"
needs_seabios = pytest.mark.skipif(
    not BIOS.is_file(), reason=f"needs {BIOS}; to enable: cloister images fetch seabios"
)
needs_disk = pytest.mark.skipif(
    not (BIOS.is_file() and DISK.is_file()),
    reason="to enable: cloister images fetch seabios, cloister images fetch grub-disk",
)
OFF = "mov dx, 0x604; mov ax, 0x3400; out dx, ax; hlt"


class Machine:
    """A board that starts from a BIOS; a text that is seen at either output ends the run."""

    def __init__(
        self,
        bios: bytes,
        *blocks: Block,
        until: bytes = b"",
        menu: bool = False,
        restart: bool = False,
        memory: int = 64 * MIB,
        apic: bool = False,
        tpm: Tpm | None = None,
    ) -> None:
        self.serial, self.log = Recorder(), Recorder()
        waiter = Waiter()
        firmware = Firmware(
            bios, log=self.log, menu=menu, order=tuple(("block", i) for i in range(len(blocks)))
        )
        self.board = Board(
            VmConfig(memory=memory, restart_on_reset=restart, apic=apic),
            GuestMemory(memoryview(mmap.mmap(-1, memory))),
            Backends(self.serial, blocks, tpm=tpm, firmware=firmware),
            idle=waiter.idle,
            wake=waiter.wake,
        )
        for output in (self.serial, self.log):
            output.heard = lambda text: self.board.stop() if until and until in text else None

    def run(self) -> End:
        self.board.load_bios()
        end = self.board.run().end
        self.board.close()
        return end


def rom(source: str, size: int = 128 << 10) -> bytes:
    """A BIOS that jumps from the reset vector to some 16-bit code at F000:0000."""
    image = bytearray(size)
    code = assemble(source, 0, 16)
    image[size - 0x10000 : size - 0x10000 + len(code)] = code
    image[size - 16 : size - 11] = bytes.fromhex("ea000000f0")
    return bytes(image)


PM_ON = (
    "mov dx, 0xcf8; mov eax, 0x80000b40; out dx, eax; mov dx, 0xcfc; mov eax, 0x601; out dx, eax;"
    "mov dx, 0xcf8; mov eax, 0x80000b80; out dx, eax; mov dx, 0xcfc; mov al, 1; out dx, al;"
)


def test_a_processor_starts_at_the_reset_vector() -> None:
    hello = "".join(f"mov al, {octet}; out dx, al;" for octet in b"up\n")
    found = Machine(rom(f"mov dx, 0x402; {hello} {PM_ON} {OFF}"))
    assert found.run() is End.POWER_OFF
    assert found.log.text == "up\n"


def test_a_reset_starts_again_from_rom() -> None:
    """The first time round a byte of the shadow is changed and the machine reset; what it is then
    is said.  After the second time, which a byte of CMOS remembers, the machine is off."""
    shadow = (
        "mov dx, 0xcf8; mov eax, 0x80000058; out dx, eax; mov dx, 0xcfd; mov al, 0x30; out dx, al;"
    )
    source = (
        "mov ax, 0xf000; mov ds, ax; mov dx, 0x402; mov al, [0x8000]; add al, 0x30; out dx, al;"
        "mov al, 10; out dx, al; mov ax, 0x4000; mov es, ax; cmp byte ptr es:[0], 7;"
        f"{shadow} mov byte ptr [0x8000], 5; mov dx, 0x402; mov al, [0x8000]; add al, 0x30;"
        "out dx, al; mov al, 10; out dx, al; mov dx, 0xcf9; mov al, 6; out dx, al; hlt"
    )
    found = Machine(rom(source), until=b"0\n5\n0\n", restart=True)
    assert found.run() is End.STOPPED
    assert found.log.text.startswith("0\n5\n0\n")


@pytest.mark.parametrize("bios", [b"", bytes(1 << 12), bytes((1 << 17) + 1), bytes(32 << 20)])
def test_what_is_no_bios_is_refused(bios: bytes) -> None:
    with pytest.raises(BootError, match="the BIOS has"):
        Machine(bios)


def test_tables_for_the_loader_add_up_after_it() -> None:
    """The loader's commands, carried out here, make what ``build`` makes."""
    area = loader.Area("etc/log", 4096, b"TEST", 40)
    made = tables.assemble((1, 2, 3, 4), [tables.table(b"TEST", 1, bytes(16))])
    files = loader.files(made, [area])
    places = {loader.ROOT: 0xF_0000, loader.TABLES: 0x20_0000, "etc/log": 0x30_0000}
    memory = {name: bytearray(files[name]) for name in places}
    commands = files[loader.COMMANDS]
    allocated = []
    for at in range(0, len(commands), 128):
        command = commands[at : at + 128]
        kind, file = command[0], command[4:60].rstrip(b"\0").decode()
        if kind == 1:
            allocated.append(file)
        elif kind == 2:
            target = command[60:116].rstrip(b"\0").decode()
            offset, size = int.from_bytes(command[116:120], "little"), command[120]
            field = memory[file][offset : offset + size]
            value = int.from_bytes(field, "little") + places[target]
            memory[file][offset : offset + size] = value.to_bytes(size, "little")
        else:
            offset, start, length = (
                int.from_bytes(command[i : i + 4], "little") for i in (60, 64, 68)
            )
            data = memory[file]
            data[offset] = data[offset] - sum(data[start : start + length]) & 0xFF
    assert sorted(allocated) == sorted(places)
    root, data = memory[loader.ROOT], memory[loader.TABLES]
    assert sum(root[:20]) & 0xFF == sum(root) & 0xFF == 0
    for start, length in made.image.tables:
        assert sum(data[start : start + length]) & 0xFF == 0
    test = int.from_bytes(data[made.rsdt + 40 : made.rsdt + 44], "little") - places[loader.TABLES]
    assert data[test : test + 4] == b"TEST"
    assert int.from_bytes(data[test + 40 : test + 48], "little") == places["etc/log"]
    fixed = bytearray(made.image.located(places[loader.TABLES]))
    at = test + 40
    fixed[at : at + 8] = places["etc/log"].to_bytes(8, "little")
    fixed[test + 9] = data[test + 9]
    assert bytes(fixed) == bytes(data)


@needs_seabios
def test_seabios_finds_the_board() -> None:
    found = Machine(BIOS.read_bytes(), MemoryBlock(4096), until=b"not a bootable disk")
    assert found.run() is End.STOPPED
    log = found.log.text
    for line in (
        "Running on QEMU (i440fx)",
        "QEMU fw_cfg DMA interface supported",
        "PIIX3/PIIX4 init",
        "Using pmtimer, ioport 0x608",
        "/pci@i0cf8/scsi@2/disk@0,0",
    ):
        assert line in log
    assert "Booting from Hard Disk" in found.serial.text


@needs_seabios
def test_seabios_asks_what_to_boot_from() -> None:
    found = Machine(
        BIOS.read_bytes(), MemoryBlock(4096), until=b"Press ESC for boot menu", menu=True
    )
    assert found.run() is End.STOPPED


@needs_seabios
def test_seabios_survives_a_reset() -> None:
    """A boot sector that resets the machine: SeaBIOS comes up again and again."""
    disk = MemoryBlock(4096)
    sector = assemble("mov dx, 0xcf9; mov al, 6; out dx, al; hlt", 0x7C00, 16)
    disk.data[: len(sector)] = sector
    disk.data[510:512] = b"\x55\xaa"
    found = Machine(BIOS.read_bytes(), disk, restart=True)
    starts = b"SeaBIOS (version"

    def heard(text: bytes) -> None:
        if text.count(starts) >= 3:
            found.board.stop()

    found.serial.heard = heard
    assert found.run() is End.STOPPED
    assert found.serial.text.count(starts.decode()) >= 3


@needs_disk
def test_grub_starts_the_kernel_on_a_disk() -> None:
    found = Machine(
        BIOS.read_bytes(),
        FileBlock(DISK, read_only=True),
        until=b"Run /init as init process",
        memory=256 * MIB,
    )
    assert found.run() is End.STOPPED
    assert "GRUB" in found.serial.text
    assert "Linux version 6" in found.serial.text


@needs_seabios
@pytest.mark.parametrize("apic", [False, True])
def test_firmware_goes_on_in_another_board(apic: bool) -> None:
    bios, menu, end = BIOS.read_bytes(), b"Press ESC for boot menu", b"not a bootable disk"
    first = Machine(bios, MemoryBlock(4096), until=menu, menu=True, apic=apic)
    first.board.load_bios()
    first.board.run()
    saved, memory = machine.save(first.board), bytes(first.board.memory.buffer)
    first.board.close()
    second = Machine(bios, MemoryBlock(4096), until=end, menu=True, apic=apic)
    second.board.load_bios()
    second.board.memory.buffer[:] = memory
    machine.restore(second.board, saved)
    assert second.board.run().end is End.STOPPED
    second.board.close()
    assert "SeaBIOS (version" not in second.serial.text
    assert "Booting from Hard Disk" in second.serial.text


@needs_seabios
def test_seabios_measures_into_a_tpm() -> None:
    """It leaves a log where the table says, and the PCRs are what the log says."""
    tpm = new_tpm()
    found = Machine(BIOS.read_bytes(), MemoryBlock(4096), until=b"not a bootable disk", tpm=tpm)
    assert found.run() is End.STOPPED
    memory = found.board.memory
    table = memory.read(0, memory.size).rindex(b"TPM2")
    (at,) = struct.unpack_from("<Q", memory.read(table + 68, 8))
    events = parse(memory.read(at, LOG_SIZE)).events
    assert len(events) > 8
    values = replay(events, SHA256)
    assert pcrs(tpm, SHA256, 32) == {number: values[number] for number in range(16)}
