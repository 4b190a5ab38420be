"""The software engine does what a processor does."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator

import pytest

from tests.vmm.rig import CODE, HANDLERS, STACK, Cpu
from vmm.boot import flat_cpu
from vmm.disassemble import report
from vmm.engine import create
from vmm.engine.interface import EngineError, Exit, Registers, Segment, Table
from vmm.engine.unicorn.engine import CPU_MODELS
from vmm.paging import read_linear, translate

DIVIDE, UNDEFINED, DOUBLE, PROTECTION, PAGE_FAULT, NMI = 0, 6, 8, 13, 14, 2
USER_PAGES = 0x40_0000  # not RAM: tests that need ring 3 use the identity map with its user bits


@pytest.fixture(name="cpu")
def _cpu() -> Iterator[Cpu]:
    cpu = Cpu()
    yield cpu
    cpu.engine.close()


@pytest.fixture(name="intel")
def _intel() -> Iterator[Cpu]:
    """AMD's processors have no SYSENTER in long mode."""
    cpu = Cpu("nehalem")
    yield cpu
    cpu.engine.close()


def allow_user(cpu: Cpu) -> None:
    """Let ring 3 use the first GiB."""
    tables = flat_cpu.PAGE_TABLES_AT
    for at in (tables, tables + 0x1000, tables + 0x2000, tables + 0x2008):
        (entry,) = struct.unpack("<Q", cpu.memory.read(at, 8))
        cpu.memory.write(at, struct.pack("<Q", entry | 4))


def to_ring_3(cpu: Cpu, registers: Registers, entry: int, flags: int = 2) -> None:
    """Continue at ``entry`` in ring 3, with a stack for the way back."""
    allow_user(cpu)
    cpu.memory.write(0x5000, struct.pack("<IQ", 0, STACK) + bytes(92))
    registers.tr = Segment(0x30, 0x5000, 103, flat_cpu.FLAGS_TSS)
    registers.cs = Segment(0x2B, 0, 0xFFFF_FFFF, flat_cpu.FLAGS_CODE_64 | 0x6000)
    registers.ss = Segment(0x23, 0, 0xFFFF_FFFF, flat_cpu.FLAGS_DATA | 0x6000)
    registers.rip, registers.rflags = entry, flags
    registers.general[4] = STACK - 0x1000
    cpu.engine.set_registers(registers)


