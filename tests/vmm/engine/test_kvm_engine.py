"""The KVM engine on what every KVM executes: small guests, most of them in real mode.

A KVM that emulates processors may be unable to execute more; `probe` finds that out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from tests.vmm.rig import Cpu
from vmm.engine import choose, create
from vmm.engine.interface import EngineError, Exit
from vmm.engine.kvm import probe
from vmm.engine.kvm.engine import prepare


def _descriptor() -> int:
    try:
        return os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return -1


KVM = _descriptor()
pytestmark = pytest.mark.skipif(KVM < 0, reason="there is no /dev/kvm that may be opened")


@pytest.fixture(name="cpu")
def _cpu() -> Iterator[Cpu]:
    prepare()
    cpu = Cpu(kvm=KVM)
    yield cpu
    cpu.engine.close()


HANDLER = 0x7D00
INTERRUPT_40 = "xor ax, ax; mov ds, ax; mov word ptr [0x100], 0x7d00; mov word ptr [0x102], 0; sti;"
RETURN = b"\xbb\x34\x12\xcf"  # mov bx, 0x1234; iret


def test_ports(cpu: Cpu) -> None:
    cpu.start_16("mov dx, 0x1f0; in al, dx; in ax, dx; in eax, dx; out 0x80, al; out dx, eax; hlt")
    assert cpu.engine.run() is Exit.HALTED
    assert cpu.log == [
        ("in", 0x1F0, 1),
        ("in", 0x1F0, 2),
        ("in", 0x1F0, 4),
        ("out", 0x80, 1, 0x5A),
        ("out", 0x1F0, 4, 0x5A5A_5A5A),
    ]


def test_strings_of_ports(cpu: Cpu) -> None:
    cpu.memory.write(0x6000, bytes(range(5)))
    cpu.start_16("xor ax, ax; mov ds, ax; mov si, 0x6000; mov cx, 5; mov dx, 0x3f8; rep outsb; hlt")
    assert cpu.engine.run() is Exit.HALTED
    assert cpu.log == [("out", 0x3F8, 1, value) for value in range(5)]


def test_device_memory(cpu: Cpu) -> None:
    cpu.start_64(
        "mov rbx, 0xf0000000; mov eax, [rbx]; mov byte ptr [rbx + 1], 7; mov rcx, [rbx]; hlt"
    )
    assert cpu.engine.run() is Exit.HALTED, cpu.engine.error
    assert ("read", cpu.MMIO, 4) in cpu.log
    assert ("write", cpu.MMIO + 1, 1, 7) in cpu.log
    assert cpu.engine.get_registers().general[1] == (1 << 64) - 1


def test_halt_waits_for_an_interrupt(cpu: Cpu) -> None:
    cpu.start_16(f"{INTERRUPT_40} hlt; mov cx, 7; cli; hlt")
    cpu.memory.write(HANDLER, RETURN)
    assert cpu.engine.run() is Exit.HALTED
    assert cpu.engine.run() is Exit.HALTED
    assert cpu.engine.get_registers().general[1] != 7
    cpu.interrupt(0x40)
    assert cpu.engine.run() is Exit.HALTED
    registers = cpu.engine.get_registers()
    assert (registers.general[1], registers.general[3]) == (7, 0x1234)


def test_an_interrupt_waits_for_the_flag(cpu: Cpu) -> None:
    cpu.start_16(f"cli; mov cx, 1; {INTERRUPT_40} again: cmp bx, 0; jz again; cli; hlt")
    cpu.memory.write(HANDLER, RETURN)
    cpu.interrupt(0x40)
    assert cpu.engine.run() is Exit.HALTED
    assert cpu.engine.get_registers().general[3] == 0x1234


def test_kicks(cpu: Cpu) -> None:
    cpu.start_16("here: jmp here")
    cpu.engine.kick()
    assert cpu.engine.run() is Exit.STOPPED
    for delay in (0.0, 0.01, 0.05):
        timer = threading.Timer(delay, cpu.engine.kick)
        start = time.monotonic()
        timer.start()
        assert cpu.engine.run() is Exit.STOPPED
        assert time.monotonic() - start < 5


def test_a_kick_loses_no_access(cpu: Cpu) -> None:
    """The answer to a port that is read arrives though the run ends."""
    cpu.start_16(
        "mov cx, 2000; again: in al, 0x60; cmp al, 0x5a; jne wrong; loop again; wrong: hlt"
    )
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            cpu.engine.kick()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    while cpu.engine.run() is Exit.STOPPED:
        pass
    stop.set()
    disturber.join()
    assert cpu.engine.get_registers().general[1] & 0xFFFF == 0
    assert len(cpu.log) == 2000


def test_steps_and_breakpoints(cpu: Cpu) -> None:
    cpu.start_16("inc ax; inc ax; inc ax; inc ax; hlt")
    start = cpu.engine.get_registers().rip
    assert cpu.engine.step() is Exit.STEPPED
    assert cpu.engine.get_registers().rip == start + 1
    with pytest.raises(EngineError):
        cpu.engine.set_breakpoints(range(5))


def test_registers_come_back(cpu: Cpu) -> None:
    registers = cpu.start_64("hlt")
    registers.general = list(range(100, 116))
    registers.fs = registers.fs._replace(base=0x1234_5678_9000)
    cpu.engine.set_registers(registers)
    found = cpu.engine.get_registers()
    assert found.general == registers.general
    for name in ("rip", "cs", "ss", "fs", "gdtr", "idtr", "cr0", "cr3", "cr4", "efer"):
        assert getattr(found, name) == getattr(registers, name), name


def test_the_state_is_gone_on_with(cpu: Cpu) -> None:
    cpu.start_16("mov ax, 5; hlt; inc ax; hlt")
    assert cpu.engine.run() is Exit.HALTED
    registers, rest, content = cpu.engine.get_registers(), cpu.engine.save(), cpu.memory.buffer
    other = Cpu(kvm=KVM)
    other.memory.buffer[:] = content
    other.engine.restore(registers, rest)
    assert other.engine.run() is Exit.HALTED
    assert other.rax == 5
    other.engine.set_registers(other.engine.get_registers())
    assert other.engine.run() is Exit.HALTED
    assert other.rax == 6
    for wrong in ({}, {**rest, "more": 1}, {**rest, "fpu": b""}):
        with pytest.raises(EngineError):
            other.engine.restore(registers, wrong)
    other.engine.close()


def test_features_can_be_hidden(cpu: Cpu) -> None:
    before = cpu.engine.cpuid(1).edx
    cpu.engine.set_cpuid(1, "edx", clear=1 << 9)
    assert cpu.engine.cpuid(1).edx == before & ~(1 << 9)
    cpu.start_16("mov eax, 1; cpuid; hlt")
    assert cpu.engine.run() is Exit.HALTED
    assert not cpu.engine.get_registers().general[2] & 1 << 9


def test_a_device_that_fails_ends_the_run(cpu: Cpu) -> None:
    def fail(_port: int, _size: int) -> int:
        raise RuntimeError("broken")

    cpu.pio_in = fail  # type: ignore[method-assign]
    cpu.start_16("in al, 0x60; hlt")
    assert cpu.engine.run() is Exit.ERROR
    assert "broken" in cpu.engine.error


def test_the_choice() -> None:
    why = probe.why_not(KVM)
    assert choose("auto", KVM) == ("soft" if why else "kvm")
    assert choose("soft", KVM) == "soft"
    assert choose("kvm", KVM) == "kvm"
    assert choose("auto", -1) == "soft"
    with pytest.raises(EngineError, match="offers no /dev/kvm"):
        choose("kvm", -1)
    with pytest.raises(EngineError):
        create("kvm", Cpu(), "", 0)  # no descriptor of KVM
