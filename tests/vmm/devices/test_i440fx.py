"""The host bridge: what is seen between 768 KiB and 1 MiB (290549, 3.2.15)."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import Cpu
from vmm.bus import MmioBus
from vmm.devices.i440fx import END, PAM, SMRAM, START, I440fx
from vmm.engine.interface import Exit
from vmm.engine.unicorn.engine import UnicornEngine
from vmm.memory import GuestMemory

ROM_SIZE = 0x2_0000


class Windows:
    """What is shown where, instead of an engine."""

    def __init__(self) -> None:
        self.shown: dict[int, tuple[memoryview, int, int, bool]] = {}

    def map_window(
        self, gpa: int, buffer: memoryview, offset: int, length: int, read_only: bool = False
    ) -> None:
        self.shown[gpa] = buffer, offset, length, read_only

    def unmap_window(self, gpa: int) -> None:
        self.shown.pop(gpa, None)


class Bench:
    """Reads and writes as a processor does: through a window, if there is one."""

    def __init__(self) -> None:
        self.ram = memoryview(bytearray(1 << 20))
        self.rom = memoryview(b"\x55" * ROM_SIZE)
        self.windows, self.mmio = Windows(), MmioBus()
        self.bridge = I440fx(self.windows, self.mmio, self.ram, self.rom)

    def read(self, address: int) -> int:
        for start, (buffer, offset, length, _) in self.windows.shown.items():
            if start <= address < start + length:
                return buffer[offset + address - start]
        return self.mmio.read(address, 1)

    def write(self, address: int, value: int) -> None:
        for start, (buffer, offset, length, read_only) in self.windows.shown.items():
            if start <= address < start + length:
                if not read_only:
                    buffer[offset + address - start] = value
                return
        self.mmio.write(address, 1, value)

    def set_pam(self, register: int, value: int) -> None:
        self.bridge.write_config(PAM + register, 1, value)


def test_rom_is_seen_after_power_on() -> None:
    bench = Bench()
    bench.write(0xF_FFF0, 1)
    assert [bench.read(at) for at in (0xC_0000, 0xD_FFFF, 0xE_0000, 0xF_FFF0)] == [
        *(0xFF, 0xFF),
        *(0x55, 0x55),
    ]
    assert not any(bench.ram)


def test_a_bios_copies_itself_in_place() -> None:
    bench = Bench()
    bench.set_pam(0, 0x20)  # reads from ROM, writes to RAM
    for address in range(0xF_0000, 0xF_0010):
        bench.write(address, bench.read(address) ^ 1)
    assert bench.read(0xF_0000) == 0x55
    bench.set_pam(0, 0x30)
    assert bench.read(0xF_0000) == 0x54
    bench.write(0xF_0000, 7)
    bench.set_pam(0, 0x10)
    bench.write(0xF_0000, 8)
    assert bench.read(0xF_0000) == 7


def test_halves_of_a_register_are_neighbours() -> None:
    bench = Bench()
    bench.set_pam(1, 0x03)
    bench.write(0xC_0000, 1)
    bench.write(0xC_4000, 2)
    assert (bench.ram[0xC_0000], bench.ram[0xC_4000]) == (1, 0)
    bench.set_pam(1, 0x30)
    bench.write(0xC_0000, 3)
    bench.write(0xC_4000, 4)
    assert (bench.ram[0xC_0000], bench.ram[0xC_4000]) == (1, 4)


def test_smram_can_be_locked() -> None:
    bench = Bench()
    bench.bridge.write_config(SMRAM, 1, 0x4A)
    assert bench.bridge.read_config(SMRAM, 1) == 0x4A
    bench.bridge.write_config(SMRAM, 1, 0x1A)
    bench.bridge.write_config(SMRAM, 1, 0x42)
    assert bench.bridge.read_config(SMRAM, 1) == 0x1A


def test_code_runs_where_the_registers_say() -> None:
    cpu = _Split()
    memory = GuestMemory(cpu.memory.buffer)
    rom = memoryview(mmap.mmap(-1, ROM_SIZE))
    rom[:3] = bytes.fromhex("b001c3")  # mov al, 1; ret
    memory.write(0xE_0000, bytes.fromhex("b002c3"))
    mmio = MmioBus()
    bridge = I440fx(cpu.engine, mmio, memory.buffer, rom)
    cpu.port = lambda value: bridge.write_config(PAM + 5, 1, value)
    cpu.start_64(
        "mov edi, 0xe0000; xor ebx, ebx; call rdi; mov bl, al; mov al, 0x11; out 0x10, al;"
        "call rdi; mov bh, al; mov byte ptr [rdi + 1], 9; mov al, 0x33; out 0x10, al;"
        "mov byte ptr [rdi + 1], 3; call rdi; mov ecx, eax; hlt"
    )
    assert cpu.engine.run() is Exit.HALTED
    registers = cpu.engine.get_registers()
    assert (registers.general[3], registers.general[1] & 0xFF) == (0x0201, 3)
    assert rom[1] == 1
    cpu.engine.close()


class _Split(Cpu):
    """A processor with no RAM of its own where the bridge's windows are."""

    def __init__(self) -> None:
        super().__init__()
        self.engine.close()
        self.port: Callable[[int], None] = lambda _value: None
        self.engine = UnicornEngine(self)
        buffer = self.memory.buffer
        self.engine.map_ram(0, buffer, 0, START)
        self.engine.map_mmio(START, END - START)
        self.engine.map_ram(END, buffer, END, len(buffer) - END)
        self.engine.map_mmio(len(buffer), (1 << 52) - len(buffer))

    def pio_out(self, port: int, size: int, value: int) -> None:
        self.port(value)


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFF_FFFF)),
        max_size=40,
    ),
    st.lists(st.tuples(st.integers(0, END - START - 4), st.integers(0, 0xFFFF_FFFF))),
)
def test_no_access_breaks_it(
    configuration: list[tuple[int, int, int]], accesses: list[tuple[int, int]]
) -> None:
    bench = Bench()
    for offset, size, value in configuration:
        if offset + size <= 256:
            bench.bridge.write_config(offset, size, value & (1 << 8 * size) - 1)
    for offset, value in accesses:
        bench.mmio.write(START + offset, 4, value)
        assert 0 <= bench.mmio.read(START + offset, 4) < 1 << 32
    assert bytes(bench.rom) == b"\x55" * ROM_SIZE
    assert not any(bench.ram[:START])