class TestRun:
    def test_halt_and_resume_only_when_an_interrupt_can_be_delivered(self, cpu: Cpu) -> None:
        cpu.start_64("mov eax, 1; hlt; mov eax, 2; hlt")
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.rax == 1
        cpu.interrupt(0x40)  # interrupts are off
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.rax == 1

    def test_kick_is_sticky(self, cpu: Cpu) -> None:
        cpu.start_64("here: jmp here")
        cpu.engine.kick()
        assert cpu.engine.run() is Exit.STOPPED

    def test_kick_while_halted(self, cpu: Cpu) -> None:
        cpu.start_64("hlt")
        cpu.engine.run()
        cpu.engine.kick()
        assert cpu.engine.run() is Exit.STOPPED
        assert cpu.engine.run() is Exit.HALTED

    def test_kick_from_another_thread(self, cpu: Cpu) -> None:
        cpu.start_64("here: jmp here")
        for _ in range(20):
            timer = threading.Timer(0.002, cpu.engine.kick)
            timer.start()
            assert cpu.engine.run() is Exit.STOPPED
            timer.join()

    def test_ports_and_device_memory(self, cpu: Cpu) -> None:
        cpu.start_64(
            "mov dx, 0x1f0; in al, dx; in ax, dx; in eax, dx; out 0x80, al; out dx, eax;"
            "mov ebx, 0xf0000000; mov eax, [rbx]; mov byte ptr [rbx + 1], 7; mov rcx, [rbx]; hlt"
        )
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.log == [
            ("in", 0x1F0, 1),
            ("in", 0x1F0, 2),
            ("in", 0x1F0, 4),
            ("out", 0x80, 1, 0x5A),
            ("out", 0x1F0, 4, 0x5A5A_5A5A),
            ("read", cpu.MMIO, 4),
            ("write", cpu.MMIO + 1, 1, 7),
            ("read", cpu.MMIO, 4),
            ("read", cpu.MMIO + 4, 4),
        ]
        assert cpu.engine.get_registers().general[1] == (1 << 64) - 1

    def test_running_device_memory_is_an_error_that_says_so(self, cpu: Cpu) -> None:
        cpu.start_64("mov eax, 0xf0000000; jmp rax")
        assert cpu.engine.run() is Exit.ERROR
        assert "the guest executes" in cpu.engine.error

    def test_a_device_that_fails_ends_the_run(self, cpu: Cpu) -> None:
        def broken(port: int, size: int, value: int) -> None:
            raise RuntimeError("broken device")

        cpu.pio_out = broken  # type: ignore[method-assign]
        failing = Cpu.__new__(Cpu)
        failing.__dict__.update(cpu.__dict__)
        engine = create("soft", failing, "qemu64")
        engine.map_ram(0, cpu.memory.buffer, 0, cpu.memory.size)
        cpu.put("out 0x80, al; here: jmp here")
        engine.set_registers(flat_cpu.long_mode(cpu.memory, CODE))
        assert engine.run() is Exit.ERROR
        assert "broken device" in engine.error
        engine.close()

    def test_two_engines_take_turns(self, cpu: Cpu) -> None:
        other = Cpu()
        cpu.start_64("inc eax; hlt; here: jmp here")
        other.start_64("inc eax; inc eax; hlt")
        assert cpu.engine.run() is Exit.HALTED
        assert other.engine.run() is Exit.HALTED
        cpu.engine.kick()
        assert cpu.engine.run() is Exit.STOPPED
        assert other.engine.run() is Exit.HALTED
        assert (cpu.rax, other.rax) == (1, 2)
        other.engine.close()


class TestInterrupts:
    def test_delivered_when_enabled(self, cpu: Cpu) -> None:
        cpu.start_64("sti; again: hlt; inc eax; jmp again")
        cpu.handler(0x40, "mov bl, 1; out 0x99, al; iretq")
        assert cpu.engine.run() is Exit.HALTED
        for i in range(1, 5):
            cpu.interrupt(0x40)
            assert cpu.engine.run() is Exit.HALTED
            assert cpu.rax == i
        assert len(cpu.log) == 4

    def test_wait_for_the_flag(self, cpu: Cpu) -> None:
        cpu.start_64("mov eax, 1; mov eax, 2; sti; nop; nop; mov eax, 3; hlt")
        cpu.interrupt(0x41)
        assert cpu.engine.run() is Exit.HALTED
        assert (cpu.handled(), cpu.rax) == (0x41, 2)

    def test_the_instruction_after_sti_comes_first(self, cpu: Cpu) -> None:
        cpu.start_64("xor eax, eax; sti; inc eax; inc eax; inc eax; hlt")
        cpu.interrupt(0x42)
        assert cpu.engine.run() is Exit.HALTED
        assert (cpu.handled(), cpu.rax) == (0x42, 1)

    def test_a_request_that_went_away(self, cpu: Cpu) -> None:
        cpu.start_64("sti; nop; mov eax, 7; hlt")
        cpu.engine.set_irq_line(True)  # acknowledge_irq answers NO_VECTOR
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.rax == 7

    def test_nmi_ignores_the_flag(self, cpu: Cpu) -> None:
        cpu.start_64("hlt")
        cpu.engine.run()
        cpu.engine.raise_nmi()
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.handled() == NMI

    def test_software_interrupt_returns_behind_itself(self, cpu: Cpu) -> None:
        cpu.start_64("int 0x50; mov ecx, 9; hlt")
        cpu.handler(0x50, "mov eax, 5; iretq")
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.engine.get_registers().general[:2] == [5, 9]

    def test_real_mode(self, cpu: Cpu) -> None:
        cpu.start_16("sti; hlt; mov ax, 3; hlt")
        cpu.put("mov bx, 4; iret", 0x6000, 16)
        cpu.memory.write(4 * 0x20, struct.pack("<HH", 0x6000, 0))
        assert cpu.engine.run() is Exit.HALTED
        cpu.interrupt(0x20)
        assert cpu.engine.run() is Exit.HALTED
        assert [cpu.engine.get_registers().general[i] & 0xFFFF for i in (0, 3)] == [3, 4]


