"""Memory that comes and goes in front of MMIO while the guest runs."""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterator

import pytest

from tests.vmm.rig import Cpu
from vmm.engine.interface import Exit
from vmm.engine.unicorn.engine import UnicornEngine

AT = 0xE000_0000
SIZE = 0x10000


class Windowed(Cpu):
    """Ports choose what is at ``AT``: 10h nothing, 20h and above parts of the memory, 30h and above
    the same parts to be read alone."""

    def __init__(self, kvm: int | None = None) -> None:
        self.window = memoryview(mmap.mmap(-1, 16 * SIZE))
        super().__init__(kvm=kvm)

    def pio_out(self, port: int, size: int, value: int) -> None:
        if port == 0x10:
            self.engine.unmap_window(AT)
        else:
            part, read_only = port & 0xF, port >= 0x30
            self.engine.map_window(AT, self.window, part * SIZE, SIZE, read_only)

    def run_64(self, source: str) -> None:
        self.start_64(source)
        assert self.engine.run() is Exit.HALTED


def _kvm() -> int | None:
    try:
        return os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None


@pytest.fixture(params=["soft", "kvm"])
def cpu(request: pytest.FixtureRequest) -> Iterator[Windowed]:
    kvm = None
    if request.param == "kvm":
        kvm = _kvm()
        if kvm is None:
            pytest.skip("/dev/kvm cannot be opened")
    made = Windowed(kvm)
    yield made
    made.engine.close()
    if kvm is not None:
        os.close(kvm)


def test_a_window_is_memory_while_it_is_there(cpu: Windowed) -> None:
    cpu.run_64(
        f"mov edi, {AT}; mov [rdi], eax; out 0x20, al; mov dword ptr [rdi + 4], 0x1234;"
        "mov ebx, [rdi + 4]; out 0x10, al; mov ecx, [rdi + 4]; hlt"
    )
    assert cpu.engine.get_registers().general[3] == 0x1234
    assert cpu.engine.get_registers().general[1] == 0xFFFF_FFFF
    assert int.from_bytes(cpu.window[4:8], "little") == 0x1234
    assert [entry[:2] for entry in cpu.log] == [("write", AT), ("read", AT + 4)]


def test_parts_of_the_memory_take_turns(cpu: Windowed) -> None:
    cpu.window[::SIZE] = bytes(range(16))
    cpu.run_64(
        f"mov edi, {AT}; xor ebx, ebx;"
        + ";".join(f"out {0x20 + part:#x}, al; shl rbx, 4; or bl, [rdi]" for part in range(16))
        + "; hlt"
    )
    assert cpu.engine.get_registers().general[3] == 0x0123456789ABCDEF
    assert cpu.log == []


def test_windows_come_and_go_for_long_without_cost(cpu: Windowed) -> None:
    cpu.run_64(
        f"mov edi, {AT}; mov ecx, 2000; again: out 0x21, al; mov [rdi], ecx; out 0x10, al;"
        "out 0x22, al; mov [rdi], ecx; dec ecx; jnz again; hlt"
    )
    assert cpu.window[SIZE] == 1
    assert cpu.window[2 * SIZE] == 1
    assert cpu.log == []


def test_code_in_a_window_can_be_changed() -> None:
    cpu = Windowed()
    cpu.window[:3] = bytes.fromhex("b001c3")  # mov al, 1; ret
    cpu.run_64(
        f"mov edi, {AT}; out 0x20, al; call rdi; mov bl, al; mov byte ptr [rdi + 1], 7;"
        "call rdi; hlt"
    )
    assert (cpu.engine.get_registers().general[3] & 0xFF, cpu.rax & 0xFF) == (1, 7)
    cpu.engine.close()


def test_a_read_only_window_keeps_what_it_shows(cpu: Windowed) -> None:
    cpu.window[:4] = b"kept"
    cpu.run_64(
        f"mov edi, {AT}; out 0x30, al; mov dword ptr [rdi], 5; mov byte ptr [rdi + 3], 5;"
        "mov ebx, [rdi]; out 0x20, al; mov byte ptr [rdi], 0x4b; hlt"
    )
    assert cpu.engine.get_registers().general[3].to_bytes(4, "little") == b"kept"
    assert bytes(cpu.window[:4]) == b"Kept"


def test_code_runs_in_a_read_only_window_and_may_be_changed_in_another() -> None:
    cpu = Windowed()
    cpu.window[:3] = bytes.fromhex("b001c3")  # mov al, 1; ret
    cpu.run_64(
        f"mov edi, {AT}; out 0x30, al; call rdi; mov bl, al; out 0x20, al;"
        "mov byte ptr [rdi + 1], 7; out 0x30, al; call rdi; hlt"
    )
    assert (cpu.engine.get_registers().general[3] & 0xFF, cpu.rax & 0xFF) == (1, 7)
    cpu.engine.close()


def test_no_two_pieces_of_memory_have_one_address_in_the_library() -> None:
    """A small piece, a large one, then windows: the library itself would give addresses twice."""
    cpu = Windowed()
    cpu.engine.close()
    cpu.engine = engine = UnicornEngine(cpu)
    for start, end in ((0, 0x20000), (0x20000, 4 << 20)):
        engine.map_ram(start, cpu.memory.buffer, start, end - start)
    engine.map_mmio(4 << 20, (1 << 52) - (4 << 20))
    code = bytes.fromhex("b001c3")  # mov al, 1; ret
    cpu.memory.write(0x21000, code)
    cpu.window[0x1000 : 0x1000 + 3] = bytes.fromhex("b002c3")
    cpu.window[SIZE + 0x1000 : SIZE + 0x1000 + 3] = bytes.fromhex("b003c3")
    cpu.run_64(
        f"mov edi, 0x21000; mov esi, {AT + 0x1000}; xor ebx, ebx;"
        "call rdi; mov bl, al; out 0x20, al; call rsi; shl ebx, 8; mov bl, al;"
        "out 0x21, al; call rsi; shl ebx, 8; mov bl, al; hlt"
    )
    assert cpu.engine.get_registers().general[3] == 0x010203
    pieces = sorted((start + at, end + at) for start, end, at in engine._ram_map)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(pieces))
    cpu.engine.close()
