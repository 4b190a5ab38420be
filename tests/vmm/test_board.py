"""The board runs small guests to every end there is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.vmm.backends import MemoryBlock
from tests.vmm.rig import Machine, multiboot
from vmm.boot import BootError
from vmm.config import MIB, VmConfig
from vmm.outcome import End, Outcome

OFF = "mov dx, 0x604; mov ax, 0x3400; out dx, ax; off: hlt; jmp off"


def print_text(text: str) -> str:
    """Code that sends a text to the serial port."""
    return "mov dx, 0x3f8;" + "".join(f"mov al, {letter}; out dx, al;" for letter in text.encode())


def run(machine: Machine, source: str) -> Outcome:
    machine.board.load_multiboot(multiboot(source))
    try:
        return machine.board.run()
    finally:
        machine.board.close()


class Background:
    """A guest on a thread of its own."""

    def __init__(self, machine: Machine, source: str) -> None:
        self.machine = machine
        self.outcome: Outcome | None = None
        self._source = source
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.outcome = run(self.machine, self._source)

    def join(self) -> Outcome:
        self._thread.join(20)
        assert self.outcome is not None
        return self.outcome


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_power_off_after_all_output() -> None:
    machine = Machine()
    outcome = run(machine, print_text("no newline") + OFF)
    assert outcome == Outcome(End.POWER_OFF)
    assert machine.serial.text == "no newline"


@pytest.mark.parametrize(
    "source",
    [
        "mov dx, 0xcf9; mov al, 6; out dx, al",
        "mov al, 0xfe; out 0x64, al",
        "mov al, 3; out 0x92, al",
    ],
)
def test_reset(source: str) -> None:
    assert run(Machine(), source + "; here: hlt; jmp here").end is End.RESET


def test_restart() -> None:
    """Memory is cleared in between: the guest cannot see that it ran before."""
    machine = Machine(restart_on_reset=True)
    said: list[bytes] = []

    def heard(data: bytes) -> None:
        said.append(data)
        if data.count(b"\n") == 3:
            machine.board.stop()

    machine.serial.heard = heard
    source = "mov al, [0x200000]; mov byte ptr [0x200000], 1; add al, 0x30; mov dx, 0x3f8;"
    source += "out dx, al; mov al, 10; out dx, al; mov al, 0xfe; out 0x64, al; here: hlt; jmp here"
    assert run(machine, source).end is End.STOPPED
    assert machine.serial.text == "0\n0\n0\n"


def test_triple_fault_with_report() -> None:
    outcome = run(Machine(), "nop;" * 20 + "lidt [0x600]; mov ecx, 0x77; ud2")
    assert outcome.end is End.TRIPLE_FAULT
    assert "triple-faulted" in outcome.report
    assert "ud2" in outcome.report
    assert "rcx 0000000000000077" in outcome.report


def test_engine_error_with_report() -> None:
    outcome = run(Machine(), "mov eax, 0xf0000000; jmp eax")
    assert outcome.end is End.ENGINE_ERROR
    assert "the guest executes where nothing can be executed" in outcome.report


def test_stop_ends_a_busy_guest_and_a_sleeping_one() -> None:
    for source in ("here: jmp here", "cli; here: hlt; jmp here"):
        guest = Background(Machine(), source)
        guest.machine.board.stop()
        assert guest.join().end is End.STOPPED


def test_post_runs_on_the_vcpu_thread_between_instructions() -> None:
    guest = Background(Machine(), "here: inc ebx; jmp here")
    seen: list[tuple[int, int]] = []
    board = guest.machine.board
    for _ in range(50):
        before = len(seen)
        board.post(
            lambda: seen.append((threading.get_ident(), board.engine.get_registers().general[3]))
        )
        wait_for(lambda before=before: len(seen) > before)  # type: ignore[misc]
    board.stop()
    guest.join()
    assert len({thread for thread, _ in seen}) == 1
    counts = [count for _, count in seen]
    assert counts == sorted(counts)


def test_pause_and_resume() -> None:
    guest = Background(Machine(), "here: inc ebx; jmp here")
    board = guest.machine.board
    values: list[int] = []

    def look() -> None:
        board.post(lambda: values.append(board.engine.get_registers().general[3]))

    board.pause()
    look()
    wait_for(lambda: len(values) == 1)
    look()
    wait_for(lambda: len(values) == 2)
    assert values[0] == values[1]
    board.resume()
    time.sleep(0.01)
    board.pause()
    look()
    wait_for(lambda: len(values) == 3)
    assert values[2] != values[1]
    board.stop()  # also out of a pause
    assert guest.join().end is End.STOPPED


def test_serial_input_reaches_a_polling_guest() -> None:
    machine = Machine()
    echo = (
        "again: mov dx, 0x3fd; wait: in al, dx; test al, 1; jz wait; mov dx, 0x3f8; in al, dx;"
        f"cmp al, 0x71; je quit; out dx, al; jmp again; quit: {OFF}"
    )
    guest = Background(machine, echo)
    machine.board.receive(bytes(range(32, 64)) * 8 + b"q")
    assert guest.join().end is End.POWER_OFF
    assert machine.serial.data == bytes(range(32, 64)) * 8


def test_timer_interrupts_reach_a_guest_that_never_leaves_the_engine() -> None:
    """It counts ten ticks in a busy loop, and then some more asleep."""
    source = (
        "mov esp, 0x90000; mov al, 0x11; out 0x20, al; mov al, 0x20; out 0x21, al; mov al, 4;"
        "out 0x21, al; mov al, 1; out 0x21, al; mov al, 0xfe; out 0x21, al;"
        "mov al, 0x34; out 0x43, al; mov al, 0; out 0x40, al; mov al, 8; out 0x40, al;"
        "mov eax, 0x100200; mov [0x900], ax; mov word ptr [0x902], 0x10;"
        "mov word ptr [0x904], 0x8e00; shr eax, 16; mov [0x906], ax;"
        "mov word ptr [0x600], 0x7ff; mov dword ptr [0x602], 0x800; lidt [0x600];"
        "xor ebx, ebx; sti; busy: cmp ebx, 10; jb busy; asleep: hlt; cmp ebx, 20; jb asleep;" + OFF
    )
    image = multiboot(source)
    handler = multiboot("inc ebx; mov al, 0x20; out 0x20, al; .byte 0xcf")[32:]
    image = image.ljust(0x200, b"\x90") + handler
    machine = Machine()
    machine.board.load_multiboot(image)
    assert machine.board.run().end is End.POWER_OFF
    assert machine.board.engine.get_registers().general[3] >= 20
    machine.board.close()


def test_the_power_button_raises_interrupt_9() -> None:
    source = (
        "mov dx, 0x602; mov ax, 0x100; out dx, ax; mov dx, 0x600;"
        f"again: in ax, dx; test ax, 0x100; jz again; mov al, 0xa; out 0xa0, al; in al, 0xa0;"
        f"test al, 2; jz again; {OFF}"
    )
    guest = Background(Machine(), source)
    guest.machine.board.press_power_button()
    assert guest.join().end is End.POWER_OFF


def test_power_off_waits_for_the_disks() -> None:
    """A guest that switches off at once after a flush: the flush must be carried out first."""
    disk = MemoryBlock(8, held=True)
    machine = Machine(disk)
    machine.board.disks[0]._in_flight = 1  # as if a request were on its way
    guest = Background(machine, OFF)
    time.sleep(0.05)
    assert guest.outcome is None
    machine.board.post(lambda: setattr(machine.board.disks[0], "_in_flight", 0))
    assert guest.join().end is End.POWER_OFF


def test_nothing_loaded() -> None:
    machine = Machine()
    with pytest.raises(BootError, match="nothing was loaded"):
        machine.board.run()
    machine.board.close()


def test_kernels_of_either_kind() -> None:
    machine = Machine()
    with pytest.raises(BootError, match="no bzImage"):
        machine.board.load_kernel(b"junk")
    machine.board.load_kernel(multiboot(OFF))
    assert machine.board.run().end is End.POWER_OFF
    machine.board.close()


def test_configuration_is_checked() -> None:
    for memory in (0, 3 * MIB, 5 * MIB + 1, 1 << 40):
        with pytest.raises(ValueError, match="between 4 MiB and 64 GiB"):
            VmConfig(memory=memory)


def test_memory_above_4_gib() -> None:
    machine = Machine(memory=3072 * MIB + 8 * MIB)
    assert run(machine, OFF).end is End.POWER_OFF