class TestExceptions:
    @pytest.mark.parametrize(
        ("source", "vector"),
        [
            ("xor ecx, ecx; div ecx", DIVIDE),
            ("ud2", UNDEFINED),
            ("mov ax, 0x1234; mov ds, ax", PROTECTION),
            ("movabs rax, 0x800000000000; mov rbx, [rax]", PROTECTION),
            ("movabs rax, 0x7fff00001000; mov rbx, [rax]", PAGE_FAULT),
            ("int3", 3),
        ],
    )
    def test_reach_their_handlers(self, cpu: Cpu, source: str, vector: int) -> None:
        cpu.start_64(source)
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.handled() == vector

    def test_page_fault_says_where_and_why(self, cpu: Cpu) -> None:
        cpu.start_64("movabs rax, 0x7fff00001234; mov byte ptr [rax], 1")
        cpu.handler(PAGE_FAULT, "mov rbx, [rsp]; mov rcx, [rsp + 8]; hlt")
        assert cpu.engine.run() is Exit.HALTED
        registers = cpu.engine.get_registers()
        assert registers.cr2 == 0x7FFF_0000_1234
        assert registers.general[3] == 2  # a write, not present
        assert registers.general[1] == CODE + 10

    def test_fault_and_retry(self, cpu: Cpu) -> None:
        cpu.start_64("mov ebx, 0x9000; xor eax, eax; mov ecx, [rax - 8]; mov eax, 6; hlt")
        cpu.handler(PAGE_FAULT, "add qword ptr [rsp + 8], 3; add rsp, 8; iretq")
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.rax == 6

    def test_double_fault(self, cpu: Cpu) -> None:
        registers = cpu.start_64("ud2")
        cpu.memory.write(0x3_0000 + 16 * UNDEFINED, bytes(16))
        cpu.memory.write(0x3_0000 + 16 * PROTECTION, bytes(16))
        cpu.engine.set_registers(registers)
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.handled() == DOUBLE

    def test_triple_fault_shuts_down_and_can_be_explained(self, cpu: Cpu) -> None:
        registers = cpu.start_64("xor ebx, ebx;" * 20 + "mov eax, 0x1234; ud2")
        registers.idtr = Table(0, 0)
        cpu.engine.set_registers(registers)
        assert cpu.engine.run() is Exit.SHUTDOWN
        text = report(cpu.engine.get_registers(), cpu.memory)
        assert "mov eax, 0x1234" in text
        assert f"=> {CODE + 45:x}  ud2" in text

    def test_single_step(self, cpu: Cpu) -> None:
        registers = cpu.start_64("inc eax; inc eax; hlt")
        registers.rflags |= 0x100
        cpu.engine.set_registers(registers)
        assert cpu.engine.run() is Exit.HALTED
        assert (cpu.handled(), cpu.rax) == (1, 1)


class TestRings:
    def msr(self, cpu: Cpu, number: int, value: int) -> str:
        return f"mov ecx, {number}; mov eax, {value & 0xFFFFFFFF}; mov edx, {value >> 32}; wrmsr;"

    def test_syscall_and_sysret(self, cpu: Cpu) -> None:
        setup = self.msr(cpu, 0xC000_0080, 0x501)
        setup += self.msr(cpu, 0xC000_0081, 0x0018_0010 << 32)
        setup += self.msr(cpu, 0xC000_0082, CODE + 0x1000)
        setup += self.msr(cpu, 0xC000_0084, 0x200)
        registers = cpu.start_64(setup + "hlt")
        cpu.engine.run()
        cpu.put("pushfq; pop rdi; mov esi, 1; sysret", CODE + 0x1000)
        cpu.put("stc; syscall; setc bl; mov ax, cs; out 0x80, al", CODE + 0x2000)
        registers = cpu.engine.get_registers()
        to_ring_3(cpu, registers, CODE + 0x2000, flags=0x3202)
        cpu.handler(PROTECTION, "hlt")
        cpu.put("stc; syscall; setc bl; mov ax, cs; out 0x80, al; ud2", CODE + 0x2000)
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.handled() == UNDEFINED
        after = cpu.engine.get_registers()
        assert cpu.log[-1] == ("out", 0x80, 1, 0x2B)
        assert after.general[3] & 0xFF == 1  # the carry survived the round trip
        assert after.general[7] & 0x201 == 1  # inside, interrupts were off
        assert after.general[11] & 0x201 == 0x201
        assert after.general[1] == CODE + 0x2003

    def test_syscall_is_undefined_unless_enabled(self, cpu: Cpu) -> None:
        cpu.start_64("syscall")
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.handled() == UNDEFINED

    def test_sysenter_and_sysexit(self, intel: Cpu) -> None:
        setup = self.msr(intel, 0x174, 0x10) + self.msr(intel, 0x175, STACK - 0x2000)
        setup += self.msr(intel, 0x176, CODE + 0x1000)
        intel.start_64(setup + "hlt")
        intel.engine.run()
        back = f"mov edx, {CODE + 0x2100}; mov ecx, 0x7000; .byte 0x48; sysexit"
        intel.put(f"inc esi; mov rdi, rsp; mov ax, cs; mov ebp, eax; {back}", CODE + 0x1000)
        intel.put("sysenter", CODE + 0x2000)
        intel.put("mov ax, cs; ud2", CODE + 0x2100)
        to_ring_3(intel, intel.engine.get_registers(), CODE + 0x2000)
        assert intel.engine.run() is Exit.HALTED
        assert intel.handled() == UNDEFINED
        general = intel.engine.get_registers().general
        assert (general[6], general[7], general[5] & 0xFFFF) == (1, STACK - 0x2000, 0x10)
        assert general[0] & 0xFFFF == 0x10 + 32 + 3

    def test_sysenter_is_refused_unless_set_up(self, intel: Cpu) -> None:
        intel.start_64("sysenter")
        assert intel.engine.run() is Exit.HALTED
        assert intel.handled() == PROTECTION

    @pytest.mark.parametrize("instruction", ["in al, 0x80", "out 0x80, al", "in eax, dx"])
    def test_ring_3_may_not_use_ports(self, cpu: Cpu, instruction: str) -> None:
        registers = cpu.start_64("nop")
        cpu.put(instruction + "; ud2", CODE + 0x2000)
        to_ring_3(cpu, registers, CODE + 0x2000)
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.handled() == PROTECTION
        assert not cpu.log

    def test_ring_3_may_use_ports_that_the_task_allows(self, cpu: Cpu) -> None:
        registers = cpu.start_64("nop")
        cpu.put("out 0x80, al; out 0x81, al", CODE + 0x2000)
        to_ring_3(cpu, registers, CODE + 0x2000)
        permissions = bytearray(b"\xff" * 33)
        permissions[0x10] = 0xFE
        task = bytearray(cpu.memory.read(0x5000, 104))
        struct.pack_into("<H", task, 0x66, 104)
        cpu.memory.write(0x5000, bytes(task) + permissions)
        registers.tr = registers.tr._replace(limit=103 + 33, flags=0x8900)
        cpu.engine.set_registers(registers)
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.handled() == PROTECTION
        assert cpu.log == [("out", 0x80, 1, 0)]


class TestCode:
    def test_changed_through_a_mapping_that_cannot_execute(self, cpu: Cpu) -> None:
        """Stores through another linear address must reach code that was translated."""
        registers = cpu.start_64("nop")
        tables = flat_cpu.PAGE_TABLES_AT
        no_execute = 1 << 63
        alias = struct.pack("<Q", 0x20_0083 | no_execute)
        cpu.memory.write(tables + 0x3000, alias)  # 40000000h is 200000h, for data only
        registers.efer |= 1 << 11
        registers.rip = CODE
        cpu.put(
            "mov ebx, 0x40000000; xor esi, esi; mov ecx, 8;"
            "again: mov [rbx + 1], cl; mov eax, 0x200000; call rax; add esi, eax;"
            "dec ecx; jnz again; hlt"
        )
        cpu.put("mov eax, 0; ret", 0x20_0000)
        cpu.engine.set_registers(registers)
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.engine.get_registers().general[6] == sum(range(1, 9))

    def test_changed_on_its_own_page(self, cpu: Cpu) -> None:
        cpu.start_64(
            "xor esi, esi; mov ecx, 10; again: mov eax, 0; add esi, eax;"
            f"inc byte ptr [{CODE + 8}]; dec ecx; jnz again; hlt"
        )
        assert cpu.memory.read(CODE + 7, 1) == b"\xb8"
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.engine.get_registers().general[6] == sum(range(10))

    def test_changed_by_a_device(self, cpu: Cpu) -> None:
        registers = cpu.start_64("mov eax, 1; hlt")
        assert cpu.engine.run() is Exit.HALTED
        cpu.memory.write(CODE + 1, b"\x02")
        cpu.engine.invalidate(CODE, 4)
        cpu.engine.set_registers(registers)
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.rax == 2


class TestState:
    def test_registers_come_back(self, cpu: Cpu) -> None:
        registers = cpu.start_64("hlt")
        registers.general = [0x1111_1111_1111_1111 * i for i in range(16)]
        registers.rflags = 0xCD7  # carry, direction, overflow and others
        registers.fs = Segment(0x18, 0x1234_5678_9ABC, 0xFFFF_FFFF, flat_cpu.FLAGS_DATA)
        cpu.engine.set_registers(registers)
        assert cpu.engine.get_registers() == registers

    def test_reset_is_power_on(self, cpu: Cpu) -> None:
        cpu.start_64("hlt")
        cpu.engine.run()
        cpu.engine.reset()
        registers = cpu.engine.get_registers()
        assert (registers.cs.base, registers.rip) == (0xFFFF_0000, 0xFFF0)
        assert registers.cr0 & 1 == 0

    def test_features_can_be_hidden(self, cpu: Cpu) -> None:
        assert cpu.engine.cpuid(1).edx >> 9 & 1
        cpu.engine.set_cpuid(1, "edx", clear=1 << 9)
        assert not cpu.engine.cpuid(1).edx >> 9 & 1
        cpu.start_64("mov eax, 1; cpuid; hlt")
        assert cpu.engine.run() is Exit.HALTED
        assert not cpu.engine.get_registers().general[2] >> 9 & 1

    def test_a20(self, cpu: Cpu) -> None:
        cpu.start_16("mov ax, 0xffff; mov ds, ax; mov al, [0x10]; hlt")
        cpu.memory.write(0, b"\1")
        cpu.memory.write(0x10_0000, b"\2")
        registers = cpu.engine.get_registers()
        for enabled, seen in ((False, 1), (True, 2)):
            cpu.engine.set_a20(enabled)
            cpu.engine.set_registers(registers)
            assert cpu.engine.run() is Exit.HALTED
            assert cpu.rax & 0xFF == seen

    @pytest.mark.parametrize("model", CPU_MODELS)
    def test_every_model_starts(self, model: str) -> None:
        cpu = Cpu(model)
        cpu.start_16("mov ax, 5; hlt")
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.rax & 0xFFFF == 5
        cpu.engine.close()

    def test_unknown_names_are_refused(self, cpu: Cpu) -> None:
        with pytest.raises(EngineError, match="known are soft"):
            create("hard", cpu, "qemu64")
        with pytest.raises(EngineError, match="known are qemu64"):
            create("soft", cpu, "z80")

    def test_a_kick_after_close_harms_nobody(self) -> None:
        cpu = Cpu()
        cpu.engine.close()
        cpu.engine.kick()
        cpu.engine.close()


class TestPaging:
    def test_translation(self, cpu: Cpu) -> None:
        registers = cpu.start_64("nop")
        assert translate(registers, cpu.memory, CODE + 3) == CODE + 3
        assert translate(registers, cpu.memory, 1 << 40) is None
        assert read_linear(registers, cpu.memory, HANDLERS, 3) == b"\xf4\xeb\xfd"
        assert read_linear(registers, cpu.memory, cpu.memory.size - 2, 8) == b"\0\0"


class TestDebugging:
    def test_a_breakpoint_stops_before_its_instruction(self, cpu: Cpu) -> None:
        cpu.start_64("mov eax, 1; inc eax; inc eax; hlt")
        cpu.engine.set_breakpoints([CODE + 7])
        assert cpu.engine.run() is Exit.BREAKPOINT
        assert (cpu.engine.get_registers().rip, cpu.rax) == (CODE + 7, 2)
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.rax == 3

    def test_a_breakpoint_in_a_loop_stops_each_time(self, cpu: Cpu) -> None:
        cpu.start_64("mov ecx, 3; again: inc eax; dec ecx; jnz again; hlt")
        cpu.engine.set_breakpoints([CODE + 5])
        stops = 0
        while cpu.engine.run() is Exit.BREAKPOINT:
            stops += 1
        assert stops == 3

    def test_a_jump_to_itself_stops_at_its_breakpoint(self, cpu: Cpu) -> None:
        cpu.start_64("here: jmp here")
        cpu.engine.set_breakpoints([CODE])
        for _ in range(3):
            assert cpu.engine.run() is Exit.BREAKPOINT

    def test_code_that_ran_already_stops_too_and_runs_again_without(self, cpu: Cpu) -> None:
        cpu.start_64("again: inc eax; hlt; jmp again")
        cpu.engine.run()
        assert cpu.rax == 1
        registers = cpu.engine.get_registers()
        registers.rip = CODE
        cpu.engine.set_registers(registers)
        cpu.engine.set_breakpoints([CODE + 2])
        assert cpu.engine.run() is Exit.BREAKPOINT
        cpu.engine.set_breakpoints([])
        registers.rip = CODE
        cpu.engine.set_registers(registers)
        assert cpu.engine.run() is Exit.HALTED

    def test_breakpoints_are_linear_addresses(self, cpu: Cpu) -> None:
        cpu.start_16("nop; nop; hlt")
        base = cpu.engine.get_registers().cs.base
        cpu.engine.set_breakpoints([base + cpu.engine.get_registers().rip + 1])
        assert cpu.engine.run() is Exit.BREAKPOINT

    def test_steps_follow_calls_and_jumps(self, cpu: Cpu) -> None:
        cpu.start_64("call next; next: pop rax; push rax; jmp over; nop; over: pushfq; popfq; hlt")
        places = []
        for _ in range(6):
            assert cpu.engine.step() is Exit.STEPPED
            places.append(cpu.engine.get_registers().rip - CODE)
        assert places == [5, 6, 7, 10, 11, 12]
        assert not cpu.engine.get_registers().rflags & 0x100
        assert cpu.engine.step() is Exit.HALTED

    def test_a_step_goes_over_the_handler_of_an_exception(self, cpu: Cpu) -> None:
        cpu.start_64("int 0x40; inc eax; hlt")
        cpu.handler(0x40, "mov ebx, 7; iretq")
        assert cpu.engine.step() is Exit.STEPPED
        registers = cpu.engine.get_registers()
        assert (registers.rip, cpu.rax, registers.general[3]) == (CODE + 4, 1, 7)

    def test_what_stays_of_a_step_that_was_given_up_is_no_trap_of_the_guests(
        self, cpu: Cpu
    ) -> None:
        cpu.start_64("int 0x40; inc eax; inc eax; hlt")
        cpu.handler(0x40, "hlt; iretq")
        assert cpu.engine.step() is Exit.HALTED
        cpu.engine.set_registers(cpu.engine.get_registers())  # it goes on
        assert cpu.engine.run() is Exit.HALTED
        assert cpu.rax == 2
        assert cpu.engine.get_registers().rip == CODE + 7

    def test_a_step_can_be_kicked(self, cpu: Cpu) -> None:
        cpu.start_64("int 0x40; hlt")
        cpu.handler(0x40, "here: jmp here")
        cpu.engine.kick()
        assert cpu.engine.step() is Exit.STOPPED


class TestSavedState:
    PROGRAM = (
        "mov eax, 7; mov [0x600], eax; fild dword ptr [0x600]; fldpi; movd xmm3, eax; "
        "mov ecx, 0xc0000102; mov eax, 0x1234; xor edx, edx; wrmsr; "
        "mov eax, 1; hlt; "
        "fstp qword ptr [0x608]; fistp dword ptr [0x610]; movd ebx, xmm3; "
        "mov ecx, 0xc0000102; rdmsr; hlt"
    )

    def test_an_engine_goes_on_where_another_was(self, cpu: Cpu) -> None:
        registers = cpu.start_64(self.PROGRAM)
        registers.cr4 |= 0x600  # SSE
        cpu.engine.set_registers(registers)
        assert cpu.engine.run() is Exit.HALTED
        registers, rest = cpu.engine.get_registers(), cpu.engine.save()
        content = bytes(cpu.memory.buffer)
        cpu.engine.close()
        other = Cpu()
        other.memory.buffer[:] = content
        other.engine.restore(registers, rest)
        assert other.engine.run() is Exit.HALTED  # still, as no interrupt has come
        assert other.rax == 1
        other.engine.set_registers(other.engine.get_registers())  # it is woken
        assert other.engine.run() is Exit.HALTED
        assert other.rax == 0x1234
        assert other.engine.get_registers().general[3] == 7
        assert other.memory.read(0x610, 4) == struct.pack("<i", 7)
        assert other.memory.read(0x608, 8) == struct.pack("<d", 3.141592653589793)
        other.engine.close()

    def test_its_time_stamps_go_on(self, cpu: Cpu) -> None:
        cpu.start_64("rdtsc; hlt; rdtsc; hlt")
        cpu.engine.run()
        state = cpu.engine.save()
        before = state["tsc"]
        assert isinstance(before, int)
        for tsc in (before, 1000, 1 << 63):
            cpu.engine.restore(cpu.engine.get_registers(), {**state, "tsc": tsc})
            now = cpu.engine.save()["tsc"]
            assert isinstance(now, int)
            assert 0 < now - tsc < 1 << 33

    def test_what_no_engine_has_saved_is_refused(self, cpu: Cpu) -> None:
        cpu.start_64("hlt")
        registers, rest = cpu.engine.get_registers(), cpu.engine.save()
        for wrong in ({}, {**rest, "more": 1}, {**rest, "xmm0": b""}, {**rest, "msr174": b"x"}):
            with pytest.raises(EngineError):
                cpu.engine.restore(registers, wrong)


def test_an_interrupt_that_comes_right_before_a_halt_is_taken() -> None:
    class Prompt(Cpu):
        """A device that answers a port at once."""

        def pio_out(self, port: int, size: int, value: int) -> None:
            super().pio_out(port, size, value)
            self.interrupt(0x41)

    cpu = Prompt()
    cpu.start_64("sti; nop; out 0x80, al; hlt; hlt")
    assert cpu.engine.run() is Exit.HALTED
    assert cpu.handled() == 0x41
